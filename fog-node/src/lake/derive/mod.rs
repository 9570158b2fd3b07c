//! The derived tables: what has changed in the raw tables since the last time, and only that, computed anew.
//!
//! - Read: the rows of the files that were added since the version that the derived table's last commit carries.
//! - Compute: the minutes and the sessions that such a row can change, whole, from the raw rows, by the functions
//!   of `wattle-fog-core`.
//! - Write: a new revision of each that came out otherwise than its newest revision, in one commit that carries the
//!   raw versions (`derived/<raw table>`). A revision equal to the one before it is never written.
//!
//! So a derived table is a function of the raw ones, however often the node was killed; a crash before the
//! commit leaves the version as it was, and the same rows are derived again. Where the raw log doesn't reach back
//! to that version any more, everything is derived again and only differences are written.

mod intervals;
mod query;
mod session_rows;
mod sessions;

use super::error::Failures;
use super::raw::Append;
use super::table::Table;
use super::{Lake, LakeError};

/// How often a derivation is done again after another writer was first.
const MAX_ATTEMPTS: usize = 3;

/// The position under which a derived table keeps the version of `readings_raw`.
const FROM_READINGS: &str = "derived/readings_raw";
/// The same of `events`.
const FROM_EVENTS: &str = "derived/events";

/// Up to which raw versions nothing is left to derive. It may be ahead of what the tables carry: versions
/// that change nothing aren't worth a commit.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    intervals: Option<u64>,
    sessions: Option<(u64, u64)>,
}

/// What a derivation has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeriveReport {
    /// Revisions of intervals.
    pub intervals: usize,
    /// Revisions of sessions.
    pub sessions: usize,
}

impl Lake {
    /// Brings the derived tables up to the raw ones, each whatever becomes of the other.
    ///
    /// # Errors
    /// When a table can't be read or written; the next call does what this one didn't.
    pub async fn derive(&self) -> Result<DeriveReport, LakeError> {
        let mut progress = self.deriving.lock().await;
        let mut failures = Failures::default();
        let intervals = failures.note(self.derive_intervals(&mut progress).await).unwrap_or_default();
        let sessions = failures.note(self.derive_sessions(&mut progress).await).unwrap_or_default();
        failures.or(DeriveReport { intervals, sessions })
    }
}

/// The later of what is remembered and what the table carries.
async fn derived_to(table: &Table, remembered: Option<u64>, raw: &str) -> Result<Option<u64>, LakeError> {
    let snapshot = table.reload().await?;
    Ok(remembered.max(table.position(&table.head_at(&snapshot)?, raw).await?))
}

fn contended(table: &Table) -> LakeError {
    LakeError::Contended { table: table.name(), attempts: MAX_ATTEMPTS }
}
