//! A batch of MQTT messages on its way from the broker to the disk.
//!
//! What is read from one connection in one go is a [`Batch`]. It is split by device; each piece carries a
//! [`Part`], and whoever makes that piece durable says [`Part::synced`]. When no part is left the ingress is
//! told, and acknowledges the batch's messages in the order in which they came.
//!
//! A part that is dropped any other way (an actor that stopped, a mailbox that is closed) marks its batch as
//! failed: nothing of it is acknowledged, and the broker delivers it again. So no way of losing a piece can
//! end in an acknowledgement.
//!
//! Bound: a batch holds a permit for each of its messages until it is dropped. There are
//! [`crate::mqtt::MAX_UNSYNCED`] permits; without one the MQTT client stops reading.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use tokio::sync::OwnedSemaphorePermit;

use crate::replies::Reply;

/// Messages that were read from one connection in one go.
pub struct Batch {
    /// Which connection's.
    pub lane: usize,
    /// Which life of that connection.
    pub generation: u64,
    /// What to acknowledge to the broker, in order of arrival; messages of QoS 0 have nothing here.
    pub pkids: Vec<u16>,
    parts: AtomicUsize,
    failed: AtomicBool,
    replies: Mutex<Vec<Reply>>,
    ingress: Box<dyn Listener>,
    _permits: Vec<OwnedSemaphorePermit>,
}

/// One piece of a [`Batch`]. It counts until it is dropped.
pub struct Part {
    batch: Arc<Batch>,
    synced: bool,
}

/// Tells the ingress that no part of a batch is left.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Settled {
    /// The connection whose oldest batches may be finished now.
    pub lane: usize,
}

/// Who is told that no part of a batch is left.
pub trait Listener: Send + Sync + 'static {
    /// The oldest batches of this connection may be finished now.
    fn settled(&self, lane: usize);
}

impl Listener for Recipient<Settled> {
    fn settled(&self, lane: usize) {
        // Goes past the mailbox's bound: there is one such message per batch, and batches are bounded.
        self.do_send(Settled { lane });
    }
}

/// The batches that are not acknowledged yet, for each lane in the order in which they came.
pub struct Unfinished {
    lanes: Vec<VecDeque<Arc<Batch>>>,
}

/// A part of a batch was lost: neither it nor a later batch of its lane may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Unfinished {
    /// No batch of so many lanes.
    pub fn new(lanes: usize) -> Self {
        Self { lanes: vec![VecDeque::new(); lanes] }
    }

    /// Takes up the newest batch of its lane.
    pub fn push(&mut self, batch: Arc<Batch>) {
        self.lanes[batch.lane].push_back(batch);
    }

    /// The oldest batch of a lane, if it is on the disk; from a lost one on there is none any more.
    pub fn pop_settled(&mut self, lane: usize) -> Option<Result<Arc<Batch>, Lost>> {
        let oldest = self.lanes[lane].front().filter(|batch| batch.is_settled())?;
        if oldest.has_failed() {
            return Some(Err(Lost));
        }
        self.lanes[lane].pop_front().map(Ok)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Batch {
    /// A batch with one part, which the ingress keeps while it hands out the others.
    pub fn open(
        lane: usize,
        generation: u64,
        pkids: Vec<u16>,
        permits: Vec<OwnedSemaphorePermit>,
        ingress: impl Listener,
    ) -> (Arc<Self>, Part) {
        let batch = Arc::new(Self {
            lane,
            generation,
            pkids,
            parts: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            replies: Mutex::new(Vec::new()),
            ingress: Box::new(ingress),
            _permits: permits,
        });
        let part = Self::part(&batch);
        (batch, part)
    }

    /// One more part. Only while another one is held, so that the batch can't settle in between.
    pub fn part(batch: &Arc<Self>) -> Part {
        batch.parts.fetch_add(1, Ordering::AcqRel);
        Part { batch: batch.clone(), synced: false }
    }

    /// Whether no part is left.
    pub fn is_settled(&self) -> bool {
        self.parts.load(Ordering::Acquire) == 0
    }

    /// Whether a part was lost on its way.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What to publish; empties the list.
    pub fn take_replies(&self) -> Vec<Reply> {
        std::mem::take(&mut self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Part {
    /// Adds what is to be published once the whole batch is on the disk.
    pub fn add_replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.batch.replies.lock().unwrap_or_else(PoisonError::into_inner).extend(replies);
    }

    /// The rows of this part are on the disk.
    pub fn synced(mut self) {
        self.synced = true;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.synced {
            self.batch.failed.store(true, Ordering::Release);
        }
        if self.batch.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.batch.ingress.settled(self.batch.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Listener for Nobody {
        fn settled(&self, _: usize) {}
    }

    #[test]
    fn batches_of_a_lane_are_finished_in_order_and_none_after_a_lost_one() {
        let mut unfinished = Unfinished::new(1);
        let mut parts: Vec<Option<Part>> = Vec::new();
        for pkid in 1..=4 {
            let (batch, part) = Batch::open(0, 0, vec![pkid], Vec::new(), Nobody);
            unfinished.push(batch);
            parts.push(Some(part));
        }
        let mut sync = |index: usize| parts[index].take().expect("held").synced();
        sync(1);
        assert!(unfinished.pop_settled(0).is_none(), "the one before it is not on the disk");
        sync(0);
        let mut next = || unfinished.pop_settled(0).map(|settled| settled.map(|batch| batch.pkids.clone()));
        assert_eq!((next(), next(), next()), (Some(Ok(vec![1])), Some(Ok(vec![2])), None));
        sync(3);
        drop(parts);
        assert_eq!((next(), next()), (Some(Err(Lost)), Some(Err(Lost))));
    }
}
