//! What a simulation came to, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::outcome::Outcome;

/// The summary; `docs/simulate.md` has its keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Rows of the trace.
    pub rows: u64,
    /// Sessions in the lake.
    pub sessions: u64,
    /// Rows in the quarantine, by code.
    pub quarantined: BTreeMap<String, u64>,
    /// What users asked for.
    pub requested_wh: i64,
    /// What vehicles took in the trace, and so the most that they take here.
    pub wanted_wh: i64,
    /// What vehicles were given.
    pub delivered_wh: i64,
    /// How they fared; in full is what the trace says.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The most that flowed through the grid connection: L1, L2, L3.
    pub peak_a: [f64; 3],
    /// How often a limit was passed.
    pub breaches: u64,
    /// Sessions whose energy takes at most 95 % of their stay at 7.36 kW.
    pub easy: u64,
    /// Those of them that were given less than the trace says, by more than 0.1 %.
    pub short: u64,
    /// Entries of the edge's journal.
    pub entries: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions for which the policy gave no plan.
    pub policy_failures: u64,
    /// How long it took, to the millisecond.
    pub wall_s: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.quarantined.values().sum();
        let kwh = |wh: i64| wh as f64 / 1000.0;
        writeln!(f, "rows          {}", self.rows)?;
        writeln!(f, "sessions      {}", self.sessions)?;
        writeln!(f, "quarantined   {refused}")?;
        for (code, count) in &self.quarantined {
            writeln!(f, "              {count} {code}")?;
        }
        writeln!(f, "asked for     {:.3} kWh", kwh(self.requested_wh))?;
        writeln!(f, "delivered     {:.3} kWh", kwh(self.delivered_wh))?;
        writeln!(f, "in full       {} sessions", self.outcome.full)?;
        writeln!(f, "not in full   {} of {} that had the time", self.short, self.easy)?;
        let minutes = |seconds: f64| seconds / 60.0;
        writeln!(
            f,
            "waited        {:.1} min for the first draw, {:.1} min on standby; the mean of {} that asked",
            minutes(self.outcome.mean_wait_s),
            minutes(self.outcome.mean_standby_s),
            self.outcome.asked
        )?;
        writeln!(f, "switched off  {} times while they asked", self.outcome.standby_switches)?;
        if let Some(cost) = self.outcome.cost_micros {
            writeln!(f, "cost          {:.2}", cost as f64 / 1e6)?;
        }
        if let Some(own) = self.outcome.from_surplus_wh {
            writeln!(f, "from surplus  {:.3} kWh", kwh(own))?;
        }
        let [l1, l2, l3] = self.peak_a;
        writeln!(f, "peak          L1 {l1:.1} A, L2 {l2:.1} A, L3 {l3:.1} A")?;
        writeln!(f, "breaches      {}", self.breaches)?;
        writeln!(f, "decisions     {}", self.decisions)?;
        if self.policy_failures > 0 {
            writeln!(f, "              {} without a plan of the policy", self.policy_failures)?;
        }
        writeln!(f, "entries       {}", self.entries)?;
        writeln!(f, "wall time     {:.1} s", self.wall_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_each_reason_with_its_count() {
        let summary = Summary {
            rows: 5,
            sessions: 2,
            quarantined: BTreeMap::from([("overlap".into(), 1), ("bad_arrival".into(), 2)]),
            requested_wh: 10_500,
            wanted_wh: 9_100,
            delivered_wh: 9_007,
            outcome: Outcome {
                full: 1,
                asked: 2,
                never_charged: 0,
                mean_wait_s: 90.0,
                mean_standby_s: 120.0,
                standby_switches: 3,
                cost_micros: Some(2_345_678),
                from_surplus_wh: None,
            },
            peak_a: [32.0, 0.0, 16.5],
            breaches: 0,
            easy: 2,
            short: 0,
            entries: 99,
            decisions: 7,
            policy_failures: 0,
            wall_s: 0.25,
        };
        let text = summary.to_string();
        for line in [
            "quarantined   3",
            "              1 overlap",
            "delivered     9.007 kWh",
            "L3 16.5 A",
            "waited        1.5 min",
            "cost          2.35",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("without a plan"));
    }
}
