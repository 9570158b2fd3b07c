//! What a circuit may carry at a moment, told anew from what was said of it: its breaker, its schedule, what systems have
//! signalled, less its margin. What is lowered brings so much of an excess.

use std::collections::BTreeMap;

use wattle_wire::policy::Series;
use wattle_wire::{Micros, Milliamps, PerPhase, Phase, Watts};

use crate::excuse::Cause;
use crate::parts::input;
use crate::rig::Rig;
use wattle_edge_core::*;

/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// What systems have signalled, by who did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// For circuits, until a moment of the machine's clock.
    circuits: BTreeMap<(usize, usize), Signalled>,
    /// What the whole site may draw, W; by each system the series that have still time.
    grid: BTreeMap<usize, Vec<Series>>,
}

impl Rig {
    /// A system limits a circuit for a time.
    pub fn signal(&mut self, by: usize, circuit: usize, limit: Limit, ms: i64) {
        let until_us = self.machine_now() + Micros::from_millis(ms);
        let signalled = Signalled { limit, until_us };
        self.signalled.circuits.insert((circuit, by), signalled);
        self.note_limits();
        self.tell(input(Part::Circuit(circuit), Heard::Limit { by, limit: Some(signalled) }));
    }

    /// A system limits what the site may draw, step by step, W.
    pub fn signal_grid(&mut self, by: usize, series: Series) {
        let line = self.signalled.grid.entry(by).or_default();
        line.retain(|before| before.start_us < series.start_us);
        line.push(series.clone());
        self.forget_past();
        self.note_limits();
        self.tell(input(Part::Site, Heard::GridLimit { by, limit: Some(series) }));
    }

    /// A system takes back all that it has said of what the site may draw.
    pub fn take_back_grid(&mut self, by: usize) {
        self.signalled.grid.remove(&by);
        self.note_limits();
        self.tell(input(Part::Site, Heard::GridLimit { by, limit: None }));
    }

    /// A machine that has just begun is told what systems have signalled.
    pub(crate) fn signal_again(&mut self) {
        self.forget_past();
        let Signals { circuits, grid } = self.signalled.clone();
        for ((circuit, by), signalled) in circuits {
            self.machine.handle(
                input(Part::Circuit(circuit), Heard::Limit { by, limit: Some(signalled) }),
                self.machine_now(),
            );
        }
        for (by, series) in grid.into_iter().flat_map(|(by, line)| line.into_iter().map(move |of| (by, of))) {
            let limit = Some(series);
            self.machine.handle(input(Part::Site, Heard::GridLimit { by, limit }), self.machine_now());
        }
    }

    /// Nobody asks any more for what a later series has taken over from.
    fn forget_past(&mut self) {
        let now = self.machine_time();
        for line in self.signalled.grid.values_mut() {
            while line.get(1).is_some_and(|next| next.start_us <= now) {
                line.remove(0);
            }
        }
    }

    /// Whether a charger that is told so much keeps its highest power at the voltage there is, as far as that can be known.
    pub(crate) fn check_power(&self, index: usize, told: Milliamps) {
        let charger = &self.machine.model().chargers[index];
        let known = self.now - self.voltage_since >= self.machine.model().control.meter_stale_ms.into();
        if let Some(most) = charger.max_power.filter(|_| known || !self.tells_voltage) {
            let power = i64::from(told.0) * i64::from(self.voltage_mv.0) * charger.wired().len() as i64;
            assert!(power <= i64::from(most.0) * 1_000_000, "{told} of {} is more than {most}", charger.id);
        }
    }

    /// The voltage of all phases changes.
    pub fn set_voltage(&mut self, voltage: wattle_wire::Millivolts) {
        (self.voltage_mv, self.voltage_since) = (voltage, self.now);
        self.note_limits();
    }

    /// Brings by how much limits are lower than at the last look.
    pub(crate) fn note_limits(&mut self) {
        for circuit in 0..self.carried.len() {
            let limit = self.limit(circuit);
            let before = std::mem::replace(&mut self.carried[circuit], limit);
            self.watch.excuses.add(circuit, Cause::Limit, before - limit, self.now);
            self.watch.excuses.take_back(circuit, Cause::Limit, limit - before);
        }
    }

    /// What a circuit may carry now.
    pub(crate) fn limit(&self, circuit: usize) -> PerPhase<Milliamps> {
        let of = &self.machine.model().circuits[circuit];
        let lower = self.lower_limits(circuit).map(|limit| self.current(circuit, limit));
        let least = lower.fold(of.limit_ma, |least, limit| least.zip(limit, Milliamps::min));
        least.map(|limit| limit - of.margin_ma)
    }

    /// Whether a circuit's limit depends on the voltage now.
    pub(crate) fn is_limited_in_watts(&self, circuit: usize) -> bool {
        self.lower_limits(circuit).any(|limit| matches!(limit, Limit::Power(_)))
    }

    fn lower_limits(&self, circuit: usize) -> impl Iterator<Item = Limit> + '_ {
        let now = self.machine_time();
        let schedule = self.machine.model().circuits[circuit].schedule.iter();
        let ahead = self.machine.model().local_time.0.last().map_or(0, |(_, seconds)| *seconds);
        let local = now + Micros::from_secs(ahead.into());
        let scheduled = schedule.filter(move |(window, _)| is_on(window, local)).map(|(_, limit)| *limit);
        let signalled = self.signalled.circuits.range((circuit, 0)..(circuit + 1, 0));
        let signalled = signalled.filter(move |(_, it)| it.until_us > now).map(|(_, it)| it.limit);
        let grid = self.signalled.grid.values().filter(move |_| circuit == 0);
        let grid = grid.filter_map(move |line| line.iter().rfind(|series| series.start_us <= now)?.at(now));
        scheduled.chain(signalled).chain(grid.map(|watts| Limit::Power(Watts(watts.max(0) as i32))))
    }

    /// A limit in W is as much on each phase that there is.
    fn current(&self, circuit: usize, limit: Limit) -> PerPhase<Milliamps> {
        let power = match limit {
            Limit::Current(current) => return current,
            Limit::Power(power) => i64::from(power.0.max(0)),
        };
        let breaker = self.machine.model().circuits[circuit].limit_ma;
        let phases = Phase::ALL.into_iter().filter(|phase| breaker[*phase] > Milliamps::ZERO).count();
        let volts = i64::from(self.voltage_mv.0) * phases.max(1) as i64;
        PerPhase::all(Milliamps((power * 1_000_000 / volts) as i32))
    }

    /// The time by which the machine's limits hold: time stands still for it while its clock is a little behind where it was.
    fn machine_time(&self) -> Micros {
        let (now, clock) = (self.machine_now(), self.machine.clock());
        let little: Micros = self.machine.model().control.interval_ms.into();
        if clock > now && clock - now <= little + little { clock } else { now }
    }
}

/// Whether a window of every day is on at a moment of the site's clocks.
fn is_on(window: &Window, local: Micros) -> bool {
    let minute = local.0.div_euclid(60_000_000).rem_euclid(DAY);
    let (from, to) = (i64::from(window.from_minute), i64::from(window.to_minute));
    if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}
