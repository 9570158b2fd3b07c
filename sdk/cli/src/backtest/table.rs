//! A report for people.

use std::fmt::{self, Write as _};

use super::demand::Demand;
use super::report::{Difference, Figures, Report};

/// The width of the names of rows, and the least of a column.
const NAMES: usize = 30;
const LEAST: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "site {}, {} to {}: {} stays", self.site, self.from, self.until, self.stays)?;
        writeln!(f)?;
        self.figures(f)?;
        self.again(f)?;
        self.differences(f)?;
        self.assumptions(f)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Report {
    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn Fn(&Figures) -> String| {
            let cells: Vec<String> = self.columns.iter().map(value).collect();
            self.row(f, name, &cells)
        };
        let (per, demand) =
            (|part: i64, whole: i64| 100.0 * part as f64 / whole.max(1) as f64, self.demand_wh);
        let (kwh, known) = (|wh: i64| format!("{:.3}", wh as f64 / 1e3), |value: Option<u64>| count(value));
        row(f, "", &|c| c.name.clone())?;
        row(f, "energy, kWh", &|c| kwh(c.energy_wh))?;
        row(f, "  of the demand, %", &|c| format!("{:.1}", per(c.energy_wh, demand)))?;
        row(f, "stays served in full", &|c| c.outcome.full.to_string())?;
        row(f, "  that never charged", &|c| c.outcome.never_charged.to_string())?;
        row(f, "wait for the first draw, min", &|c| format!("{:.1}", c.outcome.mean_wait_s / 60.0))?;
        row(f, "on standby, min", &|c| format!("{:.1}", c.outcome.mean_standby_s / 60.0))?;
        row(f, "switched off while asking", &|c| c.outcome.standby_switches.to_string())?;
        if self.columns.iter().any(|figures| figures.outcome.cost_micros.is_some()) {
            row(f, "cost", &|c| amount(c.outcome.cost_micros, 1e6, 2))?;
            row(f, "  per kWh", &|c| amount(c.outcome.cost_micros, c.energy_wh as f64 * 1e3, 4))?;
        }
        if self.columns.iter().any(|figures| figures.outcome.from_surplus_wh.is_some()) {
            row(f, "from surplus, kWh", &|c| c.outcome.from_surplus_wh.map_or("-".into(), kwh))?;
        }
        row(f, "peak of all chargers, kW", &|c| format!("{:.2}", c.peak_w as f64 / 1e3))?;
        for (phase, limit) in self.limit_a.iter().enumerate().filter(|(_, limit)| **limit > 0.0) {
            let name = format!("peak on L{} of {limit} A, A", phase + 1);
            row(f, &name, &|c| c.peak_a.map_or("-".into(), |peak| format!("{:.1}", peak[phase])))?;
        }
        row(f, "over the limit, by meter", &|c| c.over_limit.to_string())?;
        row(f, "breaches", &|c| known(c.breaches))?;
        row(f, "recorded decisions", &|c| c.recorded_decisions.to_string())?;
        row(f, "without a plan", &|c| known(c.policy_failures))
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, cells: &[String]) -> fmt::Result {
        let mut line = format!("{name:NAMES$}");
        for (figures, cell) in self.columns.iter().zip(cells) {
            let width = figures.name.chars().count().max(LEAST);
            write!(line, "  {cell:>width$}")?;
        }
        writeln!(f, "{}", line.trim_end())
    }

    fn again(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(again) = self.again else { return Ok(()) };
        let percent = 100.0 * again.same as f64 / again.recorded.max(1) as f64;
        writeln!(f)?;
        writeln!(
            f,
            "Recorded setpoints that come out again: {} of {} ({percent:.2} %), {:.3} A apart in the mean.",
            again.same, again.recorded, again.mean_difference_a
        )?;
        writeln!(
            f,
            "So much is the run itself to be trusted: the policy is the one that decided, and the rest is assumed."
        )
    }

    fn differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., before, last] = self.columns.as_slice() else { return Ok(()) };
        writeln!(f)?;
        if self.differences.is_empty() {
            return writeln!(f, "No stay is given other energy under {} than {}.", last.name, said(before));
        }
        writeln!(f, "Where {} gives most otherwise than {}, kWh:", last.name, said(before))?;
        for Difference { session, charger, arrived, demand_wh, energy_wh } in &self.differences {
            let given: Vec<String> = energy_wh
                .iter()
                .map(|wh| wh.map_or("-".into(), |wh| format!("{:.3}", wh as f64 / 1e3)))
                .collect();
            let takes = *demand_wh as f64 / 1e3;
            writeln!(f, "  {session} at {charger}, {arrived}: {}, takes {takes:.3}", given.join(", "))?;
        }
        Ok(())
    }

    fn assumptions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let assumed = &self.assumed;
        let takes = match assumed.demand {
            Demand::Known => {
                "what it drew, if it ended by itself; else what its user asked for, or a little more than it drew"
            }
            Demand::Drawn => "what it drew, and nothing more",
            Demand::Requested => {
                "what its user asked for; where nobody did, what it drew, or a little more if it still asked"
            }
        };
        let times = if assumed.factor == 1.0 { String::new() } else { format!(", times {}", assumed.factor) };
        writeln!(f)?;
        writeln!(f, "Assumed: a vehicle comes and leaves as it did, and takes at most {takes}{times}.")?;
        writeln!(
            f,
            "{} of {} stays still asked as they left: what they would have taken, nobody knows.",
            self.unknown_demand, self.stays
        )?;
        writeln!(
            f,
            "It draws what it may, at most {} A where history shows no other most. docs/policies/backtest.md has the rest.",
            assumed.vehicle_a
        )
    }
}

fn said(figures: &Figures) -> &str {
    if figures.breaches.is_none() { "was recorded" } else { &figures.name }
}

fn count(value: Option<u64>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

fn amount(value: Option<i64>, unit: f64, digits: usize) -> String {
    match value {
        Some(value) if unit > 0.0 => format!("{:.digits$}", value as f64 / unit),
        _ => "-".into(),
    }
}
