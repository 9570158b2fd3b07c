//! Virtual time: vehicles come and go, messages travel, and the clock jumps from one event to the next.
//!
//! - A message takes [`LATENCY_MS`] either way, in order, and none is lost.
//! - Of what happens at one moment, first the edge takes what has come, then devices do, then vehicles leave, fill up
//!   and come; then meters see what flows; then the limit is looked at; then the edge decides.
//! - Other load and what the site is told from outside change as the [`Scene`] says.
//! - A decision is made when the edge's machine says that one is due, when a raise delay that began with such a
//!   decision is over, and every interval while a vehicle asks for energy.
//! - While none does, nothing flows and nothing can change: meters are read and decisions made only when a vehicle
//!   comes or leaves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use wattle_device_core::{Input, Publish};
use wattle_edge_core::SiteInput;
use wattle_wire::message::{self, Confirm};
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, Millivolts, PerPhase, Phase};

use super::cost::{Cost, Outside};
use super::edge::Edge;
use super::guest::Guest;
use super::service::{Served, Service};
use super::site::Equipped;
use super::stall::{Gauge, Stall, VOLTAGE};
use super::watch::Watch;

/// How long a message is under way.
pub const LATENCY_MS: u64 = 20;

/// What a rise of the other load is excused for beyond an interval: the way of a reading, a setpoint and its answer.
const EXCUSE_MS: u64 = 1_000;

/// What happens at a moment, in the order in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The vehicle at this charger leaves.
    Leave(usize),
    /// This charger or its vehicle has something to do.
    Wake(usize),
    /// This vehicle comes.
    Arrive(usize),
    /// The user of this vehicle starts the charge.
    Start(usize),
    /// This change of the other load.
    Load(usize),
    /// The site is told this from outside.
    Tell(usize),
}

/// What other consumers draw through a circuit from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// When.
    pub at_ms: u64,
    /// The circuit's index.
    pub circuit: usize,
    /// How much.
    pub current: PerPhase<Milliamps>,
}

/// What there is around the vehicles.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Of each phase.
    pub voltage: Millivolts,
    /// Other load of the circuits that have a meter, in order of time.
    pub loads: Vec<Load>,
    /// What the site is told from outside: when, ms, and what.
    pub told: Vec<(u64, SiteInput)>,
    /// By what energy is paid for and covered.
    pub outside: Outside,
}

impl Default for Scene {
    /// No other load, and nothing is told.
    fn default() -> Self {
        Self { voltage: VOLTAGE, loads: Vec::new(), told: Vec::new(), outside: Outside::default() }
    }
}

/// What a simulation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How often a limit was passed.
    pub breaches: u64,
    /// The most that flowed through the grid connection on each phase.
    pub peak: PerPhase<Milliamps>,
    /// Decisions that were made.
    pub decisions: u64,
    /// Decisions for which the policy gave no plan.
    pub failures: u64,
    /// Entries of the edge's journal.
    pub entries: u64,
    /// How vehicles were served.
    pub served: Served,
    /// What the energy has cost, millionths of the currency, if that is known.
    pub cost_micros: Option<i64>,
    /// How much of it was surplus, if that is known.
    pub from_surplus_wh: Option<i64>,
}

/// The simulated site with its edge.
pub struct World<'a> {
    guests: &'a [Guest],
    scene: &'a Scene,
    places: Vec<usize>,
    stalls: Vec<Stall>,
    /// Who stands at each.
    present: Vec<Option<usize>>,
    /// The phases that a vehicle at each loads, as far as it uses them.
    wired: Vec<Vec<Phase>>,
    gauges: Vec<Gauge>,
    circuits: Vec<usize>,
    edge: Edge,
    watch: Watch,
    service: Service,
    cost: Cost,
    clock_ms: u64,
    happenings: BinaryHeap<Reverse<(u64, Happening)>>,
    /// Vehicles that are still to come or to leave.
    to_come: usize,
    due: Vec<Option<u64>>,
    asks: Vec<bool>,
    draws: Vec<Milliamps>,
    up: VecDeque<(u64, usize, Publish)>,
    down: VecDeque<(u64, usize, Channel, Vec<u8>)>,
    raise_delay_ms: u64,
    raises: VecDeque<u64>,
    /// When the edge can know that a vehicle asks, after none did.
    busy_from_ms: u64,
    /// Whether what flows or may flow has changed at this moment.
    changed: bool,
    /// Whether a vehicle has come or left at this moment.
    stirred: bool,
}

impl<'a> World<'a> {
    /// A site before its first vehicle, at `from_ms`. Every station of `guests` is a charger of the site.
    pub fn new(site: &Equipped, guests: &'a [Guest], scene: &'a Scene, edge: Edge, from_ms: u64) -> Self {
        let model = &site.model;
        let mut up = VecDeque::new();
        let mut stalls = Vec::with_capacity(model.chargers.len());
        for (index, charger) in model.chargers.iter().enumerate() {
            let mut sent = |message| up.push_back((from_ms + LATENCY_MS, index, message));
            stalls.push(Stall::new(charger, scene.voltage, from_ms, &mut sent));
        }
        let mut gauges = Vec::with_capacity(model.meters.len());
        for index in 0..model.meters.len() {
            let mut sent = |message| up.push_back((from_ms + LATENCY_MS, stalls.len() + index, message));
            gauges.push(Gauge::new(scene.voltage, from_ms, &mut sent));
        }
        let place = |guest: &Guest| model.chargers.iter().position(|charger| charger.id == guest.station);
        let places: Vec<_> =
            guests.iter().map(|guest| place(guest).expect("stations are chargers")).collect();
        let mut happenings = BinaryHeap::with_capacity(guests.len() * 3 + stalls.len() + scene.loads.len());
        for (index, (guest, place)) in guests.iter().zip(&places).enumerate() {
            happenings.push(Reverse((millis(guest.arrival), Happening::Arrive(index))));
            happenings.push(Reverse((millis(guest.departure), Happening::Leave(*place))));
        }
        let to_come = happenings.len();
        let late = guests.iter().enumerate().filter(|(_, guest)| guest.start > guest.arrival);
        happenings.extend(late.map(|(index, guest)| Reverse((millis(guest.start), Happening::Start(index)))));
        let loads = scene.loads.iter().enumerate();
        happenings.extend(loads.map(|(index, load)| Reverse((load.at_ms, Happening::Load(index)))));
        let told = scene.told.iter().enumerate();
        happenings.extend(told.map(|(index, (at_ms, _))| Reverse((*at_ms, Happening::Tell(index)))));
        Self {
            guests,
            scene,
            places,
            present: vec![None; stalls.len()],
            wired: wired(site),
            gauges,
            circuits: model.meters.iter().map(|meter| meter.circuit).collect(),
            edge,
            watch: Watch::new(model, &site.phases, model.control.interval_ms.0.unsigned_abs() + EXCUSE_MS),
            service: Service::new(stalls.len()),
            cost: Cost::new(scene.outside.clone(), from_ms),
            clock_ms: from_ms,
            to_come,
            happenings,
            due: vec![None; stalls.len()],
            asks: vec![false; stalls.len()],
            draws: vec![Milliamps::ZERO; stalls.len()],
            stalls,
            up,
            down: VecDeque::new(),
            raise_delay_ms: model.control.raise_delay_ms.0.unsigned_abs(),
            raises: VecDeque::new(),
            busy_from_ms: from_ms,
            changed: false,
            stirred: false,
        }
    }

    /// Runs to the end; `progress` is told the time now and then.
    ///
    /// # Errors
    /// When the lake takes no more.
    pub fn run(mut self, mut progress: impl FnMut(u64)) -> anyhow::Result<Ran> {
        while let Some(at_ms) = self.next() {
            self.clock_ms = at_ms;
            self.moment(at_ms)?;
            progress(at_ms);
        }
        let (decisions, failures) = (self.edge.decisions, self.edge.failures);
        let (breaches, peak) = (self.watch.breaches(), self.watch.peak());
        let (served, end_ms) = (self.service.served(), self.clock_ms);
        let (cost_micros, from_surplus_wh) = (self.cost.micros(end_ms), self.cost.surplus_wh(end_ms));
        let entries = self.edge.close()?;
        Ok(Ran { breaches, peak, decisions, failures, entries, served, cost_micros, from_surplus_wh })
    }

    /// The next moment at which something happens; none when nothing will any more.
    fn next(&self) -> Option<u64> {
        let messages = self.up.front().map(|up| up.0).into_iter().chain(self.down.front().map(|down| down.0));
        let is_busy = self.is_busy();
        if self.to_come == 0 && !is_busy && self.up.is_empty() && self.down.is_empty() {
            return None;
        }
        let happening = self.happenings.peek().map(|Reverse((at, _))| *at);
        let regular = is_busy.then(|| {
            let gauges = self.gauges.iter().filter_map(Gauge::due_ms);
            gauges.fold(self.interval_ms(), u64::min)
        });
        let next = messages.chain(happening).chain(regular).chain(self.raises.front().copied()).min();
        next.map(|at| at.max(self.clock_ms))
    }

    fn is_busy(&self) -> bool {
        self.asks.contains(&true)
    }

    fn interval_ms(&self) -> u64 {
        self.edge.next_interval_ms().max(self.busy_from_ms)
    }

    fn moment(&mut self, at_ms: u64) -> anyhow::Result<()> {
        self.deliver_up(at_ms)?;
        self.deliver_down(at_ms);
        while let Some(happening) = self.next_happening(at_ms) {
            self.happen(happening, at_ms);
        }
        self.read_meters(at_ms);
        self.look(at_ms);
        self.decide(at_ms)
    }

    fn deliver_up(&mut self, at_ms: u64) -> anyhow::Result<()> {
        while let Some((_, device, message)) = self.up.pop_front_if(|up| up.0 <= at_ms) {
            self.edge.take(device, &message, micros(at_ms))?;
            if message.channel == Channel::Confirm {
                let confirm: Confirm = message::decode(&message.payload)?;
                self.watch.answered(device, &confirm);
                self.changed = true;
            }
            let is_busy = self.asks.get(device).copied().unwrap_or_else(|| self.is_busy());
            for ack in self.edge.acknowledge(device, is_busy) {
                self.down.push_back((at_ms + LATENCY_MS, device, Channel::Ack, message::encode(&ack)));
            }
        }
        Ok(())
    }

    fn deliver_down(&mut self, at_ms: u64) {
        while let Some((_, device, channel, payload)) = self.down.pop_front_if(|down| down.0 <= at_ms) {
            let input = Input::Message { channel, payload: &payload };
            match device.checked_sub(self.stalls.len()) {
                None => self.stall(device, at_ms, |stall, sent| stall.handle(at_ms, input, sent)),
                Some(gauge) => self.gauge(gauge, at_ms, |gauge, sent| gauge.handle(at_ms, input, sent)),
            }
        }
    }

    fn next_happening(&mut self, at_ms: u64) -> Option<Happening> {
        let due = self.happenings.peek().is_some_and(|Reverse((at, _))| *at <= at_ms);
        if due { self.happenings.pop().map(|Reverse((_, happening))| happening) } else { None }
    }

    fn happen(&mut self, happening: Happening, at_ms: u64) {
        match happening {
            Happening::Wake(index) => {
                // A wake that another one has replaced is passed over.
                if self.due[index].is_some_and(|due| due <= at_ms) {
                    self.stall(index, at_ms, |stall, sent| stall.wake(at_ms, sent));
                }
            }
            Happening::Leave(index) => {
                (self.to_come, self.stirred, self.present[index]) = (self.to_come - 1, true, None);
                self.stall(index, at_ms, |stall, sent| stall.leave(at_ms, sent));
            }
            Happening::Arrive(index) => {
                (self.to_come, self.stirred) = (self.to_come - 1, true);
                let (guest, place) = (&self.guests[index], self.places[index]);
                self.present[place] = Some(index);
                let phases = self.wired[place].iter().copied().take(usize::from(guest.phases));
                self.watch.comes(place, phases.collect());
                self.stall(place, at_ms, |stall, sent| stall.arrive(guest, at_ms, sent));
                if guest.start <= guest.arrival {
                    self.stall(place, at_ms, |stall, sent| stall.start(guest, at_ms, sent));
                }
            }
            Happening::Start(index) => {
                let (guest, place) = (&self.guests[index], self.places[index]);
                if self.present[place] == Some(index) {
                    self.stirred = true;
                    self.stall(place, at_ms, |stall, sent| stall.start(guest, at_ms, sent));
                }
            }
            Happening::Load(index) => {
                let load = self.scene.loads[index];
                self.watch.load(load.circuit, load.current, at_ms);
                self.changed = true;
            }
            Happening::Tell(index) => self.edge.tell(self.scene.told[index].1.clone(), micros(at_ms)),
        }
    }

    /// Does something with a charger and notes what that has changed.
    fn stall(&mut self, index: usize, at_ms: u64, act: impl FnOnce(&mut Stall, &mut dyn FnMut(Publish))) {
        let was_busy = self.is_busy();
        let (stall, up) = (&mut self.stalls[index], &mut self.up);
        let before_mw = stall.power_mw();
        act(stall, &mut |message| up.push_back((at_ms + LATENCY_MS, index, message)));
        if !was_busy && stall.asks() {
            self.busy_from_ms = at_ms + LATENCY_MS;
        }
        self.asks[index] = stall.asks();
        self.cost.add(at_ms, stall.power_mw() - before_mw);
        self.service.look(index, at_ms, stall.asks(), stall.draw() > Milliamps::ZERO);
        if stall.draw() != self.draws[index] {
            self.draws[index] = stall.draw();
            self.watch.draws(index, stall.draw());
            self.changed = true;
        }
        let due = stall.due_ms().map(|due| due.max(at_ms + 1));
        if due != self.due[index] {
            self.due[index] = due;
            self.happenings.extend(due.map(|due| Reverse((due, Happening::Wake(index)))));
        }
    }

    fn gauge(&mut self, index: usize, at_ms: u64, act: impl FnOnce(&mut Gauge, &mut dyn FnMut(Publish))) {
        let device = self.stalls.len() + index;
        let up = &mut self.up;
        act(&mut self.gauges[index], &mut |message| up.push_back((at_ms + LATENCY_MS, device, message)));
    }

    fn read_meters(&mut self, at_ms: u64) {
        let is_watched = std::mem::take(&mut self.stirred) || self.is_busy();
        for index in 0..self.gauges.len() {
            if self.changed {
                let flow = self.watch.flow(self.circuits[index]);
                self.gauge(index, at_ms, |gauge, sent| gauge.measure(at_ms, flow, sent));
            } else if is_watched && self.gauges[index].due_ms().is_some_and(|due| due <= at_ms) {
                self.gauge(index, at_ms, |gauge, sent| gauge.handle(at_ms, Input::Tick, sent));
            }
        }
    }

    fn look(&mut self, at_ms: u64) {
        if std::mem::take(&mut self.changed) {
            self.watch.look(at_ms);
        }
    }

    fn decide(&mut self, at_ms: u64) -> anyhow::Result<()> {
        let is_requested = self.edge.is_due();
        let raise_is_due = self.raises.pop_front_if(|raise| *raise <= at_ms).is_some();
        let interval_is_over = self.is_busy() && at_ms >= self.interval_ms();
        if !is_requested && !raise_is_due && !interval_is_over {
            return Ok(());
        }
        if is_requested && self.raise_delay_ms > 0 {
            self.raises.push_back(at_ms + self.raise_delay_ms);
        }
        for send in self.edge.decide(micros(at_ms))? {
            let index = self.edge.charger(&send.device).expect("setpoints are for chargers of the site");
            self.watch.sent(index, &send.setpoint, at_ms);
            self.changed = true;
            let payload = message::encode(&send.setpoint);
            self.down.push_back((at_ms + LATENCY_MS, index, Channel::Setpoint, payload));
        }
        self.look(at_ms);
        Ok(())
    }
}

/// The phases that vehicles at each charger load, in the order in which they use them.
fn wired(site: &Equipped) -> Vec<Vec<Phase>> {
    let of = |(charger, first): (&wattle_edge_core::Charger, &Phase)| match &charger.phases {
        Some(phases) if !phases.is_empty() => phases.clone(),
        // As an electrician rotates them.
        _ => (0..3).map(|turn| Phase::ALL[(first.index() + turn) % 3]).collect(),
    };
    site.model.chargers.iter().zip(&site.phases).map(of).collect()
}

/// A moment of the trace in ms; traces begin after 1970 and hold whole seconds or fractions.
pub fn millis(at: Micros) -> u64 {
    u64::try_from(at.0 / 1000).unwrap_or(0)
}

fn micros(at_ms: u64) -> Micros {
    Micros::from_millis(i64::try_from(at_ms).unwrap_or(i64::MAX))
}
