//! What becomes of each message: the decisions of reading a topic of segments, without a broker.
//!
//! # Rules
//! - An offset of Kafka says where to go on reading, and nothing else. It is kept ([`Intake::stored`]) once all messages before it
//!   are in the lake, or are refused for good. What is there twice is told by the lake's position.
//! - A segment that begins beyond the lake's position is a **hole**. The topic may hold what is missing, before the place where
//!   reading began: so the partition is read once from its beginning ([`Search`]). If the hole is still there then, the topic has lost
//!   the segments, and the edge is told to send them again ([`Position::needs`]). The segment beyond the hole is let go: the
//!   edge keeps it, since it is told of no position that covers it. An edge that frees on delivery has it no more: so where it
//!   stands is remembered, and once the hole is filled, by rows or by a gap, the partition is read again from there.
//! - A search is over when reading has come back to where it began, however long that takes, and a search that is not over
//!   is not begun again: what is still a hole then stays one.
//! - An edge that frees on delivery fills a hole by a gap up to all that it has freed. Whoever hasn't looked through the partition since it
//!   was assigned doesn't know what of that the topic still holds: so it looks before it takes such a gap ([`Intake::may_take_freed`]). And
//!   rows that stand before the gap are committed before it is offered: within a commit the one that begins earlier would win.
//! - A hole holds up nobody: other journals of the partition go on.
//! - When the lake can't be written, the partition is read again from the first message that isn't in it, after a wait.
//! - Each time that a partition is read from another place it gets a new generation: what was taken from it before is neither
//!   committed (see [`Fences`]) nor counted.
//! - Positions to tell are kept by journal, the newest of each. One is told after each commit, also when it is no news: so
//!   an edge whose position was lost learns it by sending something once more. For messages that the lake has, however many of
//!   a journal come, one is told each [`TELL_AGAIN`] and not more: who reads a topic once more doesn't fill the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wattle_wire::Micros;
use wattle_wire::kafka::Position;
use wattle_wire::uplink::SegmentHeader;

use crate::lake::{Journal, Refusal};
use crate::sources::{Fences, Outcome};

/// How long after a partition was read from its beginning that may be done once more.
const SEARCH_AGAIN: Micros = Micros::from_secs(600);
/// After how long an edge is told once more that the same entries are missing.
const ASK_AGAIN: Micros = Micros::from_secs(15);
/// After how long a position is told once more because a message came that the lake has.
const TELL_AGAIN: Micros = Micros::from_secs(10);
/// How long nothing is read after the lake could not be written.
const WAIT: Micros = Micros::from_secs(2);
/// How many journals' positions are remembered; they spare decoding, and the lake knows them anyway.
const REMEMBERED: usize = 100_000;

/// What to do with a message that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Decode it and offer it to the lake, under this generation.
    Offer(u64),
    /// The lake has it.
    Known,
    /// The partition isn't ours any more.
    Foreign,
}

/// Where a partition is to be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first message that the topic still holds.
    Beginning,
    /// This offset.
    Offset(i64),
}

/// The reading of a partition from its beginning.
#[derive(Debug, Default, Clone, Copy)]
enum Search {
    /// There was none since the partition was assigned.
    #[default]
    Never,
    /// It is over when this offset has come, at which it was begun.
    UpTo(i64),
    /// When it was over.
    Over(Micros),
}

#[derive(Debug, Default)]
struct Partition {
    /// Offsets of messages that were taken, in order, and whether they are done with.
    taken: VecDeque<(i64, bool)>,
    /// The last offset before the place of reading, if that is known.
    read: Option<i64>,
    search: Search,
    /// The offset after the last message that is done with, unless it was stored.
    store: Option<i64>,
}

/// How far the lake is in a journal, as far as that was told.
#[derive(Debug)]
struct Known {
    position: u64,
    told: Micros,
    /// Whether it waits to be told once more.
    is_due: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages that came.
    pub messages: u64,
    /// Those that the lake had.
    pub known: u64,
    /// Segments beyond a hole that the topic couldn't fill.
    pub holes: u64,
    /// Times that a partition was read from its beginning to fill a hole.
    pub searches: u64,
    /// Messages that can't be read.
    pub malformed: u64,
}

/// The machine. One per consumer.
#[derive(Debug)]
pub struct Intake {
    fences: Arc<Fences>,
    partitions: BTreeMap<i32, Partition>,
    known: BTreeMap<Journal, Known>,
    /// When the position of which journal is told once more, in order.
    due: VecDeque<(Micros, Journal)>,
    asked: BTreeMap<Journal, (Option<u64>, Micros)>,
    /// The first segment beyond a journal's hole: its first sequence, and where it stands.
    beyond: BTreeMap<Journal, (u64, i32, i64)>,
    tell: BTreeMap<Journal, Position>,
    seek: BTreeMap<i32, ReadFrom>,
    wait_until: Micros,
    figures: Figures,
}

impl Intake {
    /// One that reads nothing yet.
    pub fn new(fences: Arc<Fences>, now: Micros) -> Self {
        Self {
            fences,
            partitions: BTreeMap::new(),
            known: BTreeMap::new(),
            due: VecDeque::new(),
            asked: BTreeMap::new(),
            beyond: BTreeMap::new(),
            tell: BTreeMap::new(),
            seek: BTreeMap::new(),
            wait_until: now,
            figures: Figures::default(),
        }
    }

    /// A partition is ours to read.
    pub fn assigned(&mut self, partition: i32) {
        self.fences.renew(partition);
        self.partitions.insert(partition, Partition::default());
        self.seek.remove(&partition);
        // Another node may have gone on from here meanwhile; its lake may be another.
        self.forget();
    }

    /// A partition isn't ours any more: what was taken from it is not committed.
    pub fn revoked(&mut self, partition: i32) {
        self.fences.revoke(partition);
        self.partitions.remove(&partition);
        self.seek.remove(&partition);
        self.beyond.retain(|_, (_, stands_in, _)| *stands_in != partition);
    }

    /// The first sequence that the topic has beyond a journal's hole.
    pub fn beyond(&self, journal: &Journal) -> Option<u64> {
        self.beyond.get(journal).map(|(from, ..)| *from)
    }

    /// A message has come, with what its headers say.
    pub fn message(&mut self, partition: i32, offset: i64, header: &SegmentHeader, now: Micros) -> Take {
        let Some(generation) = self.fences.generation(partition) else { return Take::Foreign };
        let Some(state) = self.partitions.get_mut(&partition) else { return Take::Foreign };
        self.figures.messages += 1;
        state.read = Some(offset);
        if matches!(state.search, Search::UpTo(end) if offset >= end) {
            state.search = Search::Over(now);
        }
        let journal = Journal::of(header);
        let is_known = self.known.get(&journal).is_some_and(|known| header.to <= known.position);
        state.taken.push_back((offset, is_known));
        if !is_known {
            return Take::Offer(generation);
        }
        self.figures.known += 1;
        self.tell_again(journal, now);
        self.advance(partition);
        Take::Known
    }

    /// Whether a gap that stands at `offset`, over what its edge has freed, may be offered to the lake now. It waits for what stands
    /// before it; and if the partition has to be looked through first, that begins, and the gap comes again.
    pub fn may_take_freed(&mut self, partition: i32, offset: i64, journal: &Journal) -> bool {
        let Some(state) = self.partitions.get(&partition) else { return false };
        if !self.beyond.contains_key(journal) && matches!(state.search, Search::Never) {
            self.search(partition, offset);
            return false;
        }
        state.taken.front().is_some_and(|(first, _)| *first == offset)
    }

    /// A message has come that is no segment, or another than its headers say. It is let go.
    pub fn malformed(&mut self, partition: i32, offset: i64) {
        self.figures.malformed += 1;
        match self.partitions.get_mut(&partition) {
            Some(state) if !state.taken.iter().any(|(taken, _)| *taken == offset) => {
                state.taken.push_back((offset, true));
                self.advance(partition);
            }
            Some(_) => self.done(partition, offset),
            None => {}
        }
    }

    /// What has become of a segment that was offered under a generation.
    pub fn answer(
        &mut self,
        partition: i32,
        generation: u64,
        offset: i64,
        journal: &Journal,
        outcome: Outcome,
        now: Micros,
    ) {
        if self.fences.generation(partition) != Some(generation) {
            return;
        }
        match outcome {
            Outcome::Committed(position) => {
                self.reached(journal, position, now);
                self.done(partition, offset);
                self.go_on_beyond(journal, position);
            }
            Outcome::Refused(position, Refusal::Hole { from, .. }) => {
                if self.may_search(partition, now) {
                    self.search(partition, offset);
                } else {
                    self.let_go(journal, from, partition, offset);
                    self.ask(journal, position, now);
                    self.done(partition, offset);
                }
            }
            Outcome::Refused(_, Refusal::Untrue { .. }) => self.malformed(partition, offset),
            Outcome::Failed(..) => {
                self.wait_until = Micros(now.0.saturating_add(WAIT.0));
                let first = self.partitions.get(&partition).and_then(|state| state.taken.front());
                let from = first.map_or(offset, |(first, _)| *first);
                self.read_from(partition, ReadFrom::Offset(from));
            }
            Outcome::Fenced => {
                // Another way brings the same journal, and its part was taken back: so is ours.
                let first = self.partitions.get(&partition).and_then(|state| state.taken.front());
                let from = first.map_or(offset, |(first, _)| *first);
                self.read_from(partition, ReadFrom::Offset(from));
            }
        }
    }

    /// Where partitions are to be read from now; each is told once.
    pub fn seeks(&mut self) -> BTreeMap<i32, ReadFrom> {
        std::mem::take(&mut self.seek)
    }

    /// The offsets from which another consumer would have to go on; each is told once.
    pub fn stored(&mut self) -> Vec<(i32, i64)> {
        let offsets = self.partitions.iter_mut();
        offsets.filter_map(|(partition, state)| Some((*partition, state.store.take()?))).collect()
    }

    /// The positions to tell; each is told once, see [`Intake::untold`].
    pub fn positions(&mut self, now: Micros) -> BTreeMap<Journal, Position> {
        self.tell_due(now);
        std::mem::take(&mut self.tell)
    }

    /// A position could not be told; it will be, unless there is a newer one.
    pub fn untold(&mut self, journal: Journal, position: Position) {
        self.tell.entry(journal).or_insert(position);
    }

    /// Until when nothing is to be read.
    pub fn wait_until(&self) -> Micros {
        self.wait_until
    }

    /// What was counted.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Messages that are taken and not done with.
    pub fn under_way(&self) -> usize {
        self.partitions.values().map(|state| state.taken.len()).sum()
    }

    fn reached(&mut self, journal: &Journal, position: Option<u64>, now: Micros) {
        if self.known.len() >= REMEMBERED {
            self.forget();
        }
        if let Some(position) = position {
            let is_due = self.known.get(journal).is_some_and(|known| known.is_due);
            self.known.insert(journal.clone(), Known { position, told: now, is_due });
        }
        self.asked.remove(journal);
        self.tell.insert(journal.clone(), Position { sequence: position, needs: false });
    }

    fn forget(&mut self) {
        self.known.clear();
        self.due.clear();
    }

    /// Tells a position once more: now, or later if it was told just now.
    fn tell_again(&mut self, journal: Journal, now: Micros) {
        let Some(known) = self.known.get_mut(&journal).filter(|known| !known.is_due) else { return };
        if now - known.told >= TELL_AGAIN {
            known.told = now;
            // What is asked for says the same, and more.
            self.tell.entry(journal).or_insert(Position { sequence: Some(known.position), needs: false });
        } else {
            known.is_due = true;
            self.due.push_back((Micros(now.0.saturating_add(TELL_AGAIN.0)), journal));
        }
    }

    /// Tells those that were to be told later, unless they were told since.
    fn tell_due(&mut self, now: Micros) {
        while let Some((_, journal)) = self.due.pop_front_if(|(at, _)| *at <= now) {
            let Some(known) = self.known.get_mut(&journal) else { continue };
            known.is_due = false;
            if now - known.told >= TELL_AGAIN {
                self.tell_again(journal, now);
            }
        }
    }

    /// Asks the edge for what is missing, unless it was asked for that just now.
    fn ask(&mut self, journal: &Journal, position: Option<u64>, now: Micros) {
        self.figures.holes += 1;
        let asked = self.asked.get(journal);
        if asked.is_some_and(|(before, at)| *before == position && now - *at < ASK_AGAIN) {
            return;
        }
        if self.asked.len() >= REMEMBERED {
            self.asked.clear();
        }
        self.asked.insert(journal.clone(), (position, now));
        self.tell.insert(journal.clone(), Position { sequence: position, needs: true });
    }

    fn let_go(&mut self, journal: &Journal, from: u64, partition: i32, offset: i64) {
        if self.beyond.len() >= REMEMBERED {
            self.beyond.clear();
        }
        let first = self.beyond.entry(journal.clone()).or_insert((from, partition, offset));
        *first = (*first).min((from, partition, offset));
    }

    /// Reads what stands beyond a hole, once that is filled.
    fn go_on_beyond(&mut self, journal: &Journal, position: Option<u64>) {
        let next = position.map_or(1, |position| position + 1);
        let Some((_, partition, offset)) =
            self.beyond.get(journal).copied().filter(|(from, ..)| *from <= next)
        else {
            return;
        };
        self.beyond.remove(journal);
        let Some(state) = self.partitions.get(&partition) else { return };
        if state.read.is_some_and(|read| read < offset) {
            // It is still to come, with all that stands before it.
            return;
        }
        let first = state.taken.front().map_or(offset, |(first, _)| *first);
        self.read_from(partition, ReadFrom::Offset(first.min(offset)));
    }

    fn may_search(&self, partition: i32, now: Micros) -> bool {
        self.partitions.get(&partition).is_none_or(|state| match state.search {
            Search::Never => true,
            Search::UpTo(_) => false,
            Search::Over(at) => now - at >= SEARCH_AGAIN,
        })
    }

    fn search(&mut self, partition: i32, offset: i64) {
        self.figures.searches += 1;
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.search = Search::UpTo(offset);
        }
        self.read_from(partition, ReadFrom::Beginning);
    }

    fn read_from(&mut self, partition: i32, from: ReadFrom) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.taken.clear();
            state.read = match from {
                ReadFrom::Beginning => Some(-1),
                ReadFrom::Offset(offset) => Some(offset - 1),
            };
            self.fences.renew(partition);
            self.seek.insert(partition, from);
        }
    }

    fn done(&mut self, partition: i32, offset: i64) {
        if let Some(state) = self.partitions.get_mut(&partition)
            && let Some(taken) = state.taken.iter_mut().find(|(taken, _)| *taken == offset)
        {
            taken.1 = true;
        }
        self.advance(partition);
    }

    fn advance(&mut self, partition: i32) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        while let Some((offset, _)) = state.taken.pop_front_if(|(_, done)| *done) {
            state.store = Some(offset + 1);
        }
    }
}
