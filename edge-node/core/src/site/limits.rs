//! What a circuit may carry at this moment: the least of what its breaker allows, what its schedule allows at this
//! hour, and what was signalled for it ([`super::outside`]); less its margin.
//!
//! A limit in W, of a circuit or of what hangs on it, holds for all its phases together. It becomes an equal current on each of
//! them, at the voltages of the circuit's meter or the next one above it ([`super::voltage`]), rounded down: as long as each
//! phase keeps it the whole does.

use wattle_wire::{Milliamps, Millivolts, PerPhase, Phase, Watts};

use super::{SiteMachine, voltage};

/// A limit, by current or by power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// On each phase.
    Current(PerPhase<Milliamps>),
    /// On all phases together.
    Power(Watts),
}

impl SiteMachine {
    /// What a circuit may carry now, less its margin.
    pub(super) fn limit(&self, circuit: usize) -> PerPhase<Milliamps> {
        let margin = self.model.circuits[circuit].margin_ma;
        let breaker = self.model.circuits[circuit].limit_ma;
        let all = self.lower_limits(circuit);
        let least =
            all.fold(breaker, |least, (_, limit)| least.zip(self.current(circuit, limit), Milliamps::min));
        least.map(|limit| limit - margin)
    }

    /// Every limit of a circuit that holds now, with what gives it, as currents.
    pub(super) fn limits(&self, circuit: usize) -> Vec<(String, PerPhase<Milliamps>)> {
        let breaker = ("breaker".to_owned(), self.model.circuits[circuit].limit_ma);
        let lower = self.lower_limits(circuit);
        let lower = lower.map(|(what, limit)| {
            let power = match limit {
                Limit::Power(power) => format!(", {power}"),
                Limit::Current(_) => String::new(),
            };
            (format!("{what}{power}"), self.current(circuit, limit))
        });
        std::iter::once(breaker).chain(lower).collect()
    }

    fn lower_limits(&self, circuit: usize) -> impl Iterator<Item = (&'static str, Limit)> {
        let now = self.passing.clock();
        let scheduled = self.model.circuits[circuit].schedule.iter();
        let scheduled = scheduled.filter(move |(window, _)| window.holds(&self.model.local_time, now));
        let scheduled = scheduled.map(|(_, limit)| ("schedule", *limit));
        scheduled.chain(self.outside.limits(circuit, now))
    }

    /// The voltage of a phase by the nearest meter that measures it now.
    fn voltage(&self, circuit: usize, phase: Phase) -> Millivolts {
        let meters = self.model.path(circuit).into_iter().filter_map(|circuit| self.meter_of[circuit]);
        let (now, stale) = (self.passing.now, self.stale());
        let measured = |meter: usize| self.gauges[meter].voltage.measured(phase, now, stale);
        voltage::counts(meters.filter_map(measured).next(), self.model.control.nominal_mv)
    }

    fn current(&self, circuit: usize, limit: Limit) -> PerPhase<Milliamps> {
        match limit {
            Limit::Current(current) => current,
            Limit::Power(power) => {
                let breaker = self.model.circuits[circuit].limit_ma;
                let phases = Phase::ALL.into_iter().filter(|phase| breaker[*phase] > Milliamps::ZERO);
                PerPhase::all(self.on_each(circuit, phases, power))
            }
        }
    }

    /// The current on each of these phases of a circuit at which they take a power together, rounded down.
    pub(super) fn on_each(
        &self,
        circuit: usize,
        phases: impl Iterator<Item = Phase>,
        power: Watts,
    ) -> Milliamps {
        let volts: Millivolts = phases.map(|phase| self.voltage(circuit, phase)).sum();
        let current = i64::from(power.0.max(0)) * 1_000_000 / i64::from(volts.0.max(1));
        Milliamps(i32::try_from(current).unwrap_or(i32::MAX))
    }
}
