//! What a site's rows come to: those that were recorded, and those of a run, by the same rules.
//!
//! Only stays that are *counted* are: those that begin in the range. A vehicle draws from [`DRAWS_FROM`] on. A step of a reading lasts
//! until the next one of its charger; the energy of a stay is told by registers, as the table `sessions` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use wattle_wire::row::{Cause, Decision, Event, EventKind, Reading, Row};
use wattle_wire::{DeviceId, Micros, Milliamps, PerPhase, SessionId, WattHours};

use super::course::{Course, Means, Steps};
use super::setpoints::Setpoints;
use crate::simulate::cost::{Cost, Outside};
use crate::simulate::service::{Served, Service};

/// What is less is no charging.
pub const DRAWS_FROM: Milliamps = Milliamps::from_amps(1);
/// Where a device doesn't tell its power.
const USUAL_VOLTS: i64 = 230;

/// What all columns of a comparison share.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The site's chargers by name.
    pub chargers: BTreeMap<DeviceId, usize>,
    /// The meter of the grid connection.
    pub meter: Option<DeviceId>,
    /// Of each charger: the stays that are counted, by name.
    pub counted: Vec<BTreeMap<SessionId, usize>>,
    /// How many are counted.
    pub stays: usize,
    /// What energy costs, and what the site has to spare.
    pub outside: Outside,
    /// The time that is looked at.
    pub steps: Steps,
    /// Its begin, ms.
    pub from_ms: u64,
    /// Its end, ms.
    pub until_ms: u64,
}

/// What rows came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What each counted stay was given, Wh; none where no register tells it.
    pub energy_wh: Vec<Option<i64>>,
    /// How they were served.
    pub served: Served,
    /// Millionths of the currency.
    pub cost_micros: Option<i64>,
    /// How much of the energy the surplus covered.
    pub from_surplus_wh: Option<i64>,
    /// The most that flowed through the grid connection by its meter, all consumers; none without a meter.
    pub peak_ma: Option<PerPhase<Milliamps>>,
    /// The most that all chargers drew at once.
    pub peak_w: i64,
    /// How often a meter saw more than its limit.
    pub over_limit: u64,
    /// Decisions that were recorded.
    pub decisions: u64,
    /// Who decided, the most recorded decisions first.
    pub policies: Vec<String>,
    /// Power and waiting vehicles over time.
    pub means: Means,
    /// What chargers were told.
    pub setpoints: Setpoints,
}

/// A charger as its last reading shows it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    at_ms: u64,
    power_mw: i64,
    counted_mw: i64,
    waits: bool,
    /// And is counted.
    asks: bool,
    draws: bool,
}

/// The registers of a stay.
#[derive(Debug, Clone, Copy, Default)]
struct Registers {
    plugged: Option<WattHours>,
    started: Option<WattHours>,
    ended: Option<WattHours>,
    unplugged: Option<WattHours>,
    last: Option<WattHours>,
}

/// Adds up.
pub struct Books {
    frame: Arc<Frame>,
    seen: Vec<Seen>,
    registers: Vec<Registers>,
    service: Service,
    cost: Cost,
    course: Course,
    peak: Option<PerPhase<Milliamps>>,
    over_limit: u64,
    decisions: u64,
    policies: BTreeMap<String, u64>,
    setpoints: Setpoints,
}

impl Books {
    /// Nothing was taken yet.
    pub fn new(frame: Arc<Frame>) -> Self {
        let chargers = frame.chargers.len();
        Self {
            seen: vec![Seen::default(); chargers],
            registers: vec![Registers::default(); frame.stays],
            service: Service::new(chargers),
            cost: Cost::new(frame.outside.clone(), frame.from_ms),
            course: Course::new(frame.steps),
            peak: None,
            over_limit: 0,
            decisions: 0,
            policies: BTreeMap::new(),
            setpoints: Setpoints::new(chargers),
            frame,
        }
    }

    /// Takes the next row, journaled at `at`.
    pub fn take(&mut self, at: Micros, row: &Row) {
        match row {
            Row::Reading(reading) => self.reading(at, reading),
            Row::Event(event) => self.event(at, event),
            Row::Decision(decision) if decision.cause != Cause::Shadow => self.decision(at, decision),
            Row::Decision(_) | Row::Gap(_) => {}
        }
    }

    fn reading(&mut self, at: Micros, reading: &Reading) {
        let at_ms = millis(reading.measured_us.unwrap_or(at));
        if self.frame.meter.as_ref() == Some(&reading.device) {
            return self.metered(at_ms, reading);
        }
        let Some(charger) = self.frame.chargers.get(&reading.device).copied() else { return };
        let stay = reading.session.as_ref().and_then(|session| self.stay(charger, session));
        if let (Some(stay), Some(register)) = (stay, reading.values.register_wh) {
            self.registers[stay].last = Some(register);
        }
        let asks = reading.state.is_some_and(|state| state.asks());
        self.look(charger, at_ms, asks, draw(reading) >= DRAWS_FROM, power_mw(reading), stay.is_some());
    }

    fn metered(&mut self, at_ms: u64, reading: &Reading) {
        let (true, Some(current)) = (self.is_within(at_ms), reading.values.current_ma) else { return };
        let flow = PerPhase([0, 1, 2].map(|phase| current.get(phase).unwrap_or_default()));
        self.peak = Some(self.peak.map_or(flow, |peak| peak.zip(flow, Milliamps::max)));
    }

    fn event(&mut self, at: Micros, event: &Event) {
        let at_ms = millis(event.measured_us.unwrap_or(at));
        if event.kind == EventKind::OverLimit && self.is_within(at_ms) {
            self.over_limit += 1;
        }
        let Some(charger) = event.device.as_ref().and_then(|device| self.frame.chargers.get(device)).copied()
        else {
            return;
        };
        if matches!(event.kind, EventKind::Ended | EventKind::Unplugged) {
            self.look(charger, at_ms, false, false, 0, false);
        }
        let Some(stay) = event.session.as_ref().and_then(|session| self.stay(charger, session)) else {
            return;
        };
        let registers = &mut self.registers[stay];
        let place = match event.kind {
            EventKind::Plugged => &mut registers.plugged,
            EventKind::Started => &mut registers.started,
            EventKind::Ended => &mut registers.ended,
            EventKind::Unplugged => &mut registers.unplugged,
            _ => return,
        };
        *place = place.or(event.register_wh);
    }

    fn decision(&mut self, at: Micros, decision: &Decision) {
        let at_ms = millis(at);
        let frame = &self.frame;
        let told = decision.chargers.iter().filter_map(|decided| {
            Some((frame.chargers.get(&decided.charger).copied()?, decided.setpoint_ma))
        });
        self.setpoints.take(at, told);
        if self.is_within(at_ms) {
            self.decisions += 1;
            *self.policies.entry(decision.policy.clone()).or_default() += 1;
        }
    }

    fn look(&mut self, charger: usize, at_ms: u64, asks: bool, draws: bool, power_mw: i64, is_counted: bool) {
        let before = self.seen[charger];
        // What was under way for long counts from now on.
        let at_ms = at_ms.max(before.at_ms).max(self.frame.from_ms);
        // Of several readings of one moment the last counts: a vehicle that is full draws nothing before it has ended.
        if at_ms > before.at_ms {
            self.served(charger, before);
        }
        let counted_mw = if is_counted { power_mw } else { 0 };
        let waits = asks && !draws;
        self.cost.add(at_ms, counted_mw - before.counted_mw);
        self.course.add(at_ms, power_mw - before.power_mw, i64::from(waits) - i64::from(before.waits));
        self.seen[charger] = Seen { at_ms, power_mw, counted_mw, waits, asks: asks && is_counted, draws };
    }

    fn served(&mut self, charger: usize, Seen { at_ms, asks, draws, .. }: Seen) {
        self.service.look(charger, at_ms, asks, draws);
    }

    fn stay(&self, charger: usize, session: &SessionId) -> Option<usize> {
        self.frame.counted[charger].get(session).copied()
    }

    fn is_within(&self, at_ms: u64) -> bool {
        (self.frame.from_ms..=self.frame.until_ms).contains(&at_ms)
    }

    /// What it all came to.
    pub fn close(mut self) -> Column {
        let until_ms = self.frame.until_ms;
        for charger in 0..self.seen.len() {
            let until_ms = until_ms.max(self.seen[charger].at_ms);
            self.look(charger, until_ms, false, false, 0, false);
            self.served(charger, self.seen[charger]);
        }
        let mut policies: Vec<_> = self.policies.into_iter().collect();
        policies.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Column {
            energy_wh: self.registers.iter().map(Registers::energy_wh).collect(),
            served: self.service.served(),
            cost_micros: self.cost.micros(until_ms),
            from_surplus_wh: self.cost.surplus_wh(until_ms),
            peak_ma: self.peak,
            peak_w: self.course.peak_w(),
            over_limit: self.over_limit,
            decisions: self.decisions,
            policies: policies.into_iter().map(|(policy, _)| policy).collect(),
            means: self.course.means(until_ms),
            setpoints: self.setpoints,
        }
    }
}

impl Registers {
    fn energy_wh(&self) -> Option<i64> {
        let start = self.started.or(self.plugged)?;
        let end = self.ended.or(self.unplugged).or(self.last)?;
        Some((end - start).0).filter(|wh| *wh >= 0)
    }
}

impl Column {
    /// What all stays were given, Wh.
    pub fn all_wh(&self) -> i64 {
        self.energy_wh.iter().flatten().sum()
    }
}

/// The highest current of any phase.
pub fn draw(reading: &Reading) -> Milliamps {
    let current = reading.values.current_ma;
    current.map_or(Milliamps::ZERO, |current| current.iter().flatten().fold(Milliamps::ZERO, Milliamps::max))
}

fn power_mw(reading: &Reading) -> i64 {
    let by_current = || {
        let all =
            reading.values.current_ma.map(|current| current.iter().flatten().map(|i| i64::from(i.0)).sum());
        all.unwrap_or(0) * USUAL_VOLTS
    };
    reading.values.power_w.map_or_else(by_current, |power| i64::from(power.0) * 1000)
}

/// A moment in ms since 1970.
pub fn millis(at: Micros) -> u64 {
    u64::try_from(at.0 / 1000).unwrap_or(0)
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
