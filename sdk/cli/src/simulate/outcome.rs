//! How vehicles fared, in the words that a simulation and a backtest share.

use serde::Serialize;

use super::service::Served;

/// How vehicles fared. Its keys stand in docs/simulate.md and docs/policies/backtest.md.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Sessions that were given what their vehicles take, to 0.1 %.
    pub full: u64,
    /// Sessions in which a vehicle asked for energy.
    pub asked: u64,
    /// Those of them in which it was given none.
    pub never_charged: u64,
    /// From when a vehicle asked to when it first drew, or to its end where it never did; the mean of `asked`.
    pub mean_wait_s: f64,
    /// For how long a vehicle that asked drew nothing; the mean of `asked`.
    pub mean_standby_s: f64,
    /// How often a vehicle that drew had to stop while it asked.
    pub standby_switches: u64,
    /// What the energy cost, millionths of the currency; null without prices.
    pub cost_micros: Option<i64>,
    /// How much of the energy was surplus; null without a surplus.
    pub from_surplus_wh: Option<i64>,
}

impl Outcome {
    /// Of vehicles that were served so.
    pub fn of(served: Served, full: u64, cost_micros: Option<i64>, from_surplus_wh: Option<i64>) -> Self {
        Self {
            full,
            asked: served.asked,
            never_charged: served.never,
            mean_wait_s: mean_s(served.wait_ms, served.asked),
            mean_standby_s: mean_s(served.standby_ms, served.asked),
            standby_switches: served.switches,
            cost_micros,
            from_surplus_wh,
        }
    }
}

/// To a tenth of a second; 0 for none.
fn mean_s(all_ms: u64, count: u64) -> f64 {
    (all_ms as f64 / count.max(1) as f64 / 100.0).round() / 10.0
}
