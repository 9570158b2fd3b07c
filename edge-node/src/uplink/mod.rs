//! The way up, direct: sealed segments to one fog node over one Arrow Flight exchange that the edge dials.
//!
//! # Protocol
//! One `DoExchange` per connection, as [`wattle_wire::uplink`] lays it down: the edge greets with its name and the life of
//! its journal; the fog node answers how far the lake is; the edge frees its journal up to there and sends
//! what follows, oldest first. Each answer frees more.
//!
//! # Rules
//! - A segment is freed by an answer and by nothing else. When an answer is lost, the segment is sent again, and
//!   the fog node drops what it has.
//! - At most [`Options::max_in_flight`] segments and about [`Options::max_in_flight_bytes`] are sent and not
//!   answered; then the uplink waits, and rows wait on the disk.
//! - A connection that ends is dialled again after 0.2 s, doubling up to 10 s, each wait cut by chance; progress
//!   begins anew. It goes on for ever: how long a site may be alone is the journal's to say.
//! - A refused segment ends the connection; it is kept, and offered again after the wait.
//! - Each change of state is logged once, not each try.
//!
//! It holds no rows of its own and never blocks: disk is the business of the journal's owner, see [`Source`].

mod backoff;
mod exchange;
mod source;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

pub use exchange::LinkError;
pub use source::{Request, Source, SourceError};

use backoff::Backoff;

/// How the uplink connects.
#[derive(Debug, Clone)]
pub struct Options {
    /// The fog node, as `http://host:port`.
    pub fog: String,
    /// The most segments that are sent and not answered. Default 4.
    pub max_in_flight: usize,
    /// The bytes above which no further segment is sent until an answer comes. Default 16 MiB.
    pub max_in_flight_bytes: usize,
    /// The first wait before a new try. Default 0.2 s.
    pub first_wait: Duration,
    /// The longest wait before a new try. Default 10 s.
    pub longest_wait: Duration,
    /// How long dialling may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take while something is sent and not answered. Default 60 s.
    pub answer_timeout: Duration,
    /// How often an idle connection is probed, and how long a probe may take. Default 10 s.
    pub keep_alive: Duration,
}

impl Options {
    /// The defaults for a fog node.
    pub fn new(fog: impl Into<String>) -> Self {
        Self {
            fog: fog.into(),
            max_in_flight: 4,
            max_in_flight_bytes: 16 << 20,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// How the uplink stands, for the node's status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the fog node is connected and has greeted.
    pub connected: bool,
    /// The last sequence that the lake is known to have.
    pub committed: Option<u64>,
    /// How many times a connection was made.
    pub connections: u64,
    /// Why there is no connection; empty while there is one.
    pub reason: String,
}

/// What happens on a connection.
enum Progress {
    Connected { committed: Option<u64> },
    Committed(u64),
}

/// Sends segments until `shutdown` is ready or the journal's owner has gone. `status` always holds the newest state.
pub async fn run(
    options: Options,
    mut source: Source,
    status: watch::Sender<Status>,
    shutdown: impl Future<Output = ()>,
) {
    tokio::select! {
        () = shutdown => {}
        () = keep_connected(&options, &mut source, &status) => {}
    }
    status.send_modify(|status| {
        status.connected = false;
        "the node is stopping".clone_into(&mut status.reason);
    });
}

async fn keep_connected(options: &Options, source: &mut Source, status: &watch::Sender<Status>) {
    let mut backoff = Backoff::new(options.first_wait, options.longest_wait);
    loop {
        let mut advanced = false;
        let error = exchange::run(options, source, &mut |progress| {
            advanced |= matches!(progress, Progress::Committed(_));
            note_progress(options, status, progress);
        })
        .await;
        if matches!(error, LinkError::Source(SourceError::Closed)) {
            return;
        }
        if advanced {
            backoff.reset();
        }
        note_end(options, status, &error);
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

fn note_progress(options: &Options, status: &watch::Sender<Status>, progress: Progress) {
    status.send_modify(|status| match progress {
        Progress::Connected { committed } => {
            tracing::info!(fog = options.fog, ?committed, "uplink is connected");
            status.connected = true;
            status.committed = committed.or(status.committed);
            status.connections += 1;
            status.reason.clear();
        }
        Progress::Committed(sequence) => status.committed = Some(sequence),
    });
}

/// Logs the end of a connection, and a failed try only when its reason is another than before.
fn note_end(options: &Options, status: &watch::Sender<Status>, error: &LinkError) {
    let reason = error.to_string();
    status.send_modify(|status| {
        if status.connected || status.reason != reason {
            match error {
                LinkError::Refused { .. } | LinkError::Source(_) | LinkError::Address(_) => {
                    tracing::error!(fog = options.fog, reason, "uplink can't go on; rows wait on disk");
                }
                _ => tracing::warn!(fog = options.fog, reason, "uplink is down; rows wait on disk"),
            }
        }
        status.connected = false;
        status.reason = reason;
    });
}
