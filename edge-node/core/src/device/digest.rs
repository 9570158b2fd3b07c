//! A digest of what a numbered message said, computed from its row so that a replay finds the same.
//!
//! It tells an honest repetition from the same number with other values. It is no defence against someone
//! who looks for collisions: that device could as well send the other values first.

use std::collections::VecDeque;

use wattle_wire::message::{Number, Phases, Values};
use wattle_wire::row::{Event, EventKind, Reading};

use super::numbers::MAX_BOOTS;

/// Digests that are kept of the last messages, and, so that a start whose number is used again shows, of the
/// first message of as many starts as are remembered. All others are dropped as duplicates without a
/// comparison.
pub const MAX_DIGESTS: usize = 256;

/// The digests of the last messages, and of the first one of each start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Digests {
    last: VecDeque<(Number, u64)>,
    firsts: VecDeque<(Number, u64)>,
}

/// A list of digests, oldest first.
pub(super) type Parts = Vec<(Number, u64)>;

impl Digests {
    pub(super) fn push(&mut self, number: Number, digest: u64) {
        if self.firsts.iter().rev().all(|(first, _)| first.boot != number.boot) {
            push_bounded(&mut self.firsts, MAX_BOOTS, (number, digest));
        }
        push_bounded(&mut self.last, MAX_DIGESTS, (number, digest));
    }

    pub(super) fn get(&self, number: Number) -> Option<u64> {
        let mut newest_first = self.last.iter().rev().chain(self.firsts.iter().rev());
        newest_first.find(|(n, _)| *n == number).map(|(_, digest)| *digest)
    }

    /// The last ones, and the first of each start.
    pub(super) fn to_parts(&self) -> (Parts, Parts) {
        (self.last.iter().copied().collect(), self.firsts.iter().copied().collect())
    }

    pub(super) fn from_parts((last, firsts): (Parts, Parts)) -> Self {
        let newest = |parts: Parts, most: usize| {
            let skip = parts.len().saturating_sub(most);
            parts.into_iter().skip(skip).collect()
        };
        Self { last: newest(last, MAX_DIGESTS), firsts: newest(firsts, MAX_BOOTS) }
    }
}

fn push_bounded(list: &mut VecDeque<(Number, u64)>, most: usize, entry: (Number, u64)) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(entry);
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn option(&mut self, value: Option<i64>) {
        match value {
            None => self.word(0x0bad_5eed),
            Some(value) => {
                self.word(1);
                self.word(value as u64);
            }
        }
    }

    fn phases<T: Copy>(&mut self, values: Option<Phases<T>>, number: impl Fn(T) -> i64) {
        self.option(values.map(|v| v.len() as i64));
        for value in values.iter().flat_map(|v| v.iter()) {
            self.option(value.map(&number));
        }
    }

    fn text(&mut self, text: Option<&str>) {
        self.option(text.map(|t| t.len() as i64));
        for byte in text.unwrap_or_default().bytes() {
            self.word(byte.into());
        }
    }
}

/// What a reading said.
pub(super) fn of_reading(row: &Reading) -> u64 {
    let mut hash = Hash(1);
    hash.option(row.measured_us.map(|at| at.0));
    hash.option(row.state.map(|state| state as i64));
    hash.option(row.setpoint.map(|number| number as i64));
    let Values {
        current_ma,
        voltage_mv,
        power_w,
        register_wh,
        soc_percent,
        temperature_mc,
        humidity_percent,
        signal_dbm,
    } = row.values;
    hash.phases(current_ma, |a| a.0.into());
    hash.phases(voltage_mv, |v| v.0.into());
    hash.option(power_w.map(|w| w.0.into()));
    hash.option(register_wh.map(|wh| wh.0));
    for value in [soc_percent, temperature_mc, humidity_percent, signal_dbm] {
        hash.option(value.map(i64::from));
    }
    hash.0
}

/// What a step in a stay said. The name of the stay is left out: the edge may have given it. Who, how much
/// and until when count with a start only, as elsewhere the edge fills them in.
pub(super) fn of_step(row: &Event) -> u64 {
    let mut hash = Hash(2);
    hash.word(row.kind as u64);
    hash.option(row.measured_us.map(|at| at.0));
    hash.option(row.register_wh.map(|wh| wh.0));
    if row.kind == EventKind::Started {
        hash.text(row.user.as_ref().map(|user| user.as_str()));
        hash.option(row.requested_wh.map(|wh| wh.0));
        hash.option(row.departure_us.map(|at| at.0));
    }
    hash.0
}
