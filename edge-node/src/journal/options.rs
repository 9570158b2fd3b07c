//! How a journal is kept, and how it stands.

use std::path::PathBuf;

use wattle_wire::uplink::Incarnation;
use wattle_wire::{EdgeId, Micros, Millis};

/// How much larger rows are in the log than sealed, at least; measured.
const LOG_PER_SEALED: u64 = 4;

/// What [`Journal::sync`](super::Journal::sync) makes of rows before it calls them durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Each call waits for the disk: what it returns survives a loss of power.
    Batch,
    /// The disk is waited for at most once in this time: a loss of power may cost the rows since, a kill none.
    Interval(Millis),
    /// The disk is waited for only when a log file is closed: a loss of power may cost a few seconds of rows.
    Off,
}

impl SyncPolicy {
    /// How configuration and status write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Interval(_) => "interval",
            Self::Off => "off",
        }
    }
}

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder, for it alone; made if it isn't there.
    pub dir: PathBuf,
    /// Whose journal it is.
    pub edge: EdgeId,
    /// The most that log and segments may take on disk, bytes. Default 1 GiB.
    pub budget_bytes: u64,
    /// The size of a sealed segment under full load, bytes, 1 to 8 MiB. Default 2 MiB.
    pub segment_bytes: u64,
    /// The age at which rows are sealed while the lake keeps up. Default 3 s.
    pub seal_after_ms: Millis,
    /// What durable means. Default [`SyncPolicy::Batch`].
    pub sync: SyncPolicy,
    /// The most that waits in memory for the disk, bytes; above it rows are refused. Default 8 MiB.
    pub buffer_bytes: usize,
    /// How many sites write keyframes to it; until each has, the log that was there stays. Default 0.
    pub sites: usize,
    /// The life of a journal that is made anew; random where none is given. Default none.
    pub life: Option<Incarnation>,
    /// Whether it is what a copy holds of its former life, see [`former`](super::former): the lake may be ahead of it, since
    /// the original has gone on. Default no.
    pub is_former: bool,
}

impl Options {
    /// The defaults for a folder and an edge.
    pub fn new(dir: impl Into<PathBuf>, edge: EdgeId) -> Self {
        Self {
            dir: dir.into(),
            edge,
            budget_bytes: 1 << 30,
            segment_bytes: 2 << 20,
            seal_after_ms: Millis(3_000),
            sync: SyncPolicy::Batch,
            buffer_bytes: 8 << 20,
            sites: 0,
            life: None,
            is_former: false,
        }
    }

    /// The length at which a log file is closed.
    pub(super) fn log_bytes(&self) -> u64 {
        // Log goes by whole files: several fit into the budget.
        let most = (self.budget_bytes / 16).max(1 << 12);
        (self.segment_bytes.clamp(1 << 10, 8 << 20) * LOG_PER_SEALED).min(most)
    }
}

/// How a journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The sequence that the next row gets.
    pub next_sequence: u64,
    /// The last sequence that is durable as the policy says; 0 for none.
    pub durable: u64,
    /// The last sequence that is sealed; 0 for none.
    pub sealed_to: u64,
    /// The last sequence that the lake has; 0 for none.
    pub committed: u64,
    /// How many entries the lake doesn't have yet.
    pub depth: u64,
    /// What log and segments take on disk, bytes.
    pub bytes: u64,
    /// What waits in memory for the disk, bytes.
    pub buffered_bytes: usize,
    /// When the oldest entry that the lake doesn't have was taken, to the segment; none when it has all.
    pub oldest_at: Option<Micros>,
    /// How many entries went under the byte budget since the journal was opened.
    pub dropped: u64,
    /// How many entries were found damaged since the journal was opened, its opening included.
    pub damaged: u64,
    /// How many sealed segments wait for the lake.
    pub segments: usize,
    /// How many seconds of rows still fit into the budget, at the rate since the journal was opened.
    pub seconds_left: Option<u64>,
}
