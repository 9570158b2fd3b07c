//! An edge: its disk, which lasts, and its process, which doesn't.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use wattle_edge::journal::memory_disk::{Fault as DiskFault, MemoryDisk};
use wattle_wire::EdgeId;
use wattle_wire::message::{self, Ack};
use wattle_wire::topic::Channel;
use wattle_wire::uplink::Incarnation;

use crate::agenda::{Agenda, Conn, MS, SECOND, Way};
use crate::event::{BrokerEvent, EdgeEvent, Event, FogEvent};
use crate::invariant::Invariant;
use crate::plan::{IMAGE_IS_OFF, Plan};
use crate::process::{Effect, Process};
use crate::site::Site;
use crate::switch::Switch;
use crate::truth::{Key, SharedTruth};

/// The moment at which the world begins: 2026-03-01, 12:00 UTC.
pub const EPOCH_US: i64 = 1_772_366_400_000_000;

/// An edge and its machine.
pub struct Edge {
    /// Which it is.
    pub index: usize,
    /// Its name.
    pub id: EdgeId,
    /// Its site.
    pub site: Rc<Site>,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Which start of it this is, for the world.
    pub life: u64,
    /// How it is set up.
    pub settings: Settings,
    process: Option<Process>,
    truth: SharedTruth,
    /// By how much the machine's wall clock is wrong.
    pub wall_off_us: i64,
    /// Whether no fog node can be reached.
    pub is_alone: bool,
    /// After which change of the disk the process is dead, and whether the machine loses its power then.
    doomed: Option<(usize, bool)>,
    /// After which change of the disk, behind the next start, the power goes.
    next_doom: Option<usize>,
    /// Whether its disk fails by itself.
    is_broken: bool,
    /// How often it could not start.
    failed_starts: u32,
    /// How many fog nodes there are.
    fogs: usize,
    /// At which fog node each connection ends.
    links: BTreeMap<Conn, usize>,
    /// Its site's broker, and whether it is no longer its own.
    broker: usize,
    has_left: bool,
    /// The last copy of its files.
    backup: Option<MemoryDisk>,
}

/// How an edge is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is taken away.
    pub switch: Option<Switch>,
    /// Whether segments go through Kafka.
    pub kafka: bool,
    /// Whether the journal waits for the disk.
    pub syncs: bool,
    /// How long its disk takes for a batch at most.
    pub sync_takes: u64,
    /// The journal's byte budget.
    pub budget_bytes: u64,
    /// The size of a segment.
    pub segment_bytes: u64,
}

/// How often an edge may fail to start while its disk fails, before that counts as never.
const MOST_FAILED_STARTS: u32 = 60;

impl Edge {
    /// The edge of this index.
    pub fn new(index: usize, plan: &Plan, switch: Option<Switch>, truth: SharedTruth) -> Self {
        let settings = Settings {
            switch,
            kafka: plan.kafka,
            syncs: plan.syncs,
            sync_takes: plan.sync_takes,
            budget_bytes: plan.budget_bytes,
            segment_bytes: plan.segment_bytes,
        };
        Self {
            index,
            id: EdgeId::new(format!("edge-{index}")).expect("a name"),
            site: Rc::new(Site::new(plan.site_of(index), plan)),
            disk: MemoryDisk::default(),
            life: 0,
            settings,
            process: None,
            truth,
            wall_off_us: 0,
            is_alone: false,
            doomed: None,
            next_doom: None,
            is_broken: false,
            failed_starts: 0,
            fogs: plan.fogs,
            links: BTreeMap::new(),
            broker: plan.site_of(index),
            has_left: false,
            backup: None,
        }
    }

    /// The wall clock of its machine, UTC microseconds.
    pub fn wall_us(&self, agenda: &Agenda) -> i64 {
        EPOCH_US + agenda.now() as i64 + self.wall_off_us
    }

    /// The life that a journal would get that is made anew.
    pub fn new_life(&self, agenda: &mut Agenda) -> Incarnation {
        Incarnation(u128::from(agenda.random.number()) << 64 | self.index as u128)
    }

    /// Starts its process.
    pub fn start(&mut self, agenda: &mut Agenda) {
        if self.process.is_some() {
            return;
        }
        if let Some(steps) = self.next_doom.take() {
            self.doom(steps, true, agenda);
        }
        match Process::start(self, agenda, &self.truth) {
            Ok((process, effects)) => {
                self.process = Some(process);
                self.failed_starts = 0;
                self.finish(effects, agenda);
            }
            Err(error) => {
                self.failed_starts += 1;
                if self.failed_starts > MOST_FAILED_STARTS {
                    let what = format!("edge {} can't start: {error:#}", self.index);
                    self.truth.borrow_mut().violated(Invariant::AlwaysStarts, what);
                }
                self.settle_doom(agenda);
                agenda.after(SECOND, Event::StartEdge(self.index));
            }
        }
    }

    /// Its process is to die after so many more changes of the disk.
    pub fn doom(&mut self, steps: usize, loses_power: bool, agenda: &mut Agenda) {
        if self.doomed.is_some() || self.is_broken {
            return;
        }
        let at = self.disk.steps() + steps;
        // What is killed in the middle of a write leaves a half of it.
        let fault = match (loses_power, agenda.random.chance(50)) {
            (true, _) => DiskFault::PowerCut,
            (false, true) => DiskFault::ReadOnly,
            (false, false) => DiskFault::Killed,
        };
        self.disk.fail_at(at, fault, true);
        self.doomed = Some((at, loses_power));
    }

    /// After the next start the machine is to lose its power after so many changes of the disk.
    pub fn doom_next(&mut self, steps: usize) {
        self.next_doom = Some(steps);
    }

    /// Whether the disk has killed the process by now.
    pub fn has_died(&self) -> bool {
        self.doomed.is_some_and(|(at, _)| self.disk.steps() > at)
    }

    /// Whether the disk is about to kill the process: then nothing else is to be done to it.
    pub fn is_doomed(&self) -> bool {
        self.doomed.is_some()
    }

    /// From now on the disk fails.
    pub fn break_disk(&mut self) {
        self.disk.fail(DiskFault::Failing);
        self.is_broken = true;
    }

    /// The disk works again.
    pub fn mend_disk(&mut self) {
        // A process that is to die has its own fault there.
        if std::mem::take(&mut self.is_broken) && self.doomed.is_none() {
            self.disk.heal();
        }
    }

    /// Whether it runs, and nothing waits for its journal.
    pub fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_idle)
    }

    /// The last number of its journal, and how far that knows the lake to be.
    pub fn reached(&mut self) -> (u64, u64) {
        self.process.as_mut().map_or((u64::MAX, 0), Process::reached)
    }

    /// Something happens to its process.
    pub fn handle(&mut self, life: u64, event: EdgeEvent, agenda: &mut Agenda) {
        if life != self.life {
            return;
        }
        let wall_us = self.wall_us(agenda);
        let Some(process) = &mut self.process else { return };
        let effects = process.handle(event, wall_us, agenda);
        self.finish(effects, agenda);
    }

    /// A copy of its files is made. What is about to fail isn't copied.
    pub fn back_up(&mut self) {
        if self.doomed.is_none() && !self.is_broken {
            let lies = self.settings.switch == Some(Switch::NewLife);
            self.backup = Some(if lies { self.disk.copy() } else { self.disk.restored() });
        }
    }

    /// The machine is lost, and another goes on with the last copy.
    pub fn restore(&mut self, agenda: &mut Agenda) {
        if self.doomed.is_some() || self.is_broken {
            return;
        }
        if let Some(backup) = self.backup.take() {
            self.truth.borrow_mut().note(|| format!("edge {} goes on with a copy", self.index));
            // What tells a copy from the journal is what makes it another life.
            if self.settings.switch != Some(Switch::NewLife) {
                self.truth.borrow_mut().lost_machine(self.index);
            }
            self.disk = backup;
            self.end_process(agenda);
            self.start_again(agenda);
        }
    }

    /// An image of its disk is taken: its files are the same files, as they would be after a loss of power.
    pub fn take_image(&mut self) {
        if self.doomed.is_none() && !self.is_broken {
            let image = self.disk.copy();
            image.lose_power();
            self.backup = Some(image);
        }
    }

    /// The machine is lost, and one with the image of its disk runs a while later.
    pub fn restore_image(&mut self, agenda: &mut Agenda) {
        if self.doomed.is_some() || self.is_broken {
            return;
        }
        if let Some(image) = self.backup.take() {
            self.truth.borrow_mut().note(|| format!("edge {} goes on with an image", self.index));
            self.truth.borrow_mut().imaged(self.index);
            self.disk = image;
            self.end_process(agenda);
            self.start_after(IMAGE_IS_OFF, agenda);
        }
    }

    /// Its folder is declared to be a copy, and it starts again.
    fn begin_anew(&mut self, agenda: &mut Agenda) {
        if let Some(process) = &mut self.process
            && process.declare_restored()
        {
            self.truth.borrow_mut().note(|| format!("edge {} is declared to be a copy", self.index));
            self.end_process(agenda);
            self.start_again(agenda);
        }
    }

    /// It doesn't come back to its broker.
    pub fn leave_broker(&mut self, agenda: &mut Agenda) {
        self.cut_broker(agenda);
        self.has_left = true;
    }

    /// The connection to the broker is cut: both ends notice.
    pub fn cut_broker(&mut self, agenda: &mut Agenda) {
        if let Some(conn) = self.process.as_ref().and_then(Process::broker_conn) {
            agenda.soon(Event::Broker(self.broker, BrokerEvent::Lost(conn)));
            agenda.soon(Event::Edge(self.index, self.life, EdgeEvent::Lost(conn)));
        }
    }

    /// The connection to the fog node is cut; each end notices in its own time.
    pub fn cut_uplink(&mut self, agenda: &mut Agenda) {
        let conns: Vec<_> = self.process.iter().flat_map(Process::link_conns).collect();
        for conn in conns {
            let at_edge = agenda.random.below(20 * SECOND);
            let at_fog = agenda.random.below(40 * SECOND);
            agenda.after(at_edge, Event::Edge(self.index, self.life, EdgeEvent::LinkLost(conn)));
            self.tell_fog(conn, at_fog, agenda);
        }
    }

    fn tell_fog(&mut self, conn: Conn, after: u64, agenda: &mut Agenda) {
        if let Some(fog) = self.links.remove(&conn) {
            agenda.after(after, Event::Fog(fog, ANY_LIFE, FogEvent::Lost(conn)));
        }
    }

    /// Does what the process wants done, unless it died before.
    fn finish(&mut self, effects: Vec<Effect>, agenda: &mut Agenda) {
        if self.settle_doom(agenda) {
            return;
        }
        for effect in effects {
            self.carry_out(effect, agenda);
        }
    }

    /// Whether the process has died by now.
    fn settle_doom(&mut self, agenda: &mut Agenda) -> bool {
        let Some((_, loses_power)) = self.doomed.filter(|(at, _)| self.disk.steps() > *at) else {
            return false;
        };
        self.doomed = None;
        self.truth.borrow_mut().note(|| format!("edge {} dies, its power too: {loses_power}", self.index));
        self.end_process(agenda);
        if loses_power {
            let random = &mut agenda.random;
            if random.chance(50) {
                self.disk.lose_power();
            } else {
                self.disk.lose_power_but(|bound| random.below(bound as u64) as usize);
            }
        } else {
            self.disk.heal();
        }
        self.start_again(agenda);
        true
    }

    /// The process is gone: who was connected to it notices.
    fn end_process(&mut self, agenda: &mut Agenda) {
        if let Some(process) = self.process.take() {
            if let Some(conn) = process.broker_conn() {
                agenda.soon(Event::Broker(self.broker, BrokerEvent::Lost(conn)));
            }
            for conn in process.link_conns() {
                let notices = agenda.random.below(40 * SECOND);
                self.tell_fog(conn, notices, agenda);
            }
        }
    }

    fn start_again(&mut self, agenda: &mut Agenda) {
        let off = agenda.random.between(200 * MS, 8 * SECOND);
        self.start_after(off, agenda);
    }

    fn start_after(&mut self, off: u64, agenda: &mut Agenda) {
        self.life += 1;
        self.links.clear();
        agenda.after(off, Event::StartEdge(self.index));
    }

    fn carry_out(&mut self, effect: Effect, agenda: &mut Agenda) {
        let (index, life) = (self.index, self.life);
        match effect {
            Effect::After(wait, event) => agenda.after(wait, Event::Edge(index, life, event)),
            Effect::ConnectBroker(_) if self.has_left => {}
            Effect::ConnectBroker(conn) => {
                let connects = BrokerEvent::EdgeConnects { edge: index, life, conn };
                agenda.send(conn, Way::Up, Event::Broker(self.broker, connects));
            }
            Effect::ToBroker(conn, event) => {
                if let BrokerEvent::Down { device, channel: Channel::Ack, payload, .. } = &event
                    && let Ok(ack) = message::decode::<Ack>(payload)
                {
                    let mut truth = self.truth.borrow_mut();
                    for seq in ack.from..=ack.to {
                        truth.acknowledged(Key { device: *device, boot: ack.boot, seq });
                    }
                }
                agenda.send(conn, Way::Up, Event::Broker(self.broker, event));
            }
            Effect::Dial(conn, _) if self.is_alone => {
                agenda.after(5 * SECOND, Event::Edge(index, life, EdgeEvent::LinkLost(conn)));
            }
            Effect::Dial(conn, hello) => {
                let fog = agenda.random.below(self.fogs as u64) as usize;
                self.links.insert(conn, fog);
                let dialled = FogEvent::Dialled { edge: index, life, conn, hello };
                agenda.send_far(conn, Way::Up, Event::Fog(fog, ANY_LIFE, dialled));
            }
            Effect::Segment(conn, metadata, body) => {
                if let Some(fog) = self.links.get(&conn) {
                    let segment = FogEvent::Segment { conn, metadata, body };
                    agenda.send_far(conn, Way::Up, Event::Fog(*fog, ANY_LIFE, segment));
                }
            }
            Effect::BeginAnew => self.begin_anew(agenda),
            Effect::ToKafka(conn, event) => agenda.send_far(conn, Way::Up, Event::Kafka(event)),
            Effect::HangUp(conn) => {
                let notices = agenda.random.below(SECOND);
                self.tell_fog(conn, notices, agenda);
            }
        }
    }
}

/// For a process of whatever life: connections say themselves which life they are of.
pub const ANY_LIFE: u64 = u64::MAX;

/// The truth of a world, still empty.
pub fn shared_truth() -> SharedTruth {
    Rc::new(RefCell::default())
}
