//! The voltage of a circuit, by which a limit in W becomes a current.
//!
//! A supply may have a tenth more than its nominal voltage at any time (EN 50160). So a phase counts with what its meter has measured last,
//! and never with less than the nominal voltage; where none of the present is known, with a tenth more.

use wattle_wire::message::Phases;
use wattle_wire::{Micros, Millivolts, PerPhase, Phase};

/// Voltages outside of these are no reading.
const LEAST: Millivolts = Millivolts(50_000);
const MOST: Millivolts = Millivolts(500_000);

/// What a meter has said of the voltage, phase by phase, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Voltage(pub(super) PerPhase<Option<(Millivolts, Micros)>>);

impl Voltage {
    pub(super) fn hear(&mut self, said: Option<Phases<Millivolts>>, now: Micros) {
        for phase in Phase::ALL {
            let said = said.and_then(|said| said.get(phase.index()));
            if let Some(said) = said.filter(|said| (LEAST..=MOST).contains(said)) {
                self.0[phase] = Some((said, now));
            }
        }
    }

    /// What a phase was measured to have, where that counts for `stale`.
    pub(super) fn measured(&self, phase: Phase, now: Micros, stale: Micros) -> Option<Millivolts> {
        self.0[phase].filter(|(_, at)| now - *at < stale).map(|(said, _)| said)
    }
}

/// What a phase counts with of which this was measured.
pub(super) fn counts(measured: Option<Millivolts>, nominal: Millivolts) -> Millivolts {
    measured.map_or(highest(nominal), |measured| measured.max(nominal))
}

/// The highest that a supply has for long.
fn highest(nominal: Millivolts) -> Millivolts {
    Millivolts(nominal.0.saturating_add(nominal.0 / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_counts_with_what_was_measured_not_below_nominal_and_with_a_tenth_more_where_nothing_was() {
        let (nominal, stale, at) = (Millivolts(230_000), Micros::from_secs(10), Micros::from_secs);
        let mut voltage = Voltage::default();
        let said = [Some(Millivolts(241_000)), Some(Millivolts(219_000)), Some(Millivolts(5))];
        voltage.hear(Phases::of(said), at(1));
        let counts =
            |now| Phase::ALL.map(|phase| super::counts(voltage.measured(phase, at(now), stale), nominal).0);
        assert_eq!(counts(2), [241_000, 230_000, 253_000]);
        assert_eq!(counts(11), [253_000; 3]);
    }
}
