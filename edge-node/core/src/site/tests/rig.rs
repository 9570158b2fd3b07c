//! A site on virtual time, for tests: meters, chargers that obey what reaches them, messages that take time.

use wattle_wire::message::{ChargerState, Refusal, Setpoint};
use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::row::{Decision, Row};
use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::super::*;
use super::parts::{amps, input, proposal, reading};
use super::watch::{Breaker, Outlet, Watch};

pub(super) const STEP_MS: i64 = 5;
const READING_MS: i64 = 200;
const LATENCY_MS: i64 = 5;

/// A message that may be lost, late, or there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Setpoint,
    Answer,
    /// Comes at once or not at all.
    Reading,
}

/// A charger as it really is, with its vehicle.
#[derive(Clone)]
pub(super) struct Vehicle {
    pub(super) asks: bool,
    /// The most that the vehicle takes.
    pub(super) takes: Milliamps,
    /// How many of the charger's phases it loads.
    pub(super) uses: usize,
    /// The phases that the charger is really wired to, in its order.
    pub(super) wired: Vec<Phase>,
    /// What it draws whatever it is told.
    pub(super) disobeys: Option<Milliamps>,
    pub(super) offline: bool,
    pub(super) obeyed: Option<Setpoint>,
    expires_at: Micros,
    last: u64,
    booted_at: Micros,
}

struct Letter {
    arrives_at: Micros,
    sent_at: Micros,
    charger: usize,
    setpoint: Setpoint,
}

type Policy = Box<dyn FnMut(&Snapshot) -> Result<Plan, String>>;

pub(super) struct Rig {
    pub(super) machine: SiteMachine,
    pub(super) now: Micros,
    /// What others draw from each circuit, those below it apart.
    pub(super) loads: Vec<PerPhase<Milliamps>>,
    pub(super) vehicles: Vec<Vehicle>,
    silent_meters: Vec<bool>,
    /// When meters and chargers send within each round of readings, ms.
    pub(super) meter_offsets: Vec<i64>,
    pub(super) charger_offsets: Vec<i64>,
    pub(super) policy: Policy,
    /// After how many ms the copies of a message arrive; none if it is lost.
    pub(super) fate: Box<dyn FnMut(Kind) -> Vec<i64>>,
    pub(super) rows: Vec<Row>,
    /// How much longer than usual an excess may last.
    pub(super) extra_grace_ms: i64,
    /// What the meters show besides what flows.
    pub(super) noise: Box<dyn FnMut() -> Milliamps>,
    /// What the machine takes for the time, less the time.
    clock_error: Micros,
    /// What was signalled for each circuit, and until when by the machine's clock.
    signalled: Vec<Option<(PerPhase<Milliamps>, Micros)>>,
    /// Setpoints that were sent.
    pub(super) sent: Vec<(Micros, usize, Setpoint)>,
    down: Vec<Letter>,
    up: Vec<(Micros, SiteInput)>,
    pub(super) watch: Watch,
    paths: Vec<Vec<usize>>,
    /// When each meter was heard by the present machine.
    heard: Vec<Option<Micros>>,
    first_number: u64,
}

impl Rig {
    pub(super) fn new(model: SiteModel) -> Self {
        let start = Micros::from_secs(1_000);
        let vehicle = |charger: &Charger| Vehicle {
            asks: false,
            takes: amps(32.0),
            uses: 3,
            wired: charger.wired().to_vec(),
            disobeys: None,
            offline: false,
            obeyed: None,
            expires_at: start,
            last: 0,
            booted_at: start,
        };
        Self {
            vehicles: model.chargers.iter().map(vehicle).collect(),
            loads: vec![PerPhase::all(Milliamps::ZERO); model.circuits.len()],
            silent_meters: vec![false; model.meters.len()],
            meter_offsets: (0..model.meters.len() as i64).map(|i| 35 * i % READING_MS).collect(),
            charger_offsets: (0..model.chargers.len() as i64).map(|i| (45 + 65 * i) % READING_MS).collect(),
            watch: Watch::new(model.circuits.len(), model.chargers.len()),
            paths: (0..model.circuits.len()).map(|circuit| model.path(circuit)).collect(),
            heard: vec![None; model.meters.len()],
            now: start,
            policy: Box::new(|snapshot| Ok(equal_share(snapshot))),
            fate: Box::new(|_| vec![LATENCY_MS]),
            rows: Vec::new(),
            extra_grace_ms: 0,
            noise: Box::new(|| Milliamps::ZERO),
            clock_error: Micros::ZERO,
            signalled: vec![None; model.circuits.len()],
            sent: Vec::new(),
            down: Vec::new(),
            up: Vec::new(),
            first_number: 1_000_000,
            machine: SiteMachine::new(model, 1_000_000, start).expect("sound"),
        }
    }

    /// The load on the first phase of the first circuit.
    pub(super) fn set_home(&mut self, home: f64) {
        self.set_load(0, PerPhase([amps(home), Milliamps::ZERO, Milliamps::ZERO]));
    }

    pub(super) fn home(&self) -> Milliamps {
        self.loads[0][Phase::L1]
    }

    pub(super) fn set_load(&mut self, circuit: usize, load: PerPhase<Milliamps>) {
        if Phase::ALL.iter().any(|phase| load[*phase] > self.loads[circuit][*phase]) {
            self.excuse(circuit);
        }
        self.loads[circuit] = load;
    }

    pub(super) fn ask(&mut self, asking: &[usize]) {
        for (index, vehicle) in self.vehicles.iter_mut().enumerate() {
            vehicle.asks = asking.contains(&index);
        }
    }

    /// A charger draws this from now on, whatever it is told.
    pub(super) fn disobey(&mut self, index: usize, draw: Option<Milliamps>) {
        self.vehicles[index].disobeys = draw;
        self.excuse(self.machine.model().chargers[index].circuit);
    }

    /// A charger can't be reached any more, or again; it says nothing of it.
    pub(super) fn vanish(&mut self, index: usize, gone: bool) {
        self.vehicles[index].offline = gone;
        self.excuse(self.machine.model().chargers[index].circuit);
    }

    /// A meter falls silent, or speaks again. What has changed since its last reading nobody knows.
    pub(super) fn silence(&mut self, meter: usize, silent: bool) {
        self.silent_meters[meter] = silent;
        self.excuse(self.machine.model().meters[meter].circuit);
    }

    /// The machine's clock jumps. After a jump forward it knows of no load until the next readings.
    pub(super) fn jump_ms(&mut self, ms: i64) {
        self.clock_error += Micros::from_millis(ms);
        // A signal that was over may hold again.
        for circuit in 0..self.signalled.len() {
            if self.signalled[circuit].is_some() {
                self.excuse(circuit);
            }
        }
        if ms > 0 {
            self.heard.fill(None);
            self.excuse_the_disobedient();
        }
    }

    /// The grid operator limits a circuit for a time.
    pub(super) fn signal(&mut self, circuit: usize, limit: PerPhase<Milliamps>, ms: i64) {
        let until_us = self.machine_now() + Micros::from_millis(ms);
        self.signalled[circuit] = Some((limit, until_us));
        self.excuse(circuit);
        let signalled = Signalled { limit: Limit::Current(limit), until_us };
        self.tell(input(Part::Circuit(circuit), Heard::Limit(Some(signalled))));
    }

    /// A charger starts anew: it has forgotten what it was told.
    pub(super) fn restart_charger(&mut self, index: usize) {
        let vehicle = &mut self.vehicles[index];
        (vehicle.obeyed, vehicle.last, vehicle.booted_at) = (None, 0, self.now);
    }

    /// The machine is replaced by one that knows nothing of the one before.
    pub(super) fn restart_edge(&mut self) {
        self.first_number += 1_000_000;
        let model = self.machine.model().clone();
        self.machine = SiteMachine::new(model, self.first_number, self.machine_now()).expect("sound");
        // Who draws what it was never told is to be heard of anew.
        self.excuse_the_disobedient();
        self.heard.fill(None);
        self.signalled.fill(None);
    }

    fn excuse_the_disobedient(&mut self) {
        for index in 0..self.vehicles.len() {
            if self.vehicles[index].disobeys.is_some() {
                self.excuse(self.machine.model().chargers[index].circuit);
            }
        }
    }

    /// Something made an excess on a circuit that the machine could not foresee: it has a round of readings, an interval
    /// and the way of the messages to end it.
    pub(super) fn excuse(&mut self, circuit: usize) {
        let control = self.machine.model().control;
        let mut grace = READING_MS + control.interval_ms.0 + 2 * LATENCY_MS + STEP_MS + self.extra_grace_ms;
        if self.silent_meters.contains(&true) {
            grace += control.meter_stale_ms.0;
        }
        if self.vehicles.iter().any(|vehicle| vehicle.offline) {
            grace += control.validity_ms.0;
        }
        // Which of those of unknown wiring loads the phase is found one by one, a round and an interval each.
        let chargers = &self.machine.model().chargers;
        let unknown = chargers.iter().filter(|charger| !charger.wiring_is_known()).count() as i64;
        grace += (READING_MS + control.interval_ms.0) * unknown;
        // So long a vehicle has to obey a lower setpoint.
        if self.vehicles.iter().any(|vehicle| vehicle.disobeys.is_some()) {
            grace += 1_000;
        }
        let path = self.paths[circuit].clone();
        self.watch.excuse(&path, self.now + Micros::from_millis(grace));
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
        let (vehicle, charger) = (&self.vehicles[index], &self.machine.model().chargers[index]);
        let told = vehicle.obeyed.as_ref().map_or(charger.safe_ma, |setpoint| setpoint.limit_ma);
        match vehicle.disobeys {
            _ if !vehicle.asks => Milliamps::ZERO,
            Some(draw) => draw,
            None if told >= charger.min_ma => told.min(vehicle.takes),
            None => Milliamps::ZERO,
        }
    }

    /// All that flows through a circuit.
    pub(super) fn flow(&self, circuit: usize) -> PerPhase<Milliamps> {
        let mut flow = self.load(circuit);
        for (index, charger) in self.machine.model().chargers.iter().enumerate() {
            if self.paths[charger.circuit].contains(&circuit) {
                for phase in self.loaded(index) {
                    flow[*phase] += self.draw(index);
                }
            }
        }
        flow
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

    pub(super) fn tell(&mut self, input: SiteInput) {
        if let Due::Now(cause) = self.machine.handle(input, self.machine_now()) {
            self.decide(cause);
        }
    }

    fn machine_now(&self) -> Micros {
        self.now + self.clock_error
    }

    /// The phases that a vehicle loads.
    fn loaded(&self, index: usize) -> &[Phase] {
        let vehicle = &self.vehicles[index];
        &vehicle.wired[..vehicle.uses.min(vehicle.wired.len())]
    }

    fn load(&self, circuit: usize) -> PerPhase<Milliamps> {
        let below = (0..self.loads.len()).filter(|below| self.paths[*below].contains(&circuit));
        below.fold(PerPhase::all(Milliamps::ZERO), |sum, below| sum + self.loads[below])
    }

    /// What a circuit may carry now.
    fn limit(&self, circuit: usize) -> PerPhase<Milliamps> {
        let breaker = self.machine.model().circuits[circuit].limit_ma;
        let signalled = self.signalled[circuit].filter(|(_, until)| *until > self.machine_now());
        signalled.map_or(breaker, |(limit, _)| limit.zip(breaker, Milliamps::min))
    }

    /// Whether the machine can't know the load of a circuit.
    fn is_blind(&self, circuit: usize) -> bool {
        let model = self.machine.model();
        match model.meters.iter().position(|meter| meter.circuit == circuit) {
            Some(meter) => {
                let stale: Micros = model.control.meter_stale_ms.into();
                self.heard[meter].is_none_or(|at| self.now - at >= stale)
            }
            None => (0..model.circuits.len())
                .filter(|below| model.circuits[*below].parent == Some(circuit))
                .any(|below| self.is_blind(below)),
        }
    }

    fn step(&mut self) {
        self.deliver_setpoints();
        self.check_limits();
        let (due, later) = std::mem::take(&mut self.up).into_iter().partition(|(at, _)| *at <= self.now);
        self.up = later;
        let due: Vec<(Micros, SiteInput)> = due;
        for (_, input) in due {
            self.deliver(input);
        }
        let ms = self.now.0 / 1_000 % READING_MS;
        for meter in 0..self.silent_meters.len() {
            if ms == self.meter_offsets[meter] && !self.silent_meters[meter] {
                self.send_meter_reading(meter);
            }
        }
        for index in 0..self.vehicles.len() {
            if ms == self.charger_offsets[index] && !self.vehicles[index].offline {
                self.send_charger_reading(index);
            }
        }
        if let Due::Now(cause) = self.machine.wake(self.machine_now()) {
            self.decide(cause);
        }
    }

    fn send_meter_reading(&mut self, meter: usize) {
        if (self.fate)(Kind::Reading).is_empty() {
            return;
        }
        let circuit = self.machine.model().meters[meter].circuit;
        if self.is_blind(circuit) {
            self.heard[meter] = Some(self.now);
            self.excuse(circuit);
        }
        self.heard[meter] = Some(self.now);
        let shown = self.flow(circuit).map(|flow| flow + (self.noise)());
        self.tell(reading(Part::Meter(meter), None, None, &shown.0));
    }

    fn send_charger_reading(&mut self, index: usize) {
        if (self.fate)(Kind::Reading).is_empty() {
            return;
        }
        let vehicle = &self.vehicles[index];
        let state = if vehicle.asks { ChargerState::Charging } else { ChargerState::Available };
        let number = vehicle.obeyed.as_ref().map_or(0, |setpoint| setpoint.number);
        let loaded = self.loaded(index).len();
        let current = |i| if i < loaded { self.draw(index) } else { Milliamps::ZERO };
        let currents: Vec<Milliamps> = (0..vehicle.wired.len()).map(current).collect();
        self.deliver(reading(Part::Charger(index), Some(state), Some(number), &currents));
    }

    /// What a charger says reaches the machine.
    fn deliver(&mut self, input: SiteInput) {
        if let Part::Charger(index) = input.part {
            match input.heard {
                Heard::Confirmed(number) | Heard::Reading { setpoint: Some(number), .. } => {
                    self.watch.confirmed(index, number);
                }
                Heard::Refused { number, reason } if reason != Refusal::Superseded => {
                    self.watch.refused(index, number);
                }
                _ => {}
            }
        }
        self.tell(input);
    }

    fn deliver_setpoints(&mut self) {
        for vehicle in &mut self.vehicles {
            if vehicle.obeyed.is_some() && vehicle.expires_at <= self.now {
                vehicle.obeyed = None;
            }
        }
        let (due, later) =
            std::mem::take(&mut self.down).into_iter().partition(|letter| letter.arrives_at <= self.now);
        self.down = later;
        let due: Vec<Letter> = due;
        for letter in due {
            if self.vehicles[letter.charger].offline {
                continue;
            }
            let (index, number) = (letter.charger, letter.setpoint.number);
            let heard = match self.vehicles[index].offer(letter, self.now) {
                Ok(()) => Heard::Confirmed(number),
                Err(reason) => Heard::Refused { number, reason },
            };
            for delay in (self.fate)(Kind::Answer) {
                let arrives_at = self.now + Micros::from_millis(delay);
                self.up.push((arrives_at, input(Part::Charger(index), heard.clone())));
            }
        }
    }

    fn decide(&mut self, cause: Cause) {
        let snapshot = self.machine.begin_decision(self.machine_now(), cause);
        let plan = (self.policy)(&snapshot);
        let outcome = self.machine.finish_decision(proposal(plan), self.machine_now());
        self.rows.extend(outcome.rows);
        for SendSetpoint { device, setpoint } in outcome.setpoints {
            let charger = self.machine.model().chargers.iter().position(|c| c.id == device).expect("known");
            self.watch.sent(charger, &setpoint, self.now);
            self.sent.push((self.now, charger, setpoint.clone()));
            for delay in (self.fate)(Kind::Setpoint) {
                let arrives_at = self.now + Micros::from_millis(delay);
                self.down.push(Letter { arrives_at, sent_at: self.now, charger, setpoint: setpoint.clone() });
            }
        }
    }

    fn check_limits(&mut self) {
        self.watch.expire(self.now);
        let model = self.machine.model();
        let outlets = model.chargers.iter().enumerate().map(|(index, charger)| Outlet {
            path: &self.paths[charger.circuit],
            phases: self.loaded(index),
            safe: charger.safe_ma,
            draw: self.draw(index),
            disobeys: self.vehicles[index].disobeys.map_or(Milliamps::ZERO, |_| self.draw(index)),
        });
        let breakers = model.circuits.iter().enumerate().map(|(index, circuit)| Breaker {
            limit: self.limit(index).map(|limit| limit - circuit.margin_ma),
            load: self.load(index),
            fallback: self.is_blind(index).then_some(circuit.fallback_ma),
        });
        let (outlets, breakers): (Vec<_>, Vec<_>) = (outlets.collect(), breakers.collect());
        if let Err(text) = self.watch.look(&outlets, &breakers, self.now) {
            panic!("at {} ms: {text}; setpoints {:?}", self.now.0 / 1000, self.setpoints());
        }
    }
}

impl Vehicle {
    /// What the firmware does with a setpoint: it holds from before it was sent, by the charger's own clock.
    fn offer(&mut self, letter: Letter, now: Micros) -> Result<(), Refusal> {
        let expires_at = letter.sent_at - Micros::from_millis(STEP_MS) + letter.setpoint.validity_ms.into();
        if letter.setpoint.number <= self.last {
            return Err(Refusal::Superseded);
        }
        if letter.sent_at <= self.booted_at {
            return Err(Refusal::UnknownSeen);
        }
        if expires_at <= now {
            return Err(Refusal::Expired);
        }
        (self.last, self.expires_at) = (letter.setpoint.number, expires_at);
        self.obeyed = Some(letter.setpoint);
        Ok(())
    }
}
