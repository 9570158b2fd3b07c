//! Kafka, as far as it matters here: a topic of segments in partitions, a compacted topic of positions, a group whose members
//! change hands late, offsets that may be lost, and a topic that may be made anew or played again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wattle_wire::kafka::{Position, partition_of};
use wattle_wire::uplink::SegmentHeader;

use crate::agenda::{Agenda, Conn, MS, SECOND, Way};
use crate::edge::ANY_LIFE;
use crate::event::{EdgeEvent, Event, FogEvent, KafkaEvent};

/// How many partitions there are.
pub const PARTITIONS: u32 = 2;

/// A message of the topic of segments.
#[derive(Debug, Clone)]
pub struct Message {
    /// What its headers say.
    pub header: SegmentHeader,
    /// The segment.
    pub bytes: Bytes,
}

/// A partition's log: the first offset that it still has, and the messages from there.
#[derive(Debug, Default)]
struct Partition {
    log: VecDeque<Message>,
    /// Where the group has to go on, as it was kept last.
    kept: Option<i64>,
    owner: Option<usize>,
    /// How often it has changed hands.
    epoch: u64,
}

/// The cluster.
#[derive(Default)]
pub struct Kafka {
    is_down: bool,
    partitions: Vec<Partition>,
    positions: BTreeMap<String, Position>,
    /// Which edge listens to which key, in which life, on which connection.
    listeners: BTreeMap<(usize, String), (u64, Conn)>,
    /// What came while it was down: its clients try for ever.
    held: VecDeque<KafkaEvent>,
    members: Vec<usize>,
    /// Who has just joined, and knows of nothing that it has.
    joined: Option<usize>,
}

impl Kafka {
    /// A cluster with an empty topic.
    pub fn new() -> Self {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        Self { partitions, ..Self::default() }
    }

    /// It is out of reach, or back.
    pub fn set_down(&mut self, down: bool, agenda: &mut Agenda) {
        self.is_down = down;
        if !down {
            std::mem::take(&mut self.held).into_iter().for_each(|event| self.handle(event, agenda));
        }
    }

    /// The topic is deleted and made again: what was in it is gone, and offsets begin at 0.
    pub fn recreate(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.log.clear());
    }

    /// The group's offsets are lost.
    pub fn forget_offsets(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.kept = None);
    }

    /// Somebody writes everything into the topic once more.
    pub fn replay(&mut self) {
        for partition in &mut self.partitions {
            partition.log.extend(partition.log.clone());
        }
    }

    /// The compacted topic is lost.
    pub fn forget_positions(&mut self) {
        self.positions.clear();
    }

    /// Partitions change hands; whoever gets or loses one hears of it in its own time, so that two may have it for a while.
    pub fn rebalance(&mut self, agenda: &mut Agenda) {
        for index in 0..self.partitions.len() {
            let owner = (!self.members.is_empty()).then(|| agenda.random.pick(&self.members));
            let partition = &mut self.partitions[index];
            let before = std::mem::replace(&mut partition.owner, owner);
            if before == owner && owner.is_none_or(|owner| owner != self.joined.unwrap_or(usize::MAX)) {
                continue;
            }
            partition.epoch += 1;
            let (partition, epoch) = (index as i32, partition.epoch);
            if let Some(before) = before.filter(|before| Some(*before) != owner) {
                let notices = agenda.random.below(5 * SECOND);
                agenda.after(notices, Event::Fog(before, ANY_LIFE, FogEvent::Revoked(partition, epoch)));
            }
            if let Some(owner) = owner {
                let notices = agenda.random.between(100 * MS, 3 * SECOND);
                agenda.after(notices, Event::Fog(owner, ANY_LIFE, FogEvent::Assigned(partition, epoch)));
            }
        }
        self.joined = None;
    }

    /// A member joins the group.
    pub fn join(&mut self, fog: usize, agenda: &mut Agenda) {
        self.members.retain(|member| *member != fog);
        self.members.push(fog);
        self.joined = Some(fog);
        self.rebalance(agenda);
    }

    /// A member is gone; the group notices after a while.
    pub fn leave(&mut self, fog: usize, agenda: &mut Agenda) {
        self.members.retain(|member| *member != fog);
        self.rebalance(agenda);
    }

    /// Whether a member owns a partition: only then its offsets are kept.
    pub fn keep_offset(&mut self, fog: usize, partition: i32, next: i64) {
        if let Some(partition) = self.partitions.get_mut(partition as usize)
            && partition.owner == Some(fog)
            && !self.is_down
        {
            partition.kept = Some(next);
        }
    }

    /// Where a new owner begins.
    pub fn kept(&self, partition: i32) -> i64 {
        self.partitions.get(partition as usize).and_then(|partition| partition.kept).unwrap_or(0)
    }

    /// The message at an offset, and that offset: one that is out of range begins at the first.
    pub fn read(&self, partition: i32, offset: i64) -> Option<(i64, Message)> {
        let log = &self.partitions.get(partition as usize).filter(|_| !self.is_down)?.log;
        let offset = if offset > log.len() as i64 { 0 } else { offset };
        log.get(usize::try_from(offset).ok()?).map(|message| (offset, message.clone()))
    }

    /// A client asks something of it.
    pub fn handle(&mut self, event: KafkaEvent, agenda: &mut Agenda) {
        if self.is_down {
            self.held.push_back(event);
            return;
        }
        match event {
            KafkaEvent::Listens { edge, life, conn, key } => {
                let found = self.positions.get(&key).copied();
                // What an earlier life asked may come later; it is heard by nobody.
                let listener = (edge, key);
                if self.listeners.get(&listener).is_none_or(|(heard, _)| *heard <= life) {
                    self.listeners.insert(listener, (life, conn));
                }
                let ready = EdgeEvent::KafkaReady(conn, found);
                agenda.send_far(conn, Way::Down, Event::Edge(edge, life, ready));
            }
            KafkaEvent::Produced { edge, life, conn, header, bytes } => {
                let partition = partition_of(&header.edge, PARTITIONS) as usize;
                let to = header.to;
                self.partitions[partition].log.push_back(Message { header, bytes });
                let delivered = EdgeEvent::KafkaDelivered(conn, to);
                agenda.send_far(conn, Way::Down, Event::Edge(edge, life, delivered));
            }
            KafkaEvent::Told { key, position } => {
                self.positions.insert(key.clone(), position);
                let listeners = self.listeners.iter().filter(|((_, heard), _)| *heard == key);
                for ((edge, _), (life, conn)) in listeners {
                    let told = EdgeEvent::KafkaPosition(*conn, position);
                    agenda.send_far(*conn, Way::Down, Event::Edge(*edge, *life, told));
                }
            }
        }
    }
}

/// How often a fog node looks for messages.
pub const LOOK: u64 = 50 * MS;
