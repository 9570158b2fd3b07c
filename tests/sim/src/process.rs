//! An edge's process: the product's machines, journal, group commit and uplink window, between mailboxes whose order chance
//! makes. What is here is what the actors do with them; nothing of it decides.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use wattle_edge::actors::device::intake;
use wattle_edge::actors::site::Intake;
use wattle_edge::batch::{Batch, Listener, Unfinished};
use wattle_edge::checkpoint::Kept;
use wattle_edge::clock::Anchor;
use wattle_edge::group::{Append, Group};
use wattle_edge::journal::{self, Journal, Options, SealJob, SyncPolicy};
use wattle_edge::replies::Reply;
use wattle_edge::restore::{self, Known, Machines, Restored};
use wattle_edge_core::site::equal_share;
use wattle_edge_core::{
    DeviceMachine, DeviceOutput, Due, Heard, PeerMachine, Proposal, SiteInput, SiteMachine,
};
use wattle_wire::row::{Cause, Event as RowEvent, EventKind, Row};
use wattle_wire::topic::{self, Channel};
use wattle_wire::uplink::Hello;
use wattle_wire::{Micros, message};

use crate::agenda::{Agenda, Conn, MS, SECOND};
use crate::disk::Lying;
use crate::edge::Edge;
use crate::event::{BrokerEvent, EdgeEvent, KafkaEvent};
use crate::invariant::Invariant;
use crate::link::Link;
use crate::site::Site;
use crate::store::Told;
use crate::switch::Switch;
use crate::truth::{JournalName, SharedTruth};

/// How often the journal looks for rows to seal.
const TICK: u64 = 250 * MS;
/// After how long it tries again what the disk refused.
const RETRY: u64 = 500 * MS;
/// How often the devices' states are kept.
const KEEP: u64 = 10 * SECOND;
/// How long it waits before it looks for its broker again.
const RECONNECT: u64 = 300 * MS;

/// What the process wants done; nothing of it happens if it dies before.
pub enum Effect {
    /// Something happens to it later.
    After(u64, EdgeEvent),
    /// It connects to the broker.
    ConnectBroker(Conn),
    /// Something goes to the broker.
    ToBroker(Conn, BrokerEvent),
    /// It dials a fog node.
    Dial(Conn, Hello),
    /// A segment goes to the fog node.
    Segment(Conn, Vec<u8>, Bytes),
    /// It ends the connection to the fog node.
    HangUp(Conn),
    /// The lake is ahead of it: somebody is told, and declares its folder to be a copy.
    BeginAnew,
    /// It asks something of Kafka.
    ToKafka(Conn, KafkaEvent),
}

/// The batches that may be finished, told by their last part.
#[derive(Clone, Default)]
struct Settled(Arc<Mutex<Vec<usize>>>);

impl Listener for Settled {
    fn settled(&self, lane: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
    }
}

struct Delivery {
    generation: u64,
    pkid: u16,
    device: usize,
    channel: Channel,
    payload: Bytes,
}

/// A running edge.
pub struct Process {
    site: Rc<Site>,
    switch: Option<Switch>,
    sync_takes: u64,
    anchor: Anchor,
    anchored_at: u64,
    machines: Machines,
    machine: SiteMachine,
    wake_at: Option<Micros>,
    output: DeviceOutput,
    outbox: Append,
    flushing: bool,
    group: Group,
    committing: bool,
    job: Option<SealJob>,
    /// The connection to the broker, and which life of it this is.
    broker: Option<Conn>,
    generation: u64,
    inbox: VecDeque<Delivery>,
    unfinished: Unfinished,
    settled: Settled,
    link: Link,
    /// What a copy holds of the lives that it was copied from.
    formers: Vec<Former>,
}

/// A journal of a former life, with its way up.
struct Former {
    name: JournalName,
    log: Journal,
    link: Link,
}

impl Former {
    /// Which life it is, and its last entry.
    fn reach(&self) -> (JournalName, u64) {
        (self.name, self.log.stats().next_sequence - 1)
    }

    /// Whether the lake has all of it.
    fn is_done(&self) -> bool {
        let stats = self.log.stats();
        stats.committed + 1 >= stats.next_sequence
    }
}

/// Opens the journals of former lives, as `wattle_edge::former` does, and gives what the machines know by then.
fn formers(
    edge: &Edge,
    options: &Options,
    is_new: bool,
    machines: &mut Machines,
    now: Micros,
    truth: &SharedTruth,
) -> anyhow::Result<(Vec<Former>, Known)> {
    let files = edge.disk.files("/journal/before-");
    let dirs: BTreeSet<PathBuf> = files.iter().filter_map(|file| former_of(file)).collect();
    let mut dirs: Vec<_> = dirs.into_iter().collect();
    journal::in_order(&edge.disk, &mut dirs);
    let (mut formers, mut known) = (Vec::new(), Known::new());
    for dir in dirs {
        let disk = Lying::over(edge.disk.clone(), edge.settings.switch);
        let (log, recovery) =
            Journal::open_on(disk, Options { dir, is_former: true, ..options.clone() }, now)?;
        let name = (edge.index, recovery.incarnation);
        truth.borrow_mut().copied(name, recovery.last);
        let hello = Hello { edge: edge.id.clone(), incarnation: recovery.incarnation };
        if is_new {
            known = restore::restore_former(recovery, machines, known)?;
        }
        let kafka = edge.settings.kafka.then_some((edge.index, edge.life));
        formers.push(Former {
            name,
            log,
            link: Link::new(hello, name, truth.clone(), edge.settings.switch, kafka),
        });
    }
    Ok((formers, known))
}

/// The folder of the former life that a file is of: directly below the journal's, as `wattle_edge::journal::former` has it. Below
/// it stands what the former life has set aside, which is no life.
fn former_of(file: &Path) -> Option<PathBuf> {
    file.ancestors().find(|dir| dir.parent() == Some(Path::new("/journal"))).map(Path::to_owned)
}

/// Only ever one lane.
const LANE: usize = 0;

impl Process {
    /// Opens the journal and brings everything to where it ends.
    pub fn start(
        edge: &Edge,
        agenda: &mut Agenda,
        truth: &SharedTruth,
    ) -> anyhow::Result<(Self, Vec<Effect>)> {
        let wall_us = edge.wall_us(agenda);
        let now = Micros(wall_us);
        let switch = edge.settings.switch;
        let sync = if edge.settings.syncs { SyncPolicy::Batch } else { SyncPolicy::Off };
        let options = Options {
            budget_bytes: edge.settings.budget_bytes,
            segment_bytes: edge.settings.segment_bytes,
            sync,
            life: Some(edge.new_life(agenda)),
            ..Options::new("/journal", edge.id.clone())
        };
        let (log, recovery) = Journal::open_on(Lying::over(edge.disk.clone(), switch), options.clone(), now)?;
        // What a machine finds that has just lost its power is nothing.
        anyhow::ensure!(!edge.has_died(), "the process is dead");
        let journal = (edge.index, recovery.incarnation);
        let repaired = recovery.repaired.clone();
        let mut machines = edge.site.machines();
        let is_new = recovery.checkpoint.is_none();
        let (mut formers, known) = formers(edge, &options, is_new, &mut machines, now, truth)?;
        if switch == Some(Switch::FormerLife) {
            formers.clear();
        }
        truth.borrow_mut().moved(&formers.iter().map(Former::reach).collect::<Vec<_>>(), journal);
        let covered = recovery.checkpoint.as_ref().map(|(sequence, _)| *sequence);
        truth.borrow_mut().note(|| format!("states to {covered:?}, {repaired:?}"));
        truth.borrow_mut().opened(journal, recovery.last, log.stats().committed);
        let durable = truth.borrow().durable_of(journal);
        // What a loss of power has left of a file of which nothing was durable yet may be anything.
        let aside =
            repaired.set_aside.iter().any(|what| first_of_log(what).is_none_or(|first| first <= durable));
        if aside || !repaired.missing_segments.is_empty() {
            let what = format!("the journal of edge {} was repaired: {repaired:?}", edge.index);
            truth.borrow_mut().violated(Invariant::NoDamageOfItsOwn, what);
        }
        let site = edge.site.clone();
        let Restored { log, mut machines, checkpoint, .. } =
            restore::restore_knowing(log, recovery, machines, known)?;
        if switch == Some(Switch::DuplicateMemory) {
            machines = site.machines();
        }
        let first_number = u64::try_from(wall_us / 1_000).unwrap_or_default();
        let machine = SiteMachine::new(site.model.clone(), first_number, now).context("the site's model")?;
        let store = Told::new(log, journal, truth.clone(), switch);
        let hello = Hello { edge: edge.id.clone(), incarnation: journal.1 };
        let mut process = Self {
            switch,
            sync_takes: edge.settings.sync_takes,
            anchor: Anchor::towards(wall_us, wall_us),
            anchored_at: agenda.now(),
            machines,
            machine,
            wake_at: None,
            output: DeviceOutput::default(),
            outbox: Append::default(),
            flushing: false,
            group: Group::new(store, vec![site.model.id.clone()], checkpoint),
            committing: false,
            job: None,
            broker: None,
            generation: 0,
            inbox: VecDeque::new(),
            unfinished: Unfinished::new(1),
            settled: Settled::default(),
            link: Link::new(
                hello,
                journal,
                truth.clone(),
                switch,
                edge.settings.kafka.then_some((edge.index, edge.life)),
            ),
            formers,
            site,
        };
        let effects = process.begin(now, agenda);
        Ok((process, effects))
    }

    fn begin(&mut self, now: Micros, agenda: &mut Agenda) -> Vec<Effect> {
        let started = RowEvent::new(self.site.model.id.clone(), None, EventKind::NodeStarted, "");
        self.outbox.gather(now, [Row::Event(started)], None, None);
        let known: Vec<_> = self.machines.values().map(stay_at).collect();
        for (index, stay) in known.into_iter().enumerate().filter(|(_, stay)| stay.is_some()) {
            let Some(part) = self.site.model.part(&self.site.devices[index]) else { continue };
            for heard in [Heard::Stay(stay), Heard::Online(false)] {
                self.machine.handle(SiteInput { part, seen: None, heard }, now);
            }
        }
        let mut effects = vec![
            Effect::After(agenda.random.below(TICK), EdgeEvent::Tick),
            Effect::After(agenda.random.below(KEEP), EdgeEvent::Keep(0)),
            Effect::After(agenda.random.below(50 * MS), EdgeEvent::Connect),
            Effect::After(agenda.random.below(500 * MS), EdgeEvent::Dial),
        ];
        self.flush_soon(agenda, &mut effects);
        self.arm(now, &mut effects);
        effects
    }

    /// The connection to the broker.
    pub fn broker_conn(&self) -> Option<Conn> {
        self.broker
    }

    /// The connections to fog nodes.
    pub fn link_conns(&self) -> impl Iterator<Item = Conn> {
        self.link.conn().into_iter().chain(self.formers.iter().filter_map(|former| former.link.conn()))
    }

    /// The last number that was given out, and how far the lake is known to be.
    pub fn reached(&mut self) -> (u64, u64) {
        let stats = self.group.log().stats();
        let is_done = self.formers.iter().all(Former::is_done);
        (stats.next_sequence - 1, if is_done { stats.committed } else { 0 })
    }

    /// Declares its folder to be a copy; tells whether the disk lets it.
    pub fn declare_restored(&mut self) -> bool {
        self.group.log().declare_restored().is_ok()
    }

    /// Whether nothing waits for the journal.
    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty() && self.outbox.is_empty() && !self.group.waits()
    }

    /// Something happens to it.
    pub fn handle(&mut self, event: EdgeEvent, wall_us: i64, agenda: &mut Agenda) -> Vec<Effect> {
        let now = self.now(wall_us, agenda);
        let mut effects = Vec::new();
        match event {
            EdgeEvent::Connect => {
                if self.broker.is_none() {
                    let conn = agenda.connection();
                    self.broker = Some(conn);
                    effects.push(Effect::ConnectBroker(conn));
                }
            }
            EdgeEvent::Lost(conn) if self.broker == Some(conn) => {
                self.broker = None;
                self.generation += 1;
                effects.push(Effect::After(RECONNECT, EdgeEvent::Connect));
            }
            EdgeEvent::Delivered { conn, pkid, device, channel, payload } if self.broker == Some(conn) => {
                if self.inbox.is_empty() {
                    effects.push(Effect::After(agenda.random.below(2 * MS), EdgeEvent::Take));
                }
                let generation = self.generation;
                self.inbox.push_back(Delivery { generation, pkid, device, channel, payload });
            }
            EdgeEvent::Connected | EdgeEvent::Lost(_) | EdgeEvent::Delivered { .. } => {}
            EdgeEvent::Take => self.take(now, agenda, &mut effects),
            EdgeEvent::Flush => {
                self.flushing = false;
                self.group.push(std::mem::take(&mut self.outbox));
                if !self.committing {
                    self.committing = true;
                    effects.push(Effect::After(agenda.random.below(self.sync_takes), EdgeEvent::Commit));
                }
            }
            EdgeEvent::Commit => {
                self.committing = self.group.commit().is_err();
                if self.committing {
                    effects.push(Effect::After(RETRY, EdgeEvent::Commit));
                }
            }
            EdgeEvent::Tick => {
                self.seal(now, agenda, &mut effects);
                for former in &mut self.formers {
                    // What the disk refuses is tried again at the next tick.
                    drop(former.log.seal(now));
                }
                self.pump(agenda, &mut effects);
                effects.push(Effect::After(TICK, EdgeEvent::Tick));
            }
            EdgeEvent::Sealed => self.sealed(now, agenda, &mut effects),
            EdgeEvent::Keep(device) => self.keep(device, now, agenda, &mut effects),
            EdgeEvent::Wake(due) if self.wake_at != Some(due) => {}
            EdgeEvent::Wake(_) => {
                self.wake_at = None;
                if let Due::Now(cause) = self.machine.wake(now) {
                    self.decide(cause, now, &mut effects);
                }
                self.flush_soon(agenda, &mut effects);
                self.arm(now, &mut effects);
            }
            EdgeEvent::Paced => self.pump(agenda, &mut effects),
            EdgeEvent::Dial => self.each_link(|link, _| link.dial(agenda, &mut effects)),
            EdgeEvent::Answered(conn, answer) => {
                self.each_link(|link, log| link.answered(conn, &answer, log, agenda, &mut effects));
                self.pump(agenda, &mut effects);
            }
            EdgeEvent::KafkaReady(..)
            | EdgeEvent::KafkaDelivered(..)
            | EdgeEvent::KafkaPosition(..)
            | EdgeEvent::Probe(_) => {
                self.each_link(|link, log| link.heard_of_kafka(&event, log, agenda, &mut effects));
                self.pump(agenda, &mut effects);
            }
            EdgeEvent::LinkLost(conn) => self.each_link(|link, _| link.lost(conn, agenda, &mut effects)),
            EdgeEvent::Silent(conn, heard) => {
                self.each_link(|link, _| link.silent(conn, heard, agenda, &mut effects));
            }
        }
        self.finish_batches(&mut effects);
        effects
    }

    /// The node's clock: towards the wall clock of its machine, as `wattle_edge::clock` has it.
    fn now(&mut self, wall_us: i64, agenda: &Agenda) -> Micros {
        let elapsed_us = (agenda.now() - self.anchored_at) as i64;
        let now_us = self.anchor.after(elapsed_us);
        if elapsed_us >= 1_000_000 {
            self.anchor = Anchor::towards(now_us, wall_us);
            self.anchored_at = agenda.now();
        }
        Micros(now_us)
    }

    /// What the ingress and the devices' actors do with what has come.
    fn take(&mut self, now: Micros, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        while let Some(generation) = self.inbox.front().map(|delivery| delivery.generation) {
            let end = self.inbox.iter().position(|d| d.generation != generation).unwrap_or(self.inbox.len());
            let deliveries: Vec<_> = self.inbox.drain(..end).collect();
            let pkids = deliveries.iter().map(|delivery| delivery.pkid).collect();
            let (batch, part) = Batch::open(LANE, generation, pkids, Vec::new(), self.settled.clone());
            self.unfinished.push(batch.clone());
            for (index, id) in self.site.clone().devices.iter().enumerate() {
                let of_device = self.site.first_device + index;
                let items: Vec<_> = deliveries.iter().filter(|d| d.device == of_device).collect();
                if items.is_empty() {
                    continue;
                }
                let key = (self.site.model.id.clone(), id.clone());
                if self.switch == Some(Switch::DuplicateCheck) {
                    self.machines.insert(key.clone(), self.fresh(index));
                }
                let Some(machine) = self.machines.get_mut(&key) else { continue };
                self.output.clear();
                for item in items {
                    machine.handle(item.channel, &item.payload, now, &mut self.output);
                }
                let topic = |channel| topic::topic(&self.site.model.id, id, channel);
                let intake = intake(&mut self.output, topic, now, Batch::part(&batch));
                self.take_in(intake, effects);
            }
            part.synced();
        }
        self.flush_soon(agenda, effects);
        self.arm(now, effects);
    }

    fn fresh(&self, index: usize) -> PeerMachine {
        let device = self.site.devices[index].clone();
        let part = self.site.model.part(&device).expect("a device of the site");
        PeerMachine::Device(Box::new(DeviceMachine::new(self.site.model.id.clone(), device, part)))
    }

    /// What the site's actor does with what a device has for it.
    fn take_in(&mut self, intake: Intake, effects: &mut Vec<Effect>) {
        let Intake { at, rows, inputs, kept, part } = intake;
        self.outbox.gather(at, rows, kept, part);
        let mut cause = None;
        for input in inputs {
            if let Due::Now(due) = self.machine.handle(input, at) {
                cause = Some(due);
            }
        }
        if let Some(cause) = cause {
            self.decide(cause, at, effects);
        }
    }

    fn decide(&mut self, cause: Cause, now: Micros, effects: &mut Vec<Effect>) {
        let snapshot = self.machine.begin_decision(now, cause);
        let proposal = Proposal {
            plan: Ok(equal_share(&snapshot)),
            policy: "built-in equal-share".into(),
            policy_digest: 0,
            settings_digest: 0,
            fuel: 0,
        };
        let outcome = self.machine.finish_decision(proposal, now);
        for send in outcome.setpoints {
            let Some(index) = self.site.devices.iter().position(|id| *id == send.device) else { continue };
            self.publish(index, Channel::Setpoint, message::encode(&send.setpoint), effects);
        }
        self.outbox.gather(now, outcome.rows, None, None);
    }

    fn publish(&self, index: usize, channel: Channel, payload: Vec<u8>, effects: &mut Vec<Effect>) {
        if let Some(conn) = self.broker {
            let device = self.site.first_device + index;
            effects.push(Effect::ToBroker(conn, BrokerEvent::Down { conn, device, channel, payload }));
        }
    }

    fn flush_soon(&mut self, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if !self.flushing && !self.outbox.is_empty() {
            self.flushing = true;
            effects.push(Effect::After(agenda.random.below(3 * MS), EdgeEvent::Flush));
        }
    }

    fn arm(&mut self, now: Micros, effects: &mut Vec<Effect>) {
        let due = self.machine.next_wakeup();
        if self.wake_at.is_none_or(|armed| due < armed) {
            self.wake_at = Some(due);
            let wait = u64::try_from((due - now).0).unwrap_or_default().max(MS);
            effects.push(Effect::After(wait, EdgeEvent::Wake(due)));
        }
    }

    /// The states of the devices go to the journal, one device after the other.
    fn keep(&mut self, index: usize, now: Micros, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        let Some(device) = self.site.devices.get(index).cloned() else {
            effects.push(Effect::After(KEEP, EdgeEvent::Keep(0)));
            return;
        };
        let state = self.machines.get(&(self.site.model.id.clone(), device.clone())).map(PeerMachine::state);
        let kept = Kept { site: 0, device, state, on_its_way: Arc::default() };
        self.take_in(Intake { at: now, kept: Some(kept), ..Intake::default() }, effects);
        self.flush_soon(agenda, effects);
        effects.push(Effect::After(agenda.random.below(2 * MS), EdgeEvent::Keep(index + 1)));
    }

    fn seal(&mut self, now: Micros, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        if self.job.is_some() {
            return;
        }
        // What the disk refuses is tried again at the next tick.
        if let Ok(Some(job)) = self.group.seal_job(now) {
            self.job = Some(job);
            effects.push(Effect::After(agenda.random.below(100 * MS), EdgeEvent::Sealed));
        }
    }

    fn sealed(&mut self, now: Micros, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        let Some(job) = self.job.take() else { return };
        let sealing = self.group.sealing(job)();
        if self.group.sealed(sealing, now).is_ok() {
            self.seal(now, agenda, effects);
        }
        self.pump(agenda, effects);
    }

    /// Sends what the windows have room for.
    fn pump(&mut self, agenda: &mut Agenda, effects: &mut Vec<Effect>) {
        self.each_link(|link, log| link.pump(log, agenda, effects));
    }

    /// Each way up with its journal.
    fn each_link(&mut self, mut act: impl FnMut(&mut Link, &mut Journal)) {
        act(&mut self.link, self.group.log());
        for former in &mut self.formers {
            act(&mut former.link, &mut former.log);
        }
    }

    /// What the ingress does with batches that are on the disk.
    fn finish_batches(&mut self, effects: &mut Vec<Effect>) {
        let told = std::mem::take(&mut *self.settled.0.lock().unwrap_or_else(PoisonError::into_inner));
        if told.is_empty() {
            return;
        }
        while let Some(Ok(batch)) = self.unfinished.pop_settled(LANE) {
            let same = batch.generation == self.generation || self.switch == Some(Switch::ConnectionOfAck);
            if let Some(conn) = self.broker.filter(|_| same) {
                let acks = batch.pkids.iter().map(|pkid| BrokerEvent::Acknowledged(conn, *pkid));
                effects.extend(acks.map(|ack| Effect::ToBroker(conn, ack)));
            }
            for Reply { topic, said } in batch.take_replies() {
                let is_of = |id| topic::topic(&self.site.model.id, id, Channel::Ack) == topic;
                let Some(index) = self.site.devices.iter().position(is_of) else { continue };
                self.publish(index, Channel::Ack, said.payload(), effects);
            }
        }
    }
}

/// The first number of the log file that was set aside, from its name; none for another file.
fn first_of_log(set_aside: &str) -> Option<u64> {
    set_aside.strip_prefix("log-")?.split_once('.')?.0.parse().ok()
}

fn stay_at(machine: &PeerMachine) -> Option<wattle_edge_core::Stay> {
    match machine {
        PeerMachine::Device(machine) => machine.stay().cloned(),
        PeerMachine::System(_) => None,
    }
}
