//! Segments into the raw tables: one commit per table, with the positions reached.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use futures::future::try_join3;
use wattle_columns::Segment;
use wattle_fog_core::clean::Limits;
use wattle_wire::uplink::SegmentHeader;

use super::admit::{Admitted, Journal, Refusal, admit, any_hole, lacking};
use super::columns::{dated, judged};
use super::head::Head;
use super::table::{Append, Table};
use super::{Lake, LakeError};

/// How often a commit is tried again after another writer was first.
const MAX_ATTEMPTS: usize = 10;

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
    /// The journals that were no longer ours to write: their segments are not taken, in some tables at least.
    pub fenced: BTreeSet<Journal>,
}

/// Whether a journal's segments may still be written; asked before each try.
pub type Guard<'a> = &'a (dyn Fn(&Journal) -> bool + Send + Sync);

/// What became of one table's part.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) rows: usize,
    fenced: BTreeSet<Journal>,
}

/// A raw table's part of a segment, and what the fog node adds to its rows.
#[derive(Clone, Copy)]
pub(super) enum Raw {
    Readings,
    Events,
    Decisions,
}

impl Raw {
    fn of(self, segment: &Segment) -> &RecordBatch {
        match self {
            Self::Readings => &segment.readings,
            Self::Events => &segment.events,
            Self::Decisions => &segment.decisions,
        }
    }

    fn finished(self, batch: &RecordBatch, limits: Limits) -> Result<RecordBatch, LakeError> {
        match self {
            Self::Readings => judged(batch, limits),
            Self::Events => dated(batch, limits),
            Self::Decisions => Ok(batch.clone()),
        }
    }
}

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
        let mut before = self.known(&segments).await?;
        if any_hole(&segments, &before) {
            // Another writer may have filled it.
            for table in self.raw() {
                table.refresh().await?;
            }
            before = self.known(&segments).await?;
        }
        let (journals, refused) = admit(segments, |journal| before.get(journal).copied().flatten());
        let mut report = CommitReport { positions: before, refused, ..CommitReport::default() };
        let written = try_join3(
            self.commit_table(&self.readings, Raw::Readings, &journals, guard),
            self.commit_table(&self.events, Raw::Events, &journals, guard),
            self.commit_table(&self.decisions, Raw::Decisions, &journals, guard),
        );
        let (readings, events, decisions) = written.await?;
        report.readings = readings.rows;
        report.rows = readings.rows + events.rows + decisions.rows;
        report.fenced =
            [readings, events, decisions].into_iter().flat_map(|written| written.fenced).collect();
        for (journal, segments) in journals.iter().filter(|(journal, _)| !report.fenced.contains(*journal)) {
            let reached = segments.iter().map(|segment| segment.header.to).max();
            let position = report.positions.entry(journal.clone()).or_default();
            *position = (*position).max(reached);
        }
        Ok(report)
    }

    /// The position of each journal that segments are of.
    async fn known(&self, segments: &[Segment]) -> Result<BTreeMap<Journal, Option<u64>>, LakeError> {
        let journals: BTreeSet<_> = segments.iter().map(|segment| Journal::of(&segment.header)).collect();
        let mut known = BTreeMap::new();
        for journal in journals {
            let position = self.lowest(&journal).await?;
            known.insert(journal, position);
        }
        Ok(known)
    }

    pub(super) async fn commit_table(
        &self,
        table: &Table,
        raw: Raw,
        journals: &Admitted,
        guard: Guard<'_>,
    ) -> Result<Written, LakeError> {
        let mut head = table.head();
        let mut fenced = BTreeSet::new();
        for attempt in 0..MAX_ATTEMPTS {
            fenced.extend(journals.keys().filter(|journal| !guard(journal)).cloned());
            let ours = journals.iter().filter(|(journal, _)| !fenced.contains(*journal));
            let (batches, positions) = self.still_lacking(table, &head, raw, ours).await?;
            if positions.is_empty() {
                return Ok(Written { rows: 0, fenced });
            }
            let rows = batches.iter().map(RecordBatch::num_rows).sum();
            match table.append(&head, batches, positions).await? {
                Append::Done => return Ok(Written { rows, fenced }),
                Append::Outdated => head = table.refresh().await?,
            }
            metrics::counter!("wattle_fog_commit_conflicts_total", "table" => table.name()).increment(1);
            tracing::warn!(
                table = table.name(),
                attempt,
                "another writer was first; looking again at what is lacking"
            );
        }
        Err(LakeError::Contended { table: table.name(), attempts: MAX_ATTEMPTS })
    }

    async fn still_lacking(
        &self,
        table: &Table,
        head: &Head,
        raw: Raw,
        journals: impl Iterator<Item = (&Journal, &Vec<Segment>)>,
    ) -> Result<(Vec<RecordBatch>, Vec<(String, u64)>), LakeError> {
        let (mut batches, mut positions) = (Vec::new(), Vec::new());
        for (journal, segments) in journals {
            let app = journal.app_id();
            let position = table.position(head, &app).await?;
            let parts = segments.iter().map(|segment| (&segment.header, raw.of(segment)));
            if let Some((rows, reached)) = lacking(parts, position)? {
                for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
                    batches.push(raw.finished(batch, self.limits)?);
                }
                positions.push((app, reached));
            }
        }
        Ok((batches, positions))
    }
}
