//! A world of devices, brokers, edges, fog nodes and a lake, from its beginning until it has come to rest.

use crate::agenda::{Agenda, SECOND};
use crate::broker::Broker;
use crate::check;
use crate::device::Device;
use crate::edge::{Edge, shared_truth};
use crate::event::{BrokerEvent, Event};
use crate::fog::Fog;
use crate::invariant::{Invariant, Violation};
use crate::kafka::Kafka;
use crate::lake::Lake;
use crate::plan::{Fault, LONGEST_FAULT, Plan};
use crate::random::Random;
use crate::switch::Switch;
use crate::truth::SharedTruth;

/// How long after the last fault a world may take to come to rest.
const REST: u64 = 600 * SECOND;
/// The most that happens in a world: above it something goes round in a circle.
const MOST_EVENTS: u64 = 3_000_000;

/// What a run was, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many events there were.
    pub events: u64,
    /// How long it took, in microseconds of the world.
    pub lasted: u64,
    /// Numbered messages that were acknowledged.
    pub acknowledged: usize,
    /// Rows in the lake.
    pub rows: usize,
    /// Numbers that stand in gap records.
    pub gaps: u64,
    /// Starts of edges, fog nodes and devices beyond the first.
    pub restarts: u64,
    /// Messages that brokers dropped.
    pub dropped: u64,
}

impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.lasted += other.lasted;
        self.acknowledged += other.acknowledged;
        self.rows += other.rows;
        self.gaps += other.gaps;
        self.restarts += other.restarts;
        self.dropped += other.dropped;
    }
}

/// A world.
pub struct World {
    agenda: Agenda,
    plan: Plan,
    truth: SharedTruth,
    devices: Vec<Device>,
    brokers: Vec<Broker>,
    edges: Vec<Edge>,
    fogs: Vec<Fog>,
    kafka: Option<Kafka>,
    lake: Lake,
    /// Up to where each edge's journal has to be in the lake before the world is at rest.
    targets: Option<Vec<u64>>,
}

impl World {
    /// The world of a seed, without what is taken away.
    pub fn new(seed: u64, switch: Option<Switch>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::of(&mut random).with_rare(seed);
        let mut agenda = Agenda::new(random, plan.delays);
        let truth = shared_truth();
        truth.borrow_mut().tight_budget = plan.budget_bytes < 1 << 30;
        truth.borrow_mut().twins = plan.twins;
        let lake = Lake::default();
        let fogs: Vec<_> =
            (0..plan.fogs).map(|fog| Fog::new(fog, lake.clone(), plan.gather, switch)).collect();
        for (at, fault) in &plan.faults {
            agenda.after(*at, Event::Fault(*fault));
        }
        (0..plan.edges).for_each(|edge| agenda.soon(Event::StartEdge(edge)));
        (0..plan.fogs).for_each(|fog| agenda.soon(Event::StartFog(fog)));
        (0..plan.devices()).for_each(|device| agenda.soon(Event::StartDevice(device)));
        Self {
            devices: (0..plan.devices()).map(|device| Device::new(device, &plan, switch)).collect(),
            brokers: (0..plan.sites()).map(|_| Broker::new(&plan)).collect(),
            edges: (0..plan.edges).map(|edge| Edge::new(edge, &plan, switch, truth.clone())).collect(),
            fogs,
            kafka: plan.kafka.then(Kafka::new),
            agenda,
            truth,
            lake,
            plan,
            targets: None,
        }
    }

    /// Lets it run until it has come to rest, and looks at what is in the lake. `write` gets each event, and what came of
    /// it.
    ///
    /// # Errors
    /// What doesn't hold.
    pub fn run(mut self, mut write: Option<&mut dyn FnMut(String)>) -> Result<Report, Violation> {
        self.truth.borrow_mut().take_notes(write.is_some());
        let mut events = 0;
        while !self.is_at_rest() {
            let Some(event) = self.agenda.next() else { break };
            events += 1;
            self.truth.borrow_mut().at(self.agenda.now());
            if let Some(write) = &mut write {
                write(format!("{:>12} {event:?}", self.agenda.now()));
            }
            self.handle(event);
            if let Some(write) = &mut write {
                self.truth.borrow_mut().notes().into_iter().for_each(write);
            }
            if self.agenda.now() > self.plan.active + LONGEST_FAULT + REST || events > MOST_EVENTS {
                let why = self.why_no_rest();
                self.truth.borrow_mut().violated(Invariant::ComesToRest, why);
            }
            self.truth.borrow().violation().map_or(Ok(()), |violation| Err(violation.clone()))?;
        }
        let mut report = check::lake(&self.lake, &self.edges, &self.truth)?;
        report.events = events;
        report.lasted = self.agenda.now();
        let lives =
            self.devices.iter().map(|device| device.life).chain(self.edges.iter().map(|edge| edge.life));
        report.restarts = lives.chain(self.fogs.iter().map(|fog| fog.life)).sum();
        report.dropped = self.brokers.iter().map(|broker| broker.dropped).sum();
        Ok(report)
    }

    /// Whether devices still measure.
    fn is_active(&self) -> bool {
        self.agenda.now() < self.plan.active
    }

    /// Whether everything that was measured is where it belongs.
    fn is_at_rest(&mut self) -> bool {
        if self.agenda.now() < self.plan.active + LONGEST_FAULT {
            return false;
        }
        if self.targets.is_none() {
            let settled = self.devices.iter().all(Device::is_at_rest) && self.edges.iter().all(Edge::is_idle);
            if !settled {
                return false;
            }
            self.targets = Some(self.edges.iter_mut().map(|edge| edge.reached().0).collect());
            self.truth.borrow_mut().count_up_to_here();
        }
        let targets = self.targets.iter().flatten();
        self.edges.iter_mut().zip(targets).all(|(edge, target)| edge.reached().1 >= *target)
    }

    fn why_no_rest(&mut self) -> String {
        let waiting = self.devices.iter().enumerate().filter(|(_, device)| !device.is_at_rest());
        let waiting: Vec<_> = waiting.map(|(index, _)| index).collect();
        let edges: Vec<_> = self.edges.iter_mut().map(Edge::reached).collect();
        format!("devices {waiting:?} wait; edges have come to and committed {edges:?}")
    }

    fn handle(&mut self, event: Event) {
        let is_active = self.is_active();
        let agenda = &mut self.agenda;
        let mut truth = self.truth.borrow_mut();
        match event {
            Event::Device(index, life, event) => {
                let device = &mut self.devices[index];
                if device.life == life {
                    device.handle(event, is_active, agenda, &mut truth);
                }
            }
            Event::StartDevice(index) => self.devices[index].start(agenda, &mut truth),
            Event::Broker(index, event) => self.brokers[index].handle(event, agenda, &mut truth),
            Event::Edge(index, life, event) => {
                drop(truth);
                self.edges[index].handle(life, event, agenda);
            }
            Event::StartEdge(index) => {
                drop(truth);
                self.edges[index].start(agenda);
            }
            Event::Fog(index, life, event) => {
                self.fogs[index].handle(life, event, self.kafka.as_mut(), agenda)
            }
            Event::StartFog(index) => self.fogs[index].start(self.kafka.as_mut(), agenda),
            Event::Kafka(event) => {
                if let Some(kafka) = &mut self.kafka {
                    kafka.handle(event, agenda);
                }
            }
            Event::Fault(fault) => {
                drop(truth);
                self.break_something(fault);
            }
            Event::Over(fault) => {
                drop(truth);
                self.mend(fault);
            }
        }
    }

    fn break_something(&mut self, fault: Fault) {
        let agenda = &mut self.agenda;
        match fault {
            Fault::KillEdge { edge, steps } => self.edges[edge].doom(steps, false, agenda),
            Fault::KillAndCutPower { edge, steps } => {
                self.edges[edge].doom(steps, false, agenda);
                self.edges[edge].doom_next(steps);
            }
            Fault::CutPowerAtStart { edge, steps } => self.edges[edge].doom_next(steps),
            Fault::CutPower { edge, steps } => self.edges[edge].doom(steps, true, agenda),
            Fault::FillDisk { edge, .. } | Fault::FailDisk { edge } if self.edges[edge].is_doomed() => {}
            Fault::FillDisk { edge, bytes } => {
                self.edges[edge].disk.set_room(Some(bytes));
                self.lasts_a_while(fault);
            }
            Fault::FailDisk { edge } => {
                self.edges[edge].break_disk();
                self.lasts_a_while(fault);
            }
            Fault::SetClock { edge, by_ms } => self.edges[edge].wall_off_us += by_ms * 1_000,
            Fault::CutBroker { edge } => self.edges[edge].cut_broker(agenda),
            Fault::RestartBroker { edge, kept } => {
                let broker = self.plan.site_of(edge);
                self.brokers[broker].kill(kept, agenda);
                let off = agenda.random.below(5 * SECOND);
                agenda.after(off, Event::Broker(broker, BrokerEvent::Starts));
            }
            Fault::CutDevice { device } => self.devices[device].cut(agenda),
            Fault::KillDevice { device } => self.devices[device].kill(agenda),
            Fault::CutUplink { edge } => self.edges[edge].cut_uplink(agenda),
            Fault::NoUplink { edge } => {
                self.edges[edge].cut_uplink(agenda);
                self.edges[edge].is_alone = true;
                self.lasts_a_while(fault);
            }
            Fault::KillFog { fog } => self.fogs[fog].kill(self.kafka.as_mut(), agenda),
            Fault::CutLake => {
                self.fogs.iter_mut().for_each(|fog| fog.kill(self.kafka.as_mut(), agenda));
                self.lake.lose_power();
            }
            Fault::FailLake => {
                self.lake.fail(true);
                self.lasts_a_while(fault);
            }
            Fault::KafkaAway
            | Fault::RecreateTopic
            | Fault::ForgetOffsets
            | Fault::ForgetPositions
            | Fault::Replay
            | Fault::Rebalance => self.break_kafka(fault),
            Fault::BackUp { edge } => self.edges[edge].back_up(),
            Fault::Restore { edge } => self.edges[edge].restore(agenda),
            Fault::TakeImage { edge } => self.edges[edge].take_image(),
            Fault::RestoreImage { edge } => self.edges[edge].restore_image(agenda),
            Fault::PartTwins => self.edges[1].leave_broker(agenda),
        }
    }

    fn break_kafka(&mut self, fault: Fault) {
        let Some(kafka) = &mut self.kafka else { return };
        match fault {
            Fault::KafkaAway => {
                kafka.set_down(true, &mut self.agenda);
                self.lasts_a_while(fault);
            }
            Fault::RecreateTopic => kafka.recreate(),
            Fault::ForgetOffsets => kafka.forget_offsets(),
            Fault::ForgetPositions => kafka.forget_positions(),
            Fault::Replay => kafka.replay(),
            _ => kafka.rebalance(&mut self.agenda),
        }
    }

    fn lasts_a_while(&mut self, fault: Fault) {
        let wait = self.agenda.random.below(LONGEST_FAULT);
        self.agenda.after(wait, Event::Over(fault));
    }

    fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::FillDisk { edge, .. } => self.edges[edge].disk.set_room(None),
            Fault::FailDisk { edge } => self.edges[edge].mend_disk(),
            Fault::NoUplink { edge } => self.edges[edge].is_alone = false,
            Fault::FailLake => self.lake.fail(false),
            Fault::KafkaAway => {
                if let Some(kafka) = &mut self.kafka {
                    kafka.set_down(false, &mut self.agenda);
                }
            }
            _ => {}
        }
    }
}
