//! What a circuit may carry at this moment: the least of what its breaker allows, what its schedule allows at this
//! hour, and what was signalled for it until a moment; less its margin.
//!
//! A limit in W holds for all phases of a circuit together. It becomes an equal current on each phase that the circuit
//! has, at the nominal voltage, rounded down: as long as each phase keeps it the whole does.

use wattle_wire::policy::{Series, Signals};
use wattle_wire::row::Cause;
use wattle_wire::{Micros, Milliamps, Millis, Millivolts, PerPhase, Phase, Watts};

use super::{Due, SiteMachine};

/// Values of a series of signals that are kept; those behind them are cut off. A week of five minutes.
const MAX_SERIES: usize = 2_016;

/// A limit, by current or by power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// On each phase.
    Current(PerPhase<Milliamps>),
    /// On all phases together.
    Power(Watts),
}

/// A limit that holds for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    /// What the circuit may carry, whatever its breaker allows.
    pub limit: Limit,
    /// Until when.
    pub until_us: Micros,
}

/// A power as a current on each of `phases` phases, rounded down.
pub(super) fn on_each_phase(power: Watts, phases: usize, nominal: Millivolts) -> Milliamps {
    let divisor = i64::from(nominal.0.max(1)) * phases.max(1) as i64;
    Milliamps(i32::try_from(i64::from(power.0.max(0)) * 1_000_000 / divisor).unwrap_or(i32::MAX))
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
        let signalled = self.signalled[circuit].filter(|signalled| signalled.until_us > now);
        let operator = self.signals.grid_limit_w.as_ref().filter(|_| circuit == 0);
        let operator = operator.and_then(|series| value_at(series, now)).map(Limit::Power);
        let scheduled = scheduled.map(|(_, limit)| ("schedule", *limit));
        let signalled = signalled.map(|signalled| ("signal", signalled.limit));
        scheduled.chain(signalled).chain(operator.map(|limit| ("grid operator", limit)))
    }

    fn current(&self, circuit: usize, limit: Limit) -> PerPhase<Milliamps> {
        match limit {
            Limit::Current(current) => current,
            Limit::Power(power) => {
                let breaker = self.model.circuits[circuit].limit_ma;
                let phases = Phase::ALL.iter().filter(|phase| breaker[**phase] > Milliamps::ZERO).count();
                PerPhase::all(on_each_phase(power, phases, self.model.control.nominal_mv))
            }
        }
    }

    /// Takes a limit for a circuit, or its end.
    pub(super) fn hear_limit(&mut self, circuit: usize, signalled: Option<Signalled>, now: Micros) -> Due {
        self.signalled[circuit] = signalled;
        self.breach(now)
    }

    /// Takes what policies may know of the world outside, and the operator's limit for the whole site.
    pub(super) fn hear_signals(&mut self, mut signals: Signals, now: Micros) -> Due {
        let all = [&mut signals.price, &mut signals.surplus_w, &mut signals.grid_limit_w];
        all.into_iter().flatten().for_each(|series| series.values.truncate(MAX_SERIES));
        let changed = self.signals != signals;
        self.signals = signals;
        match self.breach(now) {
            Due::No if changed => Due::Now(Cause::Request),
            due => due,
        }
    }

    /// What a policy sees of the world outside. A limit in W that was signalled for the grid connection is one of the operator's.
    pub(super) fn snapshot_signals(&self) -> Signals {
        let now = self.passing.clock();
        let signalled = self.signalled[0].filter(|signalled| signalled.until_us > now);
        let series = signalled.and_then(|signalled| match signalled.limit {
            Limit::Power(power) => Some(Series {
                start_us: now,
                step_ms: Millis((signalled.until_us - now).0 / 1_000),
                values: vec![power.0.into()],
            }),
            Limit::Current(_) => None,
        });
        let grid_limit_w = series.or_else(|| self.signals.grid_limit_w.clone());
        Signals { grid_limit_w, ..self.signals.clone() }
    }
}

/// The value of a series of powers at a moment; none before its first and after its last.
fn value_at(series: &Series, now: Micros) -> Option<Watts> {
    let step: Micros = series.step_ms.into();
    if now < series.start_us || step <= Micros::ZERO {
        return None;
    }
    let index = usize::try_from((now - series.start_us).0 / step.0).ok()?;
    let value = *series.values.get(index)?;
    Some(Watts(i32::try_from(value.max(0)).unwrap_or(i32::MAX)))
}
