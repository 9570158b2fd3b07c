//! What looks wrong with a charger though it breaks no limit: told once when it has lasted, and again only after it was
//! right in between.
//!
//! | code | what |
//! |---|---|
//! | `over_current` | it draws 1 A more than it can give |
//! | `hot` | it is hotter inside than 80 °C |
//! | `long_charge` | a vehicle asks for a day |
//! | `no_session` | it draws 1 A for a minute while no session is open |
//! | `no_draw` | it may draw, a vehicle asks, and it draws less than 1 A for ten minutes |
//! | `slow_readings` | a vehicle asks, and for a minute each reading comes so late after the one before that it was not waited for |

use wattle_wire::{Micros, Milliamps};

use super::Charger;
use super::load::Times;
use super::station::Station;

/// A draw that is no noise.
const REAL_DRAW: Milliamps = Milliamps::from_amps(1);
/// Hotter than a charger should be inside, in thousandths of a degree.
const HOT_MC: i32 = 80_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anomaly {
    OverCurrent,
    Hot,
    LongCharge,
    NoSession,
    NoDraw,
    SlowReadings,
}

const ALL: [Anomaly; 6] = [
    Anomaly::OverCurrent,
    Anomaly::Hot,
    Anomaly::LongCharge,
    Anomaly::NoSession,
    Anomaly::NoDraw,
    Anomaly::SlowReadings,
];

/// Since when each has lasted, and whether it was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Anomalies(pub(super) [Option<(Micros, bool)>; ALL.len()]);

impl Anomalies {
    /// Looks at a charger whose draw is at most `draw` on each phase; gives what is to be told.
    pub(super) fn look(
        &mut self,
        station: &Station,
        charger: &Charger,
        draw: Milliamps,
        now: Micros,
        times: Times,
    ) -> Vec<String> {
        let mut texts = Vec::new();
        for (anomaly, lasting) in ALL.into_iter().zip(&mut self.0) {
            if !anomaly.shows(station, charger, draw, times) {
                *lasting = None;
                continue;
            }
            let (since, is_told) = lasting.get_or_insert((now, false));
            if !*is_told && now - *since >= anomaly.lasts() {
                *is_told = true;
                texts.push(anomaly.text(station, charger, draw, times));
            }
        }
        texts
    }
}

impl Anomaly {
    fn shows(self, station: &Station, charger: &Charger, draw: Milliamps, times: Times) -> bool {
        let asks = station.state().asks();
        match self {
            Self::OverCurrent => draw > charger.max_ma + REAL_DRAW,
            Self::Hot => station.temperature_mc.is_some_and(|temperature| temperature > HOT_MC),
            Self::LongCharge => asks,
            Self::NoSession => draw >= REAL_DRAW && station.stay.is_none(),
            Self::NoDraw => {
                let may = station.ledger.newest().is_some_and(|told| told.limit >= charger.min_ma);
                let is_measured = || charger.wired().iter().any(|phase| station.measures(*phase));
                asks && may && draw < REAL_DRAW && is_measured()
            }
            Self::SlowReadings => {
                asks && station.track.shortest_pause().is_some_and(|pause| pause >= times.silence)
            }
        }
    }

    const fn lasts(self) -> Micros {
        match self {
            Self::OverCurrent | Self::Hot => Micros::from_secs(5),
            Self::NoSession | Self::SlowReadings => Micros::from_secs(60),
            Self::NoDraw => Micros::from_secs(600),
            Self::LongCharge => Micros::from_secs(86_400),
        }
    }

    fn text(self, station: &Station, charger: &Charger, draw: Milliamps, times: Times) -> String {
        match self {
            Self::OverCurrent => format!("over_current: draws {draw}, gives {} at most", charger.max_ma),
            Self::Hot => {
                let degrees = station.temperature_mc.unwrap_or_default() / 1_000;
                format!("hot: {degrees} °C inside")
            }
            Self::LongCharge => "long_charge: a vehicle has asked for a day".into(),
            Self::NoSession => format!("no_session: draws {draw} and no session is open"),
            Self::NoDraw => "no_draw: a vehicle asks, may charge, and has not for ten minutes".into(),
            Self::SlowReadings => {
                let pause = station.track.shortest_pause().unwrap_or_default();
                format!(
                    "slow_readings: one each {pause} or less often; without one each {} raises may wait for ever",
                    times.silence
                )
            }
        }
    }
}
