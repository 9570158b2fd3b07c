//! Virtual time: vehicles come and go, messages travel, and the clock jumps from one event to the next.
//!
//! - A message takes [`LATENCY_MS`] either way, in order, and none is lost.
//! - Of what happens at one moment, first the edge takes what has come, then devices do, then vehicles leave, fill up
//!   and come; then meters see what flows; then the limit is looked at; then the edge decides.
//! - A decision is made when the edge's machine says that one is due, when a raise delay that began with such a
//!   decision is over, and every interval while a vehicle asks for energy.
//! - While none does, nothing flows and nothing can change: meters are read and decisions made only when a vehicle
//!   comes or leaves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use wattle_device_core::{Input, Publish};
use wattle_wire::message::{self, Confirm};
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, PerPhase};

use super::cost::{Cost, Outside};
use super::edge::Edge;
use super::service::{Served, Service};
use super::site::Equipped;
use super::stall::{Gauge, Stall};
use super::trace::Stay;
use super::watch::Watch;

/// How long a message is under way.
pub const LATENCY_MS: u64 = 20;

/// What happens at a moment, in the order in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The vehicle at this charger leaves.
    Leave(usize),
    /// This charger or its vehicle has something to do.
    Wake(usize),
    /// The vehicle of this stay comes.
    Arrive(usize),
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
    stays: &'a [Stay],
    places: Vec<usize>,
    stalls: Vec<Stall>,
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
    /// A site before its first vehicle, at `from_ms`. Every station of `stays` is a charger of the site.
    pub fn new(site: &Equipped, stays: &'a [Stay], edge: Edge, outside: Outside, from_ms: u64) -> Self {
        let model = &site.model;
        let mut up = VecDeque::new();
        let mut stalls = Vec::with_capacity(model.chargers.len());
        for (index, charger) in model.chargers.iter().enumerate() {
            let mut sent = |message| up.push_back((from_ms + LATENCY_MS, index, message));
            stalls.push(Stall::new(charger, from_ms, &mut sent));
        }
        let mut gauges = Vec::with_capacity(model.meters.len());
        for index in 0..model.meters.len() {
            let mut sent = |message| up.push_back((from_ms + LATENCY_MS, stalls.len() + index, message));
            gauges.push(Gauge::new(from_ms, &mut sent));
        }
        let place = |stay: &Stay| model.chargers.iter().position(|charger| charger.id == stay.station);
        let places: Vec<_> = stays.iter().map(|stay| place(stay).expect("stations are chargers")).collect();
        let mut happenings = BinaryHeap::with_capacity(stays.len() * 2 + stalls.len());
        for (index, (stay, place)) in stays.iter().zip(&places).enumerate() {
            happenings.push(Reverse((millis(stay.arrival), Happening::Arrive(index))));
            happenings.push(Reverse((millis(stay.departure), Happening::Leave(*place))));
        }
        Self {
            stays,
            places,
            gauges,
            circuits: model.meters.iter().map(|meter| meter.circuit).collect(),
            edge,
            watch: Watch::new(model, &site.phases),
            service: Service::new(stalls.len()),
            cost: Cost::new(outside, from_ms),
            clock_ms: from_ms,
            to_come: happenings.len(),
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
                (self.to_come, self.stirred) = (self.to_come - 1, true);
                self.stall(index, at_ms, |stall, sent| stall.leave(at_ms, sent));
            }
            Happening::Arrive(index) => {
                (self.to_come, self.stirred) = (self.to_come - 1, true);
                let stay = &self.stays[index];
                self.stall(self.places[index], at_ms, |stall, sent| stall.arrive(stay, at_ms, sent));
            }
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
                let power_mw =
                    flow.0.iter().map(|i| i64::from(i.0) * i64::from(super::stall::VOLTAGE.0) / 1000);
                let power_mw = power_mw.sum();
                self.gauge(index, at_ms, |gauge, sent| gauge.measure(at_ms, flow, power_mw, sent));
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

/// A moment of the trace in ms; traces begin after 1970 and hold whole seconds or fractions.
pub fn millis(at: Micros) -> u64 {
    u64::try_from(at.0 / 1000).unwrap_or(0)
}

fn micros(at_ms: u64) -> Micros {
    Micros::from_millis(i64::try_from(at_ms).unwrap_or(i64::MAX))
}
