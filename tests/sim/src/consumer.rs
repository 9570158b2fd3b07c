//! A fog node's reading of the topic of segments: the product's intake over a cluster in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use wattle_columns::Segment;
use wattle_fog::lake::Journal;
use wattle_fog::sources::kafka::intake::{Intake, ReadFrom, Take};
use wattle_fog::sources::{Fence, Fences, Outcome};
use wattle_wire::Micros;
use wattle_wire::kafka::position_key;

use crate::agenda::{Agenda, SECOND};
use crate::event::KafkaEvent;
use crate::kafka::Kafka;

/// How many messages are taken from a partition at one look.
const MOST: usize = 8;
/// How often offsets are kept.
const KEEP: u64 = 5 * SECOND;

/// Where a segment's outcome goes.
#[derive(Debug, Clone)]
pub struct Taken {
    partition: i32,
    generation: u64,
    offset: i64,
    journal: Journal,
}

/// The reading half of a fog node.
pub struct Consumer {
    fog: usize,
    intake: Intake,
    fences: Arc<Fences>,
    /// Where each partition that is ours is read next.
    next: BTreeMap<i32, i64>,
    /// The newest change of hands that was heard of each.
    epochs: BTreeMap<i32, u64>,
    /// What is to be kept of each.
    stored: BTreeMap<i32, i64>,
    kept_at: u64,
}

impl Consumer {
    /// One that reads nothing yet.
    pub fn new(fog: usize, agenda: &Agenda) -> Self {
        let fences = Arc::new(Fences::default());
        let intake = Intake::new(fences.clone(), now(agenda));
        let (next, epochs, stored) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { fog, intake, fences, next, epochs, stored, kept_at: agenda.now() }
    }

    /// A partition is ours.
    pub fn assigned(&mut self, partition: i32, epoch: u64, kafka: &Kafka) {
        if self.is_news(partition, epoch) {
            self.intake.assigned(partition);
            self.next.insert(partition, kafka.kept(partition));
            self.stored.remove(&partition);
        }
    }

    /// A partition isn't ours any more.
    pub fn revoked(&mut self, partition: i32, epoch: u64) {
        if self.is_news(partition, epoch) {
            self.intake.revoked(partition);
            self.next.remove(&partition);
            self.stored.remove(&partition);
        }
    }

    fn is_news(&mut self, partition: i32, epoch: u64) -> bool {
        let heard = self.epochs.entry(partition).or_default();
        let news = epoch > *heard;
        *heard = epoch.max(*heard);
        news
    }

    /// Takes what has come; gives the segments that are to be committed, each with its fence.
    pub fn look(&mut self, kafka: &Kafka, agenda: &Agenda) -> Vec<(Taken, Segment, Fence)> {
        let mut offered = Vec::new();
        if self.intake.wait_until() > now(agenda) {
            return offered;
        }
        for partition in self.next.keys().copied().collect::<Vec<_>>() {
            for _ in 0..MOST {
                let Some((offset, message)) = kafka.read(partition, self.next[&partition]) else { break };
                self.next.insert(partition, offset + 1);
                let Take::Offer(generation) =
                    self.intake.message(partition, offset, &message.header, now(agenda))
                else {
                    continue;
                };
                match Segment::decode(&message.bytes) {
                    Ok(segment) if segment.header == message.header => {
                        let journal = Journal::of(&segment.header);
                        let fence = Fence { fences: self.fences.clone(), partition, generation };
                        offered.push((Taken { partition, generation, offset, journal }, segment, fence));
                    }
                    _ => self.intake.malformed(partition, offset),
                }
            }
        }
        offered
    }

    /// What has become of a segment.
    pub fn answer(&mut self, taken: &Taken, outcome: Outcome, agenda: &Agenda) {
        let Taken { partition, generation, offset, ref journal } = *taken;
        self.intake.answer(partition, generation, offset, journal, outcome, now(agenda));
    }

    /// Seeks, keeps offsets, and gives the positions that are to be told.
    pub fn turn(&mut self, kafka: &mut Kafka, agenda: &Agenda) -> Vec<KafkaEvent> {
        for (partition, from) in self.intake.seeks() {
            let offset = match from {
                ReadFrom::Beginning => 0,
                ReadFrom::Offset(offset) => offset,
            };
            self.next.entry(partition).and_modify(|next| *next = offset);
        }
        self.stored.extend(self.intake.stored());
        if agenda.now() >= self.kept_at + KEEP {
            self.kept_at = agenda.now();
            for (partition, next) in std::mem::take(&mut self.stored) {
                kafka.keep_offset(self.fog, partition, next);
            }
        }
        let told = self.intake.positions(now(agenda)).into_iter();
        told.map(|(journal, position)| KafkaEvent::Told {
            key: position_key(&journal.edge, journal.incarnation),
            position,
        })
        .collect()
    }
}

fn now(agenda: &Agenda) -> Micros {
    Micros(agenda.now() as i64)
}
