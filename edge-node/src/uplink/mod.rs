//! The way up: sealed segments to the lake, direct to one fog node or through Kafka.
//!
//! # Direct
//! One `DoExchange` per connection, as [`wattle_wire::uplink`] lays it down: the edge greets with its name and the life of
//! its journal; the fog node answers how far the lake is; the edge frees its journal up to there and sends
//! what follows, oldest first. Each answer frees more.
//!
//! # Kafka
//! As [`wattle_wire::kafka`] lays it down: the edge reads its position from a compacted topic, then sends what follows to
//! its partition of the topic of segments, and goes on hearing positions. See [`kafka`].
//!
//! # Rules
//! - What is sent next and what is freed is decided by [`sender`], the same for both ways.
//! - A segment is freed by the lake's position and by nothing else, unless the option says that Kafka's delivery is
//!   enough. When an answer is lost, the segment is sent again, and the fog node drops what it has.
//! - At most [`Options::max_in_flight`] segments and about [`Options::max_in_flight_bytes`] are sent and not
//!   confirmed; then the uplink waits, and rows wait on the disk. It sends at most [`Options::bytes_per_second`].
//! - A connection that ends is dialled again after 0.2 s, doubling up to 10 s, each wait cut by chance; progress
//!   begins anew. It goes on for ever: how long a site may be alone is the journal's to say.
//! - A refused segment ends the connection; it is kept, and offered again after the wait.
//! - Each change of state is logged once, not each try.
//!
//! It holds no rows of its own and never blocks: disk is the business of the journal's owner, see [`Source`].

pub(crate) mod backoff;
mod clock;
pub(crate) mod direct;
mod error;
pub mod gap;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod sender;
mod source;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

pub use direct::{Direct, Tls, rules as direct_rules};
pub use error::LinkError;
pub use source::{Request, Source, SourceError};

use backoff::Backoff;

/// Which way.
#[derive(Debug, Clone)]
pub enum Way {
    /// To one fog node.
    Direct(Direct),
    /// Through Kafka.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Kafka),
}

impl Way {
    /// How status and log name it.
    pub fn name(&self) -> &str {
        match self {
            Self::Direct(direct) => &direct.fog,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => &kafka.connection.brokers,
        }
    }
}

/// How the uplink sends.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which way.
    pub way: Way,
    /// The most segments that are sent and not confirmed. Default 16: as many as a log file under full load is sealed into, a few
    /// times.
    pub max_in_flight: usize,
    /// The bytes above which no further segment is sent until one is confirmed. Default 16 MiB.
    pub max_in_flight_bytes: usize,
    /// The most bytes a second, so that a link that has come back isn't flooded; 0 for no bound. Default 8 MiB.
    pub bytes_per_second: u64,
    /// The first wait before a new try. Default 0.2 s.
    pub first_wait: Duration,
    /// The longest wait before a new try. Default 10 s.
    pub longest_wait: Duration,
}

impl Options {
    /// The defaults for a fog node without encryption.
    pub fn new(fog: impl Into<String>) -> Self {
        Self::on(Way::Direct(Direct::new(fog)))
    }

    /// The defaults for a way.
    pub fn on(way: Way) -> Self {
        Self {
            way,
            max_in_flight: 16,
            max_in_flight_bytes: 16 << 20,
            bytes_per_second: 8 << 20,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// How the uplink stands, for the node's status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether what is at the other end answers.
    pub connected: bool,
    /// The last sequence that the lake is known to have.
    pub committed: Option<u64>,
    /// How many times a connection was made.
    pub connections: u64,
    /// Segments that were sent, those that were sent again included.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Segments that are sent and not confirmed.
    pub open: u64,
    /// Their bytes.
    pub open_bytes: u64,
    /// How often the lake or its silence made the uplink send again.
    pub resent: u64,
    /// Why there is no connection; empty while there is one.
    pub reason: String,
}

/// What happens on a connection.
enum Progress {
    Connected {
        committed: Option<u64>,
    },
    Committed(u64),
    Sent {
        bytes: usize,
    },
    Open((usize, usize)),
    #[cfg(feature = "kafka")]
    Resent,
    /// What is at the other end is out of reach, and the connection is kept.
    #[cfg(feature = "kafka")]
    Away(String),
    /// It is there again.
    #[cfg(feature = "kafka")]
    Back,
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
    #[cfg(feature = "kafka")]
    let mut fit = kafka::Fit::default();
    loop {
        let mut advanced = false;
        let mut progress = |progress| {
            advanced |= matches!(progress, Progress::Committed(_));
            note_progress(options, status, progress);
        };
        let error = match &options.way {
            Way::Direct(direct) => direct::run(direct, options, source, &mut progress).await,
            #[cfg(feature = "kafka")]
            Way::Kafka(kafka) => kafka::run(kafka, options, &mut fit, source, &mut progress).await,
        };
        if matches!(error, LinkError::Source(SourceError::Closed)) {
            return;
        }
        if advanced {
            backoff.reset();
        }
        let serious = matches!(
            error,
            LinkError::Refused { .. }
                | LinkError::Source(_)
                | LinkError::Address(_)
                | LinkError::RowTooLarge { .. }
        );
        note_down(options, status, error.to_string(), serious);
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

fn note_progress(options: &Options, status: &watch::Sender<Status>, progress: Progress) {
    match progress {
        Progress::Connected { committed } => {
            tracing::info!(to = options.way.name(), ?committed, "uplink is connected");
            status.send_modify(|status| {
                status.connected = true;
                status.committed = committed.or(status.committed);
                status.connections += 1;
                status.reason.clear();
            });
        }
        Progress::Committed(sequence) => status.send_modify(|status| status.committed = Some(sequence)),
        Progress::Sent { bytes } => status.send_modify(|status| {
            status.sent += 1;
            status.sent_bytes += bytes as u64;
        }),
        Progress::Open((segments, bytes)) => {
            let open = (segments as u64, bytes as u64);
            status.send_if_modified(|status| {
                let changed = (status.open, status.open_bytes) != open;
                (status.open, status.open_bytes) = open;
                changed
            });
        }
        #[cfg(feature = "kafka")]
        Progress::Resent => status.send_modify(|status| status.resent += 1),
        #[cfg(feature = "kafka")]
        Progress::Away(reason) => note_down(options, status, reason, false),
        #[cfg(feature = "kafka")]
        Progress::Back => {
            let back = status.send_if_modified(|status| {
                let was = std::mem::replace(&mut status.connected, true);
                status.reason.clear();
                !was
            });
            if back {
                tracing::info!(to = options.way.name(), "uplink is connected again");
            }
        }
    }
}

/// Logs the end of a connection, and a failed try only when its reason is another than before.
fn note_down(options: &Options, status: &watch::Sender<Status>, reason: String, serious: bool) {
    status.send_modify(|status| {
        if status.connected || what_is_wrong(&status.reason) != what_is_wrong(&reason) {
            if serious {
                tracing::error!(to = options.way.name(), reason, "uplink can't go on; rows wait on disk");
            } else {
                tracing::warn!(to = options.way.name(), reason, "uplink is down; rows wait on disk");
            }
        }
        status.connected = false;
        status.reason = reason;
    });
}

/// A reason without the particulars that librdkafka tells with it, which change with each of its tries.
fn what_is_wrong(reason: &str) -> &str {
    reason.split(" (").next().unwrap_or(reason)
}
