//! Segments into the raw tables: one commit per table, with the positions reached. How is [`super::raw`]'s.

use std::collections::{BTreeMap, BTreeSet};

use wattle_columns::Segment;
use wattle_wire::uplink::SegmentHeader;

use super::admit::{Journal, Refusal};
use super::raw::RawTables;
use super::table::Table;
use super::{Lake, LakeError};

/// What a commit has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// How far every raw table is now, for each journal that segments were given of.
    pub positions: BTreeMap<Journal, Option<u64>>,
    /// Rows that were written, in all tables.
    pub rows: usize,
    /// Readings among them.
    pub readings: usize,
    /// The segments that were not taken, with the reason.
    pub refused: Vec<(SegmentHeader, Refusal)>,
    /// The journals that were no longer ours to write, or that another writer was at too: their segments are not taken, in
    /// some tables at least.
    pub fenced: BTreeSet<Journal>,
}

/// Whether a journal's segments may still be written; asked before each try.
pub type Guard<'a> = &'a (dyn Fn(&Journal) -> bool + Send + Sync);

impl Lake {
    /// Commits segments: of each row that a raw table lacks, one row. Segments may come in any order, twice, and of
    /// several journals; those that are untrue or would leave a hole are refused and don't hold up the
    /// others. When this returns, the rows are on the disk.
    ///
    /// # Errors
    /// When a table can't be read or written: each table has then all of its part or nothing, and committing the same
    /// segments again completes it.
    pub async fn commit(&self, segments: Vec<Segment>) -> Result<CommitReport, LakeError> {
        self.commit_guarded(segments, &|_| true).await
    }

    /// As [`Lake::commit`], for segments whose source may be taken away meanwhile. `guard` is asked about each journal right
    /// before every try to write it: once it says no, nothing more of that journal is written.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_guarded(
        &self,
        segments: Vec<Segment>,
        guard: Guard<'_>,
    ) -> Result<CommitReport, LakeError> {
        let _alone = self.committing.lock().await;
        self.raw_tables().commit(segments, guard).await
    }

    pub(super) fn raw_tables(&self) -> RawTables<'_, Table> {
        let Self { readings, events, decisions, limits, .. } = self;
        RawTables { readings, events, decisions, limits: *limits }
    }
}
