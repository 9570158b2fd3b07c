//! What a meter has said, as it is written.

use serde::{Deserialize, Serialize};
use wattle_wire::{Milliamps, Millivolts, PerPhase};

use super::Since;
use crate::site::Gauge;
use crate::site::load::{Current, Load, Waiting};
use crate::site::voltage::Voltage;

/// A meter as some version wrote it.
pub(super) trait Gauged {
    fn load(self, gauge: &mut Gauge, since: Since);
}

/// As this version writes it.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedGauge {
    before: SecondGauge,
    lately: Vec<PerPhase<Milliamps>>,
    voltage: PerPhase<Option<(Millivolts, i64)>>,
}

/// As the first two versions wrote it, which took no voltage and did not look at the newest reading apart.
#[derive(Serialize, Deserialize)]
pub(super) struct SecondGauge {
    is_stale: bool,
    is_over: bool,
    waiting: Vec<(i64, [Current; 3])>,
    settled: Current,
    doubt: Current,
    heard: PerPhase<Option<(Milliamps, i64)>>,
    subtracted: Vec<PerPhase<Milliamps>>,
}

impl SavedGauge {
    pub(super) fn of(gauge: &Gauge, since: Since) -> Self {
        let Gauge { load, voltage: Voltage(voltage), is_stale, is_over } = gauge;
        // Whether there is generation follows from the model.
        let Load { generation: _, waiting, settled, doubt, heard, subtracted, lately } = load;
        let save = |waiting: &Waiting| {
            let Waiting { at, measured, at_least, at_most } = *waiting;
            (since.ago(at), [measured, at_least, at_most])
        };
        let before = SecondGauge {
            is_stale: *is_stale,
            is_over: *is_over,
            waiting: waiting.iter().map(save).collect(),
            settled: *settled,
            doubt: *doubt,
            heard: heard.map(|heard| heard.map(|(measured, at)| (measured, since.ago(at)))),
            subtracted: subtracted.clone(),
        };
        let voltage = voltage.map(|said| said.map(|(mv, at)| (mv, since.ago(at))));
        Self { before, lately: lately.clone(), voltage }
    }
}

impl Gauged for SavedGauge {
    fn load(self, gauge: &mut Gauge, since: Since) {
        self.before.load(gauge, since);
        gauge.load.lately = self.lately;
        gauge.voltage = Voltage(self.voltage.map(|said| said.map(|(mv, ago)| (mv, since.at(ago)))));
    }
}

impl Gauged for SecondGauge {
    fn load(self, gauge: &mut Gauge, since: Since) {
        let load = |(ago, [measured, at_least, at_most]): (i64, [Current; 3])| Waiting {
            at: since.at(ago),
            measured,
            at_least,
            at_most,
        };
        (gauge.is_stale, gauge.is_over) = (self.is_stale, self.is_over);
        gauge.load.waiting = self.waiting.into_iter().map(load).collect();
        gauge.load.settled = self.settled;
        gauge.load.doubt = self.doubt;
        gauge.load.heard = self.heard.map(|heard| heard.map(|(measured, ago)| (measured, since.at(ago))));
        gauge.load.subtracted = self.subtracted;
    }
}
