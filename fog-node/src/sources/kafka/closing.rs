//! The end of a consumer, which may take as long as its coordinator is away.
//!
//! librdkafka keeps the offsets before it leaves the group, and tries that again without end while no broker answers. So
//! each consumer is closed on a thread of its own. Who stops waits for [`LIMIT`] and goes on: the process may end, and what comes
//! again is known to the lake. Who begins anew waits until the last consumer is closed: so there is never more than one of those.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::listener::Listener;

/// How long a source that stops waits for its consumer to leave the group.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A consumer that is being closed.
pub(super) struct Closing(Receiver<()>);

impl Closing {
    /// Begins to close it.
    ///
    /// # Errors
    /// When the system has no thread for it. Then it was closed here.
    pub(super) fn start(consumer: BaseConsumer<Listener>) -> std::io::Result<Self> {
        let (done, over) = channel::<()>();
        let close = move || {
            drop(consumer);
            drop(done);
        };
        std::thread::Builder::new().name("kafka-closing".into()).spawn(close)?;
        Ok(Self(over))
    }

    /// Whether it is closed, now or within `span`.
    pub(super) fn is_over_within(&self, span: Duration) -> bool {
        matches!(self.0.recv_timeout(span), Err(RecvTimeoutError::Disconnected))
    }
}
