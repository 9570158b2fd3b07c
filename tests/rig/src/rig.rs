//! A site on virtual time, for tests: meters, chargers that obey what reaches them, messages that take time.

use std::collections::VecDeque;

use wattle_wire::message::Setpoint;
use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::row::{self, Decision, EventKind, Row};
use wattle_wire::{Micros, Milliamps, Millis, Millivolts, PerPhase, Phase};

use crate::excuse::Cause;
use crate::limits::Signals;
use crate::look::Over;
use crate::parts::{amps, input, proposal};
use crate::readings::Moment;
use crate::tally::Tally;
use crate::vehicle::{Letter, Vehicle};
use crate::watch::Watch;
use wattle_edge_core::*;

/// How the time of a rig passes, all of it by the control interval of its site.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// One step; so long a message takes, too.
    pub step_ms: i64,
    /// Between two readings of a meter or charger.
    pub reading_ms: i64,
    /// So long a vehicle has to obey a lower setpoint.
    pub patience_ms: i64,
}

impl Pace {
    fn of(control: &Control) -> Self {
        let interval = control.interval_ms.0;
        Self { step_ms: interval / 40, reading_ms: interval, patience_ms: (3 * interval).max(1_000) }
    }
}

/// A message that may be lost, late, or there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the edge to a charger.
    Setpoint,
    /// What a charger answers.
    Answer,
    /// What a meter or charger tells of itself; those of one device don't overtake each other.
    Reading,
}

type Policy = Box<dyn FnMut(&Snapshot) -> Result<Plan, String>>;

/// A site that is played.
pub struct Rig {
    /// The machine.
    pub machine: SiteMachine,
    /// The time.
    pub now: Micros,
    /// What others draw from each circuit, those below it apart.
    pub loads: Vec<PerPhase<Milliamps>>,
    /// The chargers, in the order of the model.
    pub vehicles: Vec<Vehicle>,
    pub(crate) silent_meters: Vec<bool>,
    /// When meters and chargers send within each round of readings, ms.
    pub meter_offsets: Vec<i64>,
    /// The same of the chargers.
    pub charger_offsets: Vec<i64>,
    /// Who proposes.
    pub policy: Policy,
    /// After how many ms the copies of a message arrive; none if it is lost.
    pub fate: Box<dyn FnMut(Kind) -> Vec<i64>>,
    /// What was journaled.
    pub rows: Vec<Row>,
    /// How much longer than usual an excess may last.
    pub extra_grace_ms: i64,
    /// Whether messages are lost or late.
    pub is_troubled: bool,
    /// What the meters show besides what flows.
    pub noise: Box<dyn FnMut() -> Milliamps>,
    /// The most that this comes to.
    pub noise_most: Milliamps,
    /// The voltage of each phase.
    pub voltage_mv: Millivolts,
    /// Since when they have that.
    pub(crate) voltage_since: Micros,
    /// Whether the meters measure it.
    pub tells_voltage: bool,
    /// How old what each meter says is when it sends it.
    pub meter_lags_ms: Vec<i64>,
    /// How much later than at once readings come at most.
    pub reading_delay_ms: i64,
    /// What was at each step of the longest lag, the oldest first.
    pub(crate) moments: VecDeque<Moment>,
    /// What the machine takes for the time, less the time.
    pub(crate) clock_error: Micros,
    /// By how many percent its clock goes too fast.
    pub fast_percent: i64,
    /// What systems have signalled.
    pub(crate) signalled: Signals,
    /// What each circuit could carry at the last look.
    pub(crate) carried: Vec<PerPhase<Milliamps>>,
    /// Setpoints that were sent.
    pub sent: Vec<(Micros, usize, Setpoint)>,
    down: Vec<Letter>,
    pub(crate) up: Vec<(Micros, SiteInput)>,
    /// Who looks.
    pub watch: Watch,
    pub(crate) paths: Vec<Vec<usize>>,
    /// When each meter was heard by the present machine.
    pub(crate) heard: Vec<Option<Micros>>,
    /// The load that it told of then.
    pub(crate) told: Vec<Option<PerPhase<Milliamps>>>,
    /// The loads that readings on their way tell of, by meter.
    pub(crate) telling: Vec<VecDeque<PerPhase<Milliamps>>>,
    pub(crate) first_number: u64,
    /// The longest validity of any machine so far, and what each charger could be told at most.
    pub(crate) longest_validity: Millis,
    /// What each vehicle drew when that was looked at last.
    pub(crate) drawn: Vec<Milliamps>,
    pub(crate) highest_told: Vec<Milliamps>,
    /// How time passes.
    pub pace: Pace,
    /// What has happened so far.
    pub tally: Tally,
    /// Whether the rig goes on when the promise is broken, and counts.
    pub goes_on: bool,
    /// Since when more flows than may, when less is possible, by circuit.
    pub(crate) over: Vec<PerPhase<Option<Over>>>,
    /// The same with the noise.
    pub(crate) over_with_noise: Vec<PerPhase<Option<Over>>>,
}

impl Rig {
    /// A site at which nobody asks and nothing is drawn.
    pub fn new(model: SiteModel) -> Self {
        let start = Micros::from_secs(1_000);
        let pace = Pace::of(&model.control);
        let offset = |ms: i64| ms * pace.reading_ms / 200 % pace.reading_ms;
        let latency = pace.step_ms;
        let machine = SiteMachine::new(model, 1_000_000, start).expect("sound");
        let model = machine.model();
        Self {
            vehicles: model.chargers.iter().map(|charger| Vehicle::new(charger, start)).collect(),
            loads: vec![PerPhase::all(Milliamps::ZERO); model.circuits.len()],
            silent_meters: vec![false; model.meters.len()],
            meter_offsets: (0..model.meters.len() as i64).map(|i| offset(35 * i)).collect(),
            charger_offsets: (0..model.chargers.len() as i64).map(|i| offset(45 + 65 * i)).collect(),
            watch: Watch::new(model.circuits.len(), model.chargers.len()),
            paths: (0..model.circuits.len()).map(|circuit| model.path(circuit)).collect(),
            heard: vec![None; model.meters.len()],
            told: vec![None; model.meters.len()],
            telling: vec![VecDeque::new(); model.meters.len()],
            now: start,
            policy: Box::new(|snapshot| Ok(equal_share(snapshot))),
            fate: Box::new(move |kind| vec![if kind == Kind::Reading { 0 } else { latency }]),
            rows: Vec::new(),
            extra_grace_ms: 0,
            is_troubled: false,
            noise: Box::new(|| Milliamps::ZERO),
            noise_most: Milliamps::ZERO,
            voltage_mv: Millivolts(230_000),
            voltage_since: start,
            tells_voltage: true,
            meter_lags_ms: vec![0; model.meters.len()],
            reading_delay_ms: 0,
            moments: VecDeque::new(),
            clock_error: Micros::ZERO,
            fast_percent: 0,
            signalled: Signals::default(),
            carried: model.circuits.iter().map(|circuit| circuit.limit_ma).collect(),
            sent: Vec::new(),
            down: Vec::new(),
            up: Vec::new(),
            first_number: 1_000_000,
            longest_validity: model.control.validity_ms,
            drawn: vec![Milliamps::ZERO; model.chargers.len()],
            highest_told: model.chargers.iter().map(|charger| charger.max_ma).collect(),
            pace,
            tally: Tally::default(),
            goes_on: false,
            over: vec![PerPhase::all(None); model.circuits.len()],
            over_with_noise: vec![PerPhase::all(None); model.circuits.len()],
            machine,
        }
    }

    /// The load on the first phase of the first circuit.
    pub fn set_home(&mut self, home: f64) {
        self.set_load(0, PerPhase([amps(home), Milliamps::ZERO, Milliamps::ZERO]));
    }

    /// The same.
    pub fn home(&self) -> Milliamps {
        self.loads[0][Phase::L1]
    }

    /// What others draw from a circuit, those below it apart.
    pub fn set_load(&mut self, circuit: usize, load: PerPhase<Milliamps>) {
        self.bring(circuit, Cause::Load(circuit), load - self.loads[circuit]);
        self.loads[circuit] = load;
    }

    /// These want to charge, and no others.
    pub fn ask(&mut self, asking: &[usize]) {
        for (index, vehicle) in self.vehicles.iter_mut().enumerate() {
            vehicle.asks = asking.contains(&index);
        }
    }

    /// A charger draws this from now on, whatever it is told.
    pub fn disobey(&mut self, index: usize, draw: Option<Milliamps>) {
        self.change(index, |vehicle| vehicle.disobeys = draw);
    }

    /// A vehicle wants to charge, or doesn't any more.
    pub fn want(&mut self, index: usize, asks: bool) {
        self.change(index, |vehicle| vehicle.asks = asks);
    }

    /// A vehicle takes so much at most from now on.
    pub fn take(&mut self, index: usize, most: Milliamps) {
        self.change(index, |vehicle| vehicle.takes = most);
    }

    /// A vehicle does something that the machine could not foresee.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut Vehicle)) {
        let (counted, hidden) = (self.counted(index), self.hidden_by(index));
        change(&mut self.vehicles[index]);
        let circuit = self.circuit_of(index);
        self.bring(circuit, Cause::Disobedience(index), self.counted(index) - counted);
        self.bring(circuit, Cause::Unmeasured(index), hidden - self.hidden_by(index));
    }

    /// A charger can't be reached any more, or again; it says nothing of it.
    pub fn vanish(&mut self, index: usize, gone: bool) {
        self.vehicles[index].offline = gone;
    }

    /// A meter falls silent, or speaks again. What has changed since its last reading nobody knows.
    pub fn silence(&mut self, meter: usize, silent: bool) {
        self.silent_meters[meter] = silent;
    }

    /// The machine's clock jumps. After a jump forward it knows of no load until the next readings.
    pub fn jump_ms(&mut self, ms: i64) {
        self.clock_error += Micros::from_millis(ms);
        // A limit that was over may hold again.
        self.note_limits();
        let (jump, interval) =
            (Micros::from_millis(ms), Micros::from(self.machine.model().control.interval_ms));
        if jump > Micros::ZERO {
            self.heard.iter_mut().flatten().for_each(|at| *at -= jump);
        }
        if jump > interval + interval {
            self.forget_the_disobedient();
        }
    }

    /// A charger starts anew: it has forgotten what it was told.
    pub fn restart_charger(&mut self, index: usize) {
        self.tally.charger_restarts += 1;
        let vehicle = &mut self.vehicles[index];
        (vehicle.obeyed, vehicle.last, vehicle.booted_at) = (None, 0, self.now);
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: i64) {
        for _ in 0..ms / self.pace.step_ms {
            self.now += Micros::from_millis(self.pace.step_ms);
            self.clock_error += Micros(self.pace.step_ms * 10 * self.fast_percent);
            self.step();
            self.remember();
        }
    }

    /// The setpoints in force, in amps; of those who don't ask, 0.
    pub fn setpoints(&self) -> Vec<i32> {
        self.vehicles.iter().map(|v| v.obeyed.as_ref().map_or(0, |s| s.limit_ma.0) / 1000).collect()
    }

    /// What a charger draws on each phase that its vehicle loads.
    pub fn draw(&self, index: usize) -> Milliamps {
        let (vehicle, charger) = (&self.vehicles[index], &self.machine.model().chargers[index]);
        let told = vehicle.obeyed.as_ref().map_or(charger.safe_ma, |setpoint| setpoint.limit_ma);
        match vehicle.disobeys {
            _ if !vehicle.asks => Milliamps::ZERO,
            Some(draw) => draw,
            None if told >= charger.min_ma => (told + vehicle.above).min(vehicle.takes),
            None => Milliamps::ZERO,
        }
    }

    /// All that flows through a circuit.
    pub fn flow(&self, circuit: usize) -> PerPhase<Milliamps> {
        let mut flow = self.load(circuit);
        for index in self.below(circuit) {
            for phase in self.loaded(index) {
                flow[*phase] += self.draw(index);
            }
        }
        flow
    }

    /// The decisions that were journaled.
    pub fn decisions<'a>(&'a self) -> Vec<&'a Decision> {
        let decision = |row: &'a Row| match row {
            Row::Decision(decision) => Some(decision),
            _ => None,
        };
        self.rows.iter().filter_map(decision).collect()
    }

    /// The details of the journaled events of a kind.
    pub fn events<'a>(&'a self, kind: EventKind) -> Vec<&'a str> {
        let event = |row: &'a Row| match row {
            Row::Event(e) if e.kind == kind => Some(e.detail.as_str()),
            _ => None,
        };
        self.rows.iter().filter_map(event).collect()
    }

    /// The machine hears something, and decides if that makes it due.
    pub fn tell(&mut self, input: SiteInput) {
        if let Due::Now(cause) = self.machine.handle(input, self.machine_now()) {
            self.decide(cause);
        }
    }

    pub(crate) fn machine_now(&self) -> Micros {
        self.now + self.clock_error
    }

    /// The phases that a vehicle loads.
    pub(crate) fn loaded(&self, index: usize) -> &[Phase] {
        let vehicle = &self.vehicles[index];
        &vehicle.wired[..vehicle.uses.min(vehicle.wired.len())]
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
        let ms = self.now.0 / 1_000 % self.pace.reading_ms;
        for meter in 0..self.silent_meters.len() {
            if ms == self.meter_offsets[meter] && !self.silent_meters[meter] {
                self.read_meter(meter);
            }
        }
        for index in 0..self.vehicles.len() {
            if ms == self.charger_offsets[index] && !self.vehicles[index].offline {
                self.read_charger(index);
            }
        }
        if let Due::Now(cause) = self.machine.wake(self.machine_now()) {
            self.decide(cause);
        }
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
            let heard = match self.vehicles[index].offer(letter, self.now, self.pace) {
                Ok(()) => Heard::Confirmed(number),
                Err(reason) => Heard::Refused { number, reason },
            };
            let delays = (self.fate)(Kind::Answer);
            self.miss(index, &delays);
            self.tally.answers_lost += u64::from(delays.is_empty());
            for delay in delays {
                let arrives_at = self.now + Micros::from_millis(delay);
                self.up.push((arrives_at, input(Part::Charger(index), heard.clone())));
            }
        }
    }

    /// A message from or to a charger fares so: where that is not at once and once, it may obey an earlier setpoint until that expires.
    fn miss(&mut self, index: usize, delays: &[i64]) {
        if self.is_troubled && !matches!(delays, [delay] if *delay <= self.pace.step_ms) {
            self.vehicles[index].missed_until = self.now + self.may_obey_for();
        }
    }

    fn decide(&mut self, cause: row::Cause) {
        self.tally.decisions += 1;
        let snapshot = self.machine.begin_decision(self.machine_now(), cause);
        let plan = (self.policy)(&snapshot);
        let outcome = self.machine.finish_decision(proposal(plan), self.machine_now());
        self.rows.extend(outcome.rows);
        for SendSetpoint { device, setpoint } in outcome.setpoints {
            let charger = self.machine.model().chargers.iter().position(|c| c.id == device).expect("known");
            self.watch.sent(charger, &setpoint, self.now);
            self.check_power(charger, setpoint.limit_ma);
            self.sent.push((self.now, charger, setpoint.clone()));
            let delays = (self.fate)(Kind::Setpoint);
            self.miss(charger, &delays);
            self.tally.setpoints += 1;
            self.tally.setpoints_lost += u64::from(delays.is_empty());
            for delay in delays {
                let arrives_at = self.now + Micros::from_millis(delay);
                self.down.push(Letter { arrives_at, sent_at: self.now, charger, setpoint: setpoint.clone() });
            }
        }
    }
}
