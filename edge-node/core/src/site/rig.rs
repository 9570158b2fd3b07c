//! A site on virtual time, for tests: a meter, chargers that obey what reaches them, messages that take time.

use std::collections::VecDeque;

use wattle_wire::message::{ChargerState, Phases, Setpoint};
use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::row::{Decision, Row};
use wattle_wire::{CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SiteId};

use super::*;

pub(super) const STEP_MS: i64 = 5;
const READING_MS: i64 = 200;
const LATENCY_MS: i64 = 5;

pub(super) fn amps(amps: f64) -> Milliamps {
    Milliamps((amps * 1000.0).round() as i32)
}

pub(super) fn charger(name: &str) -> Charger {
    Charger {
        id: DeviceId::new(name).expect("name"),
        circuit: 0,
        phases: Some(vec![Phase::L1]),
        min_ma: Milliamps::from_amps(6),
        max_ma: Milliamps::from_amps(32),
        step_ma: Milliamps::from_amps(1),
        safe_ma: Milliamps::ZERO,
        priority: 0,
    }
}

pub(super) fn model(limit: f64, chargers: &[&str]) -> SiteModel {
    let control = Control {
        interval_ms: Millis(200),
        validity_ms: Millis(2_000),
        raise_delay_ms: Millis(0),
        meter_stale_ms: Millis(2_000),
    };
    let grid = Circuit {
        id: CircuitId::new("grid").expect("name"),
        parent: None,
        limit_ma: PerPhase::all(amps(limit)),
        margin_ma: Milliamps::ZERO,
        fallback_ma: amps(6.0),
        generation: false,
    };
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control,
        circuits: vec![grid],
        meters: vec![Meter { id: DeviceId::new("meter").expect("name"), circuit: 0 }],
        chargers: chargers.iter().map(|name| charger(name)).collect(),
    }
}

pub(super) fn reading(
    part: Part,
    state: Option<ChargerState>,
    setpoint: Option<u64>,
    current: Milliamps,
) -> SiteInput {
    let current_ma = Some(Phases::new(&[current]));
    let heard = Heard::Reading { state, setpoint, current_ma, register_wh: None, soc_percent: None };
    SiteInput { part, seen: None, heard }
}

pub(super) fn proposal(plan: Result<Plan, String>) -> Proposal {
    Proposal { plan, policy: "equal-share 1".into(), policy_digest: 1, settings_digest: 2, fuel: 3 }
}

/// A charger as it really is.
#[derive(Clone)]
pub(super) struct Vehicle {
    pub(super) asks: bool,
    /// The most that the vehicle takes.
    pub(super) takes: Milliamps,
    pub(super) obeyed: Option<Setpoint>,
    expires_at: Micros,
    pub(super) offline: bool,
    told: VecDeque<(Micros, Setpoint)>,
}

type Policy = Box<dyn FnMut(&Snapshot) -> Result<Plan, String>>;

pub(super) struct Rig {
    pub(super) machine: SiteMachine,
    pub(super) now: Micros,
    pub(super) home: Milliamps,
    pub(super) vehicles: Vec<Vehicle>,
    pub(super) meter_is_silent: bool,
    pub(super) policy: Policy,
    /// Which setpoints and confirmations are lost.
    pub(super) is_lost: Box<dyn FnMut() -> bool>,
    pub(super) rows: Vec<Row>,
    confirms: VecDeque<(Micros, usize, u64)>,
    home_rose_at: Micros,
    pub(super) limit: Milliamps,
    /// How much longer than usual an excess may last.
    pub(super) extra_grace_ms: i64,
    /// What a failed check names.
    pub(super) seed: u64,
}

impl Rig {
    pub(super) fn new(model: SiteModel) -> Self {
        let vehicle = Vehicle {
            asks: false,
            takes: amps(32.0),
            obeyed: None,
            expires_at: Micros::ZERO,
            offline: false,
            told: VecDeque::new(),
        };
        let start = Micros::from_secs(1_000);
        let limit = model.circuits[0].limit_ma[Phase::L1] - model.circuits[0].margin_ma;
        Self {
            vehicles: vec![vehicle; model.chargers.len()],
            machine: SiteMachine::new(model, 1_000_000, start).expect("sound"),
            now: start,
            home: Milliamps::ZERO,
            meter_is_silent: false,
            policy: Box::new(|snapshot| Ok(equal_share(snapshot))),
            is_lost: Box::new(|| false),
            rows: Vec::new(),
            confirms: VecDeque::new(),
            home_rose_at: start,
            limit,
            extra_grace_ms: 0,
            seed: 0,
        }
    }

    pub(super) fn set_home(&mut self, home: f64) {
        if amps(home) > self.home {
            self.home_rose_at = self.now;
        }
        self.home = amps(home);
    }

    pub(super) fn ask(&mut self, asking: &[usize]) {
        for (index, vehicle) in self.vehicles.iter_mut().enumerate() {
            vehicle.asks = asking.contains(&index);
        }
    }

    pub(super) fn run_ms(&mut self, ms: i64) {
        for _ in 0..ms / STEP_MS {
            self.now += Micros::from_millis(STEP_MS);
            self.step();
        }
    }

    /// The setpoints in force, in amps; of those who don't ask, 0.
    pub(super) fn setpoints(&self) -> Vec<i32> {
        self.vehicles.iter().map(|v| v.obeyed.as_ref().map_or(0, |s| s.limit_ma.0) / 1000).collect()
    }

    pub(super) fn draw(&self, index: usize) -> Milliamps {
        let vehicle = &self.vehicles[index];
        let told = vehicle.obeyed.as_ref().map_or(Milliamps::ZERO, |setpoint| setpoint.limit_ma);
        if vehicle.asks && told >= amps(6.0) { told.min(vehicle.takes) } else { Milliamps::ZERO }
    }

    pub(super) fn total(&self) -> Milliamps {
        self.home + (0..self.vehicles.len()).map(|i| self.draw(i)).sum()
    }

    pub(super) fn decisions<'a>(&'a self) -> Vec<&'a Decision> {
        let decision = |row: &'a Row| match row {
            Row::Decision(decision) => Some(decision),
            _ => None,
        };
        self.rows.iter().filter_map(decision).collect()
    }

    pub(super) fn events<'a>(&'a self, kind: EventKind) -> Vec<&'a str> {
        let event = |row: &'a Row| match row {
            Row::Event(e) if e.kind == kind => Some(e.detail.as_str()),
            _ => None,
        };
        self.rows.iter().filter_map(event).collect()
    }

    fn step(&mut self) {
        for index in 0..self.vehicles.len() {
            self.obey(index);
        }
        self.check_limit();
        while self.confirms.front().is_some_and(|(at, ..)| *at <= self.now) {
            if let Some((_, index, number)) = self.confirms.pop_front() {
                self.tell(SiteInput {
                    part: Part::Charger(index),
                    seen: None,
                    heard: Heard::Confirmed(number),
                });
            }
        }
        let ms = self.now.0 / 1_000;
        if ms % READING_MS == 0 && !self.meter_is_silent {
            self.tell(reading(Part::Meter(0), None, None, self.total()));
        }
        for index in 0..self.vehicles.len() {
            if ms % READING_MS == (45 + 65 * index as i64) % READING_MS && !self.vehicles[index].offline {
                let vehicle = &self.vehicles[index];
                let state = if vehicle.asks { ChargerState::Charging } else { ChargerState::Available };
                let number = vehicle.obeyed.as_ref().map_or(0, |setpoint| setpoint.number);
                self.tell(reading(Part::Charger(index), Some(state), Some(number), self.draw(index)));
            }
        }
        if let Due::Now(cause) = self.machine.wake(self.now) {
            self.decide(cause);
        }
    }

    fn obey(&mut self, index: usize) {
        let vehicle = &mut self.vehicles[index];
        if vehicle.obeyed.is_some() && vehicle.expires_at <= self.now {
            vehicle.obeyed = None;
        }
        while vehicle.told.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((at, setpoint)) = vehicle.told.pop_front() else { return };
            // The device counts from before the setpoint was sent.
            let sent_at = at - Micros::from_millis(LATENCY_MS + STEP_MS);
            vehicle.expires_at = sent_at + setpoint.validity_ms.into();
            if !(self.is_lost)() {
                self.confirms.push_back((self.now + Micros::from_millis(LATENCY_MS), index, setpoint.number));
            }
            vehicle.obeyed = Some(setpoint);
        }
    }

    pub(super) fn tell(&mut self, input: SiteInput) {
        if let Due::Now(cause) = self.machine.handle(input, self.now) {
            self.decide(cause);
        }
    }

    fn decide(&mut self, cause: Cause) {
        let snapshot = self.machine.begin_decision(self.now, cause);
        let plan = (self.policy)(&snapshot);
        let outcome = self.machine.finish_decision(proposal(plan), self.now);
        self.rows.extend(outcome.rows);
        for send in outcome.setpoints {
            let index =
                self.machine.model().chargers.iter().position(|c| c.id == send.device).expect("known");
            if !self.vehicles[index].offline && !(self.is_lost)() {
                self.vehicles[index]
                    .told
                    .push_back((self.now + Micros::from_millis(LATENCY_MS), send.setpoint));
            }
        }
    }

    /// Promise 1: an excess lasts at most an interval after the reading that shows a rise of the home load;
    /// a reading comes every 200 ms, the interval is 200 ms, and messages take 10 ms there and back.
    fn check_limit(&self) {
        let grace = Micros::from_millis(READING_MS + 200 + 2 * LATENCY_MS + STEP_MS + self.extra_grace_ms);
        let excess = self.total() > self.limit.max(self.home);
        assert!(
            !excess || self.now - self.home_rose_at <= grace,
            "seed {}: {} of {} at {} ms, setpoints {:?}",
            self.seed,
            self.total(),
            self.limit,
            self.now.0 / 1000,
            self.setpoints()
        );
    }
}
