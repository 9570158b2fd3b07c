//! What chargers were told, and how that of a run agrees with what was recorded.

use serde::Serialize;
use wattle_wire::{Micros, Milliamps};

/// The setpoint of each charger over time, by the decisions that are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setpoints {
    /// The moments of the decisions.
    moments: Vec<Micros>,
    /// Of each charger: from when on what.
    told: Vec<Vec<(Micros, Milliamps)>>,
}

/// How many setpoints agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Recorded setpoints: one for each recorded decision and charger.
    pub recorded: u64,
    /// Those that are in force in the run at the same moment.
    pub same: u64,
    /// The mean difference, A.
    pub mean_difference_a: f64,
    /// The moment of the first that differs, us since 1970.
    pub first_us: Option<i64>,
}

impl Setpoints {
    /// None yet, of so many chargers.
    pub fn new(chargers: usize) -> Self {
        Self { moments: Vec::new(), told: vec![Vec::new(); chargers] }
    }

    /// A decision.
    pub fn take(&mut self, at: Micros, told: impl Iterator<Item = (usize, Milliamps)>) {
        self.moments.push(at);
        for (charger, setpoint) in told {
            let known = &mut self.told[charger];
            if known.last().is_none_or(|(_, last)| *last != setpoint) {
                known.push((at, setpoint));
            }
        }
    }

    /// Compares what was recorded from `from` up to `until` with a run.
    pub fn against(&self, run: &Self, from: Micros, until: Micros) -> Agreement {
        let mut agreement = Agreement::default();
        let mut difference_ma = 0;
        for (recorded, run) in self.told.iter().zip(&run.told) {
            let (mut recorded, mut run) = (InForce::new(recorded), InForce::new(run));
            for at in self.moments.iter().filter(|at| **at <= until) {
                // Where a charger was not there yet nothing was told.
                let (Some(was), is) = (recorded.at(*at), run.at(*at).unwrap_or_default()) else { continue };
                if *at < from {
                    continue;
                }
                agreement.recorded += 1;
                agreement.same += u64::from(was == is);
                difference_ma += u64::from((was - is).0.unsigned_abs());
                if was != is {
                    let first = agreement.first_us.unwrap_or(i64::MAX);
                    agreement.first_us = Some(first.min(at.0));
                }
            }
        }
        let mean = difference_ma as f64 / 1000.0 / agreement.recorded.max(1) as f64;
        agreement.mean_difference_a = (mean * 1000.0).round() / 1000.0;
        agreement
    }
}

/// Goes along setpoints in order of time.
struct InForce<'a> {
    rest: &'a [(Micros, Milliamps)],
    now: Option<Milliamps>,
}

impl<'a> InForce<'a> {
    fn new(rest: &'a [(Micros, Milliamps)]) -> Self {
        Self { rest, now: None }
    }

    fn at(&mut self, at: Micros) -> Option<Milliamps> {
        while let Some(((_, setpoint), rest)) = self.rest.split_first().filter(|((from, _), _)| *from <= at) {
            (self.now, self.rest) = (Some(*setpoint), rest);
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setpoints(told: &[(i64, i32)]) -> Setpoints {
        let mut setpoints = Setpoints::new(1);
        for (at, amps) in told {
            setpoints.take(Micros(*at), std::iter::once((0, Milliamps::from_amps(*amps))));
        }
        setpoints
    }

    fn check(recorded: &[(i64, i32)], run: &[(i64, i32)], expected: (u64, u64, f64, Option<i64>)) {
        let Agreement { recorded, same, mean_difference_a, first_us } =
            setpoints(recorded).against(&setpoints(run), Micros(0), Micros(100));
        assert_eq!((recorded, same, mean_difference_a, first_us), expected);
    }

    #[test]
    fn what_is_in_force_at_the_moment_of_a_recorded_decision_counts() {
        check(&[(10, 6), (20, 6), (30, 16)], &[(10, 6), (30, 16)], (3, 3, 0.0, None));
        check(&[(10, 6), (20, 6), (30, 16)], &[(10, 6), (31, 16)], (3, 2, 3.333, Some(30)));
        check(&[(10, 6)], &[], (1, 0, 6.0, Some(10)));
        check(&[(200, 6)], &[(200, 6)], (0, 0, 0.0, None));
        check(&[], &[(1, 6)], (0, 0, 0.0, None));
    }
}
