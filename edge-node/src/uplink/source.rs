//! Where the uplink gets its segments: from the journal's owner, over a bounded channel.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use wattle_wire::EdgeId;
use wattle_wire::uplink::{Incarnation, SegmentHeader};

/// What the uplink asks of the journal's owner.
#[derive(Debug)]
pub enum Request {
    /// The first segment with entries after a sequence, as [`Journal::read_after`](crate::journal::Journal::read_after)
    /// gives it; no answer when the disk fails, and the uplink asks again.
    Next {
        /// After which; none for the first of all.
        after: Option<u64>,
        /// Takes the segment, or nothing when none is sealed yet.
        reply: oneshot::Sender<Option<(SegmentHeader, Bytes)>>,
    },
    /// How far the lake is, for [`Journal::free`](crate::journal::Journal::free).
    Committed {
        /// The last sequence that every table has.
        sequence: u64,
        /// Takes what went wrong, in words for a person.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// The uplink's end of the channel to the journal's owner.
#[derive(Debug)]
pub struct Source {
    edge: EdgeId,
    incarnation: Incarnation,
    requests: mpsc::Sender<Request>,
    sealed: watch::Receiver<u64>,
}

/// Why the source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The journal's owner has gone: the node is stopping.
    #[error("the journal has been closed")]
    Closed,
    /// The journal could not do it now.
    #[error("the journal can't go on: {0}")]
    Journal(String),
}

impl Source {
    /// The source of one journal. `sealed` holds the last sealed sequence; each change wakes the uplink.
    pub fn new(
        edge: EdgeId,
        incarnation: Incarnation,
        requests: mpsc::Sender<Request>,
        sealed: watch::Receiver<u64>,
    ) -> Self {
        Self { edge, incarnation, requests, sealed }
    }

    /// Whose segments they are.
    pub fn edge(&self) -> &EdgeId {
        &self.edge
    }

    /// In which life of the journal.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The next segment after a sequence; waits until there is one. May be dropped at any await.
    pub(super) async fn next(&mut self, after: Option<u64>) -> Result<(SegmentHeader, Bytes), SourceError> {
        loop {
            // Seen before it is asked: what is sealed in between wakes the wait below.
            self.sealed.borrow_and_update();
            if let Some(segment) = self.now(after).await? {
                return Ok(segment);
            }
            self.sealed.changed().await.map_err(|_| SourceError::Closed)?;
        }
    }

    /// The next segment after a sequence, if there is one now. May be dropped at any await.
    pub(super) async fn now(
        &self,
        after: Option<u64>,
    ) -> Result<Option<(SegmentHeader, Bytes)>, SourceError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Next { after, reply }).await?;
        answer.await.map_err(|_| SourceError::Journal("it could not read its next segment".to_owned()))
    }

    /// Tells the journal how far the lake is.
    pub(super) async fn committed(&self, sequence: u64) -> Result<(), SourceError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Committed { sequence, reply }).await?;
        answer.await.map_err(|_| SourceError::Closed)?.map_err(SourceError::Journal)
    }

    async fn ask(&self, request: Request) -> Result<(), SourceError> {
        self.requests.send(request).await.map_err(|_| SourceError::Closed)
    }
}
