//! Numbered messages that wait for the edge's acknowledgement: a bounded ring.
//!
//! # Rules
//! - Messages stand in the order of their numbers, which is the order in which they are sent.
//! - Only an [`Ack`](wattle_wire::message::Ack) range that names a message frees it. MQTT's own PUBACK frees
//!   nothing: it speaks of the broker's memory, not of the edge's disk.
//! - At most `in_flight` messages are under way. One that was under way for the resend time is sent again, in its
//!   place; the time doubles with each such round and returns to its start when the edge is heard.
//! - A new connection sends everything again, in order.
//! - When the ring is full, the oldest reading makes room. A session step makes room only for a session step, when
//!   nothing else is left. A reading that meets a ring full of session steps is itself dropped. Each is counted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wattle_wire::topic::Channel;

use crate::config::LineConfig;

/// What a message is, as far as dropping is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Dropped first.
    Reading,
    /// Dropped last.
    Step,
}

impl Kind {
    /// The topic on which it goes.
    pub fn channel(self) -> Channel {
        match self {
            Self::Reading => Channel::Reading,
            Self::Step => Channel::Session,
        }
    }
}

/// A message that waits.
#[derive(Debug, Clone)]
struct Waiting {
    seq: u64,
    kind: Kind,
    payload: Vec<u8>,
    /// When it was last sent over this connection.
    sent_ms: Option<u64>,
}

/// How many messages were dropped unacknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Readings.
    pub readings: u64,
    /// Session steps.
    pub steps: u64,
}

/// The ring.
#[derive(Debug, Clone)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    capacity: usize,
    in_flight_max: usize,
    in_flight: usize,
    resend_ms: u64,
    resend_base_ms: u64,
    resend_max_ms: u64,
    dropped: Dropped,
    resent: u64,
}

impl Outbox {
    /// An empty ring. A capacity or a window of nothing counts as one.
    pub fn new(config: &LineConfig) -> Self {
        Self {
            waiting: VecDeque::new(),
            capacity: config.ring.max(1),
            in_flight_max: config.in_flight.max(1),
            in_flight: 0,
            resend_ms: config.resend_ms.max(1),
            resend_base_ms: config.resend_ms.max(1),
            resend_max_ms: config.resend_max_ms.max(config.resend_ms).max(1),
            dropped: Dropped::default(),
            resent: 0,
        }
    }

    /// Takes a message; `seq` is above all before it.
    pub fn push(&mut self, seq: u64, kind: Kind, payload: Vec<u8>) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.seq < seq));
        if self.waiting.len() >= self.capacity && !self.make_room(kind) {
            return;
        }
        self.waiting.push_back(Waiting { seq, kind, payload, sent_ms: None });
    }

    fn make_room(&mut self, kind: Kind) -> bool {
        let reading = self.waiting.iter().position(|w| w.kind == Kind::Reading);
        match (reading, kind) {
            (Some(index), _) => {
                self.dropped.readings += 1;
                self.remove(index);
                true
            }
            (None, Kind::Step) => {
                self.dropped.steps += 1;
                self.remove(0);
                true
            }
            (None, Kind::Reading) => {
                self.dropped.readings += 1;
                false
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if self.waiting.remove(index).is_some_and(|w| w.sent_ms.is_some()) {
            self.in_flight -= 1;
        }
    }

    /// Frees the messages from `from` to `to`, both included.
    pub fn acknowledge(&mut self, from: u64, to: u64) {
        let start = self.waiting.partition_point(|w| w.seq < from);
        let end = self.waiting.partition_point(|w| w.seq <= to);
        if start < end {
            let sent = self.waiting.drain(start..end).filter(|w| w.sent_ms.is_some()).count();
            self.in_flight -= sent;
        }
    }

    /// The edge was heard: the resend time returns to its start.
    pub fn heard(&mut self) {
        self.resend_ms = self.resend_base_ms;
    }

    /// A new connection: everything is to be sent again.
    pub fn reconnected(&mut self) {
        self.in_flight = 0;
        self.resend_ms = self.resend_base_ms;
        for waiting in &mut self.waiting {
            self.resent += u64::from(waiting.sent_ms.take().is_some());
        }
    }

    /// Marks what was under way for too long as not sent, and doubles the resend time if there was any.
    pub fn expire(&mut self, now_ms: u64) {
        let resend_ms = self.resend_ms;
        let over = |sent: u64| sent.saturating_add(resend_ms) <= now_ms;
        let mut late = 0;
        for waiting in self.sent_mut().filter(|w| w.sent_ms.is_some_and(over)) {
            waiting.sent_ms = None;
            late += 1;
        }
        if late > 0 {
            self.resend_ms = (self.resend_ms * 2).min(self.resend_max_ms);
        }
        self.in_flight -= late;
        self.resent += late as u64;
    }

    /// The next message to send, which from now on is under way: `(seq, kind, payload)`.
    pub fn send_next(&mut self, now_ms: u64) -> Option<(u64, Kind, &[u8])> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        let next = self.waiting.iter_mut().find(|w| w.sent_ms.is_none())?;
        next.sent_ms = Some(now_ms);
        self.in_flight += 1;
        Some((next.seq, next.kind, &next.payload))
    }

    /// When the first message that is under way has to be sent again.
    pub fn next_wakeup(&self) -> Option<u64> {
        self.sent().filter_map(|w| w.sent_ms).min().map(|sent| sent.saturating_add(self.resend_ms))
    }

    // What is under way stands in front, so these end early however long the ring is. Between them may stand
    // messages that are to be sent again, but not more than the window holds.
    fn sent(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().take(self.in_flight_max).filter(|w| w.sent_ms.is_some())
    }

    fn sent_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.waiting.iter_mut().take(self.in_flight_max)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// How many were sent again so far.
    pub fn resent(&self) -> u64 {
        self.resent
    }
}
