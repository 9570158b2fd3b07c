//! The page of text.

use std::fmt;

use wattle_wire::{Milliamps, PerPhase, Phase};

use super::{ExplainedCharger, ExplainedCircuit, Explanation, amps, phases as named};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            wattle_wire::row::Cause::Interval => "because the interval was over",
            wattle_wire::row::Cause::Breach => "at once, because a limit was passed",
            wattle_wire::row::Cause::Request => {
                "at once, because a vehicle or a charger has come, asked or gone, or room became free"
            }
            wattle_wire::row::Cause::Shadow => "beside another, never obeyed",
        };
        writeln!(f, "Site {}, decided {cause}.", self.site)?;
        match &self.failure {
            None => writeln!(f, "Proposed by {}.", self.policy)?,
            Some(reason) => writeln!(f, "No plan was given ({reason}); proposed by {}.", self.policy)?,
        }
        for circuit in &self.circuits {
            writeln!(f)?;
            circuit.fmt(f)?;
        }
        for charger in &self.chargers {
            writeln!(f)?;
            charger.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34}", format!("Circuit {}", self.circuit))?;
        for phase in &self.phases {
            write!(f, "{:>10}", format!("{phase:?}"))?;
        }
        writeln!(f)?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(Phase) -> String| {
            write!(f, "  {name:<32}")?;
            for phase in &self.phases {
                write!(f, "{:>10}", cell(*phase))?;
            }
            writeln!(f)
        };
        let plain = |values: PerPhase<Milliamps>| move |phase: Phase| amps(values[phase]);
        for (name, limit) in &self.limits {
            let counts = self.limits.len() > 1 && self.counts(limit);
            let name = if counts { format!("{name}, which counts") } else { name.clone() };
            row(f, &name, &plain(*limit))?;
        }
        if self.margin_ma > Milliamps::ZERO {
            row(f, "margin", &|_| amps(-self.margin_ma))?;
        }
        row(f, "other consumers", &|phase| {
            self.uncontrolled_ma[phase].map_or("unknown".to_owned(), |load| amps(-load))
        })?;
        row(f, "for its chargers", &plain(self.budget_ma))?;
        for (circuit, phases) in &self.silent {
            let on = named(phases);
            if *circuit == self.circuit {
                let share = "its chargers share the fallback budget, at most what its last word left";
                writeln!(f, "  Its meter is silent on {on}: {share}.")?;
            } else {
                let counts = "it counts with what its breaker lets through beside its chargers";
                writeln!(f, "  The meter of {circuit} is silent on {on}: {counts}.")?;
            }
        }
        if self.for_raises_ma != self.budget_ma {
            row(f, "for raises, until load settles", &plain(self.for_raises_ma))?;
        }
        if self.set_aside_ma != PerPhase::default() {
            row(f, "of it not to be lowered", &plain(self.set_aside_ma))?;
        }
        row(f, "may be drawn by chargers now", &plain(self.reserved_ma))
    }
}

impl ExplainedCircuit {
    /// Whether a limit is the least on a phase that there is.
    fn counts(&self, limit: &PerPhase<Milliamps>) -> bool {
        self.phases.iter().any(|phase| self.limits.iter().all(|(_, other)| limit[*phase] <= other[*phase]))
    }
}

impl fmt::Display for ExplainedCharger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Charger {}: {}", self.charger, amps(self.setpoint_ma))?;
        writeln!(f, "  {}", self.known)?;
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        writeln!(f, "  {} proposed{why}", amps(self.proposed_ma))?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        match self.number {
            Some(number) => writeln!(f, "  sent as setpoint {number}"),
            None => writeln!(f, "  nothing new had to be sent"),
        }
    }
}
