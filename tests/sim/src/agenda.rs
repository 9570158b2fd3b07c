//! Virtual time: what happens next, and when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::event::Event;
use crate::random::Random;

/// A millisecond, in the microseconds that everything here counts in.
pub const MS: u64 = 1_000;
/// A second.
pub const SECOND: u64 = 1_000 * MS;

/// Names one connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conn(pub u64);

/// Which way on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Towards whom was dialled.
    Up,
    /// Towards who dialled.
    Down,
}

/// The clock, what is to come in order of time, and the source of chance.
pub struct Agenda {
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    /// When the last message on a connection arrives: none overtakes another there.
    arrivals: BTreeMap<(Conn, Way), u64>,
    conns: u64,
    /// The one source of chance of the world.
    pub random: Random,
    /// How long a message takes at most, on the site and beyond.
    delays: (u64, u64),
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Agenda {
    /// Nothing is to come, at time 0.
    pub fn new(random: Random, delays: (u64, u64)) -> Self {
        let (queue, arrivals) = (BinaryHeap::new(), BTreeMap::new());
        Self { now: 0, order: 0, queue, arrivals, conns: 0, random, delays }
    }

    /// Microseconds since the world began.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Goes on to what comes next.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse(entry) = self.queue.pop()?;
        self.now = self.now.max(entry.at);
        Some(entry.event)
    }

    /// Something is to happen after so many microseconds.
    pub fn after(&mut self, wait: u64, event: impl Into<Event>) {
        self.at(self.now + wait, event.into());
    }

    /// Something is to happen soon, in an order that chance makes.
    pub fn soon(&mut self, event: impl Into<Event>) {
        let wait = self.random.below(3 * MS);
        self.after(wait, event);
    }

    /// A message goes over a connection of the site: it arrives after those before it.
    pub fn send(&mut self, conn: Conn, way: Way, event: impl Into<Event>) {
        self.send_within(self.delays.0, conn, way, event.into());
    }

    /// A message goes over a connection beyond the site: it arrives after those before it.
    pub fn send_far(&mut self, conn: Conn, way: Way, event: impl Into<Event>) {
        self.send_within(self.delays.1, conn, way, event.into());
    }

    fn send_within(&mut self, delay: u64, conn: Conn, way: Way, event: Event) {
        let at = self.now + 1 + self.random.below(delay);
        let last = self.arrivals.entry((conn, way)).or_default();
        *last = at.max(*last + 1);
        let at = *last;
        self.at(at, event);
    }

    /// A new connection.
    pub fn connection(&mut self) -> Conn {
        self.conns += 1;
        Conn(self.conns)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at, order: self.order, event }));
    }
}
