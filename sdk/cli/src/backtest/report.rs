//! What a backtest says: columns beside each other, where they differ, and what was assumed.

use serde::Serialize;

use super::books::Column;
use super::demand::{Assumed, Past};
use super::play::Run;
use super::setpoints::Agreement;
use crate::replay::entries::shown;
use crate::simulate::outcome::Outcome;

/// Stays that are shown in which two columns differ most.
const MOST_STAYS: usize = 5;
/// A stay is served in full to this part of what it takes.
const FULL: i64 = 1_000;

/// The whole of it; docs/policies/backtest.md has its keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The site.
    pub site: String,
    /// From when on stays are counted, and up to when.
    pub from: String,
    /// The moment of the last that is looked at.
    pub until: String,
    /// How many stays are counted.
    pub stays: u64,
    /// What they take, at most, by what is assumed, Wh.
    pub demand_wh: i64,
    /// Of them: those that still asked as they left, whose demand nobody knows.
    pub unknown_demand: u64,
    /// The limit of the grid connection, A: L1, L2, L3.
    pub limit_a: [f64; 3],
    /// What is assumed.
    pub assumed: Assumed,
    /// What was recorded, and each run.
    pub columns: Vec<Figures>,
    /// How often what was recorded comes out again in the control run.
    pub again: Option<Agreement>,
    /// Where the two last columns differ most.
    pub differences: Vec<Difference>,
    /// What a reader has to know.
    pub notes: Vec<String>,
    /// Over time.
    pub course: CourseOf,
}

/// The figures of a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// `recorded`, or who decided.
    pub name: String,
    /// What vehicles were given.
    pub energy_wh: i64,
    /// How vehicles fared.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// By the meter of the grid connection, all consumers: L1, L2, L3; null without one.
    pub peak_a: Option<[f64; 3]>,
    /// All chargers at once.
    pub peak_w: i64,
    /// How often a meter saw more than its limit.
    pub over_limit: u64,
    /// How often what is drawn or may be drawn passed a limit; null for what was recorded, where not every setpoint is known.
    pub breaches: Option<u64>,
    /// Decisions that are recorded.
    pub recorded_decisions: u64,
    /// Decisions for which the policy gave no plan; null for what was recorded.
    pub policy_failures: Option<u64>,
}

/// A stay in which two columns differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The stay.
    pub session: String,
    /// Where.
    pub charger: String,
    /// When it came.
    pub arrived: String,
    /// What it takes, at most, Wh.
    pub demand_wh: i64,
    /// What it was given in each column, Wh; null where no register tells it.
    pub energy_wh: Vec<Option<i64>>,
}

/// Means over time, column by column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CourseOf {
    /// When the first step begins.
    pub from: String,
    /// How long each is, s.
    pub step_s: u64,
    /// Power of all chargers, W, of each column.
    pub power_w: Vec<Vec<f64>>,
    /// Vehicles that ask and draw nothing, of each column.
    pub waiting: Vec<Vec<f64>>,
}

impl Figures {
    /// Of what was recorded.
    pub fn recorded(column: &Column, needs: &[i64]) -> Self {
        Self::of("recorded".into(), column, needs)
    }

    /// Of a run.
    pub fn run(run: &Run, needs: &[i64]) -> Self {
        let figures = Self::of(run.name.clone(), &run.column, needs);
        Self { breaches: Some(run.ran.breaches), policy_failures: Some(run.ran.failures), ..figures }
    }

    fn of(name: String, column: &Column, needs: &[i64]) -> Self {
        let is_full =
            |(given, need): (&Option<i64>, &i64)| given.is_some_and(|given| (need - given) * FULL <= *need);
        let full = column.energy_wh.iter().zip(needs).filter(|pair| is_full(*pair)).count();
        Self {
            name,
            energy_wh: column.all_wh(),
            outcome: Outcome::of(column.served, full as u64, column.cost_micros, column.from_surplus_wh),
            peak_a: column.peak_ma.map(|peak| peak.0.map(|peak| f64::from(peak.0) / 1000.0)),
            peak_w: column.peak_w,
            over_limit: column.over_limit,
            breaches: None,
            recorded_decisions: column.decisions,
            policy_failures: None,
        }
    }
}

/// The stays in which the two last of these columns differ most.
pub fn differences(columns: &[&Column], stays: &[Past], needs: &[i64]) -> Vec<Difference> {
    let [.., before, last] = columns else { return Vec::new() };
    let apart = |index: &usize| {
        let given = |column: &Column| column.energy_wh.get(*index).copied().flatten().unwrap_or(0);
        (given(last) - given(before)).abs()
    };
    let mut order: Vec<usize> = (0..stays.len()).filter(|index| apart(index) > 0).collect();
    order.sort_by_key(|index| std::cmp::Reverse(apart(index)));
    let of = |index: usize| Difference {
        session: stays[index].session.to_string(),
        charger: stays[index].station.to_string(),
        arrived: shown(stays[index].arrival),
        demand_wh: needs[index],
        energy_wh: columns.iter().map(|column| column.energy_wh[index]).collect(),
    };
    order.into_iter().take(MOST_STAYS).map(of).collect()
}

impl Report {
    /// Whether a run passed a limit.
    pub fn has_breaches(&self) -> bool {
        self.columns.iter().any(|figures| figures.breaches.is_some_and(|breaches| breaches > 0))
    }
}
