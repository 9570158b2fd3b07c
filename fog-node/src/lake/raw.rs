//! Segments into the three raw tables, over what a commit asks of a table: [`super::Lake`] gives it Delta tables, the
//! simulation of the whole line tables in memory that lose what wasn't made to last.
//!
//! An edge that runs out of room makes gaps of readings and decisions that are not in the lake yet, so the same numbers
//! may come again with other rows. Hence three rules, or a number could be nowhere, or a row and a gap at once:
//! - `events`, where gaps stand, is committed last: it never says that there is no gap before the other tables have the rows.
//! - A journal whose position moves under a commit is another writer's at the moment: nothing more of it is written, and
//!   the edge sends again what it has now.
//! - Where another commit than this one has brought rows of these numbers, gaps are made of what stands nowhere ([`settle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::RangeInclusive;

use arrow::array::RecordBatch;
use futures::future::try_join;
use wattle_columns::Segment;
use wattle_fog_core::clean::Limits;

use super::LakeError;
use super::admit::{Admitted, Journal, admit, after, any_hole, lacking};
use super::columns::{dated, judged};
use super::commit::{CommitReport, Guard};
use super::settle::{self, Standing};

/// How often a commit is tried again after another writer was first.
const MAX_ATTEMPTS: usize = 10;

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// It is in the table.
    Done,
    /// The table has gone on since the head; nothing was written.
    Outdated,
}

/// What a commit asks of a raw table.
pub trait RawTable: Sync {
    /// The end of the table's log: what an append goes onto.
    type Head: Send + Sync;

    /// Its name.
    fn name(&self) -> &'static str;

    /// The end as it was last seen here.
    fn head(&self) -> Self::Head;

    /// The end as it is now.
    fn refresh(&self) -> impl Future<Output = Result<Self::Head, LakeError>> + Send;

    /// The position that an application has at a head.
    fn position(
        &self,
        at: &Self::Head,
        app: &str,
    ) -> impl Future<Output = Result<Option<u64>, LakeError>> + Send;

    /// Which numbers of a journal within a range have a row in the table as it is now, on the disk.
    fn numbers(
        &self,
        journal: &Journal,
        range: RangeInclusive<u64>,
    ) -> impl Future<Output = Result<BTreeSet<u64>, LakeError>> + Send;

    /// Appends batches as one commit that carries `positions`; when it is done they are there whatever happens.
    fn append(
        &self,
        onto: &Self::Head,
        batches: Vec<RecordBatch>,
        positions: Vec<(String, u64)>,
    ) -> impl Future<Output = Result<Append, LakeError>> + Send;
}

/// What became of one table's part.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) rows: usize,
    fenced: BTreeSet<Journal>,
    /// The position of each journal before it.
    before: BTreeMap<Journal, Option<u64>>,
}

/// What a table lacks.
#[derive(Default)]
struct Lacking {
    batches: Vec<RecordBatch>,
    positions: Vec<(String, u64)>,
    /// As in [`Written`].
    before: BTreeMap<Journal, Option<u64>>,
}

/// What stands in the tables before `events` of numbers that it lacks, for the journals of which another commit has
/// brought some.
pub(super) type Settling = BTreeMap<Journal, Standing>;

/// A raw table's part of a segment, and what the fog node adds to its rows.
#[derive(Clone, Copy)]
pub(super) enum Raw {
    Readings,
    Events,
    Decisions,
}

impl Raw {
    fn after(
        self,
        segment: &Segment,
        reached: Option<u64>,
        standing: Option<&Standing>,
    ) -> Result<RecordBatch, LakeError> {
        match self {
            Self::Readings => after(&segment.readings, reached),
            Self::Events => settle::settled(segment, reached, standing),
            Self::Decisions => after(&segment.decisions, reached),
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

/// The raw tables of a lake, and what is held against their rows.
pub struct RawTables<'a, T> {
    /// Every reading.
    pub readings: &'a T,
    /// Every event.
    pub events: &'a T,
    /// Every decision.
    pub decisions: &'a T,
    /// The cleaning limits.
    pub limits: Limits,
}

impl<'a, T: RawTable> RawTables<'a, T> {
    fn all(&self) -> [&'a T; 3] {
        [self.readings, self.events, self.decisions]
    }

    /// How far every table has got in a journal, asked of the tables as they are now.
    ///
    /// # Errors
    /// When a table can't be read.
    pub async fn position(&self, journal: &Journal) -> Result<Option<u64>, LakeError> {
        for table in self.all() {
            table.refresh().await?;
        }
        self.lowest(&self.all().map(|table| (table, table.head())), journal).await
    }

    /// The lowest position of all tables at their heads.
    async fn lowest(
        &self,
        [readings, events, decisions]: &[(&'a T, T::Head); 3],
        journal: &Journal,
    ) -> Result<Option<u64>, LakeError> {
        let app = journal.app_id();
        let lowest = readings.0.position(&readings.1, &app).await?;
        let lowest = lowest.min(events.0.position(&events.1, &app).await?);
        Ok(lowest.min(decisions.0.position(&decisions.1, &app).await?))
    }

    /// See [`super::Lake::commit_guarded`]. One at a time for each writer of a lake.
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self, segments: Vec<Segment>, guard: Guard<'_>) -> Result<CommitReport, LakeError> {
        let mut before = self.known(&segments).await?;
        if any_hole(&segments, &before) {
            // Another writer may have filled it.
            for table in self.all() {
                table.refresh().await?;
            }
            before = self.known(&segments).await?;
        }
        let (mut journals, refused) = admit(segments, |journal| before.get(journal).copied().flatten());
        let mut report = CommitReport { positions: before, refused, ..CommitReport::default() };
        let none = Settling::new();
        let (readings, decisions) = try_join(
            self.commit_table(self.readings, Raw::Readings, &journals, &none, guard),
            self.commit_table(self.decisions, Raw::Decisions, &journals, &none, guard),
        )
        .await?;
        report.fenced = readings.fenced.union(&decisions.fenced).cloned().collect();
        journals.retain(|journal, _| !report.fenced.contains(journal));
        let (settling, unknown) = self.settling(&journals, &readings, &decisions).await?;
        journals.retain(|journal, _| !unknown.contains(journal));
        report.fenced.extend(unknown);
        let events = self.commit_table(self.events, Raw::Events, &journals, &settling, guard).await?;
        report.fenced.extend(events.fenced);
        report.readings = readings.rows;
        report.rows = readings.rows + events.rows + decisions.rows;
        for (journal, segments) in journals.iter().filter(|(journal, _)| !report.fenced.contains(*journal)) {
            let reached = segments.iter().map(|segment| segment.header.to).max();
            let position = report.positions.entry(journal.clone()).or_default();
            *position = (*position).max(reached);
        }
        Ok(report)
    }

    /// What the events of these journals have to be settled with, and the journals of which that can't be told now. Nothing
    /// but for what a commit left that was cut off, or what another writer has brought.
    async fn settling(
        &self,
        journals: &Admitted,
        readings: &Written,
        decisions: &Written,
    ) -> Result<(Settling, BTreeSet<Journal>), LakeError> {
        let (mut settling, mut unknown) = (Settling::new(), BTreeSet::new());
        let head = self.events.head();
        for (journal, segments) in journals {
            let before = |written: &Written| written.before.get(journal).copied().flatten();
            let others = before(readings).max(before(decisions)).unwrap_or(0);
            let to = segments.iter().map(|segment| segment.header.to).max().unwrap_or(0).min(others);
            let position = self.events.position(&head, &journal.app_id()).await?.unwrap_or(0);
            if to <= position {
                continue;
            }
            match self.standing(journal, position + 1..=to).await {
                Ok(numbers) => drop(settling.insert(journal.clone(), Standing { to, numbers })),
                Err(error) => {
                    tracing::error!(%error, edge = %journal.edge, "rows of a cut commit can't be read back");
                    unknown.insert(journal.clone());
                }
            }
        }
        Ok((settling, unknown))
    }

    async fn standing(
        &self,
        journal: &Journal,
        range: RangeInclusive<u64>,
    ) -> Result<BTreeSet<u64>, LakeError> {
        let mut numbers = self.readings.numbers(journal, range.clone()).await?;
        numbers.append(&mut self.decisions.numbers(journal, range).await?);
        Ok(numbers)
    }

    /// The position of each journal that segments are of.
    async fn known(&self, segments: &[Segment]) -> Result<BTreeMap<Journal, Option<u64>>, LakeError> {
        let journals: BTreeSet<_> = segments.iter().map(|segment| Journal::of(&segment.header)).collect();
        let heads = self.all().map(|table| (table, table.head()));
        let mut known = BTreeMap::new();
        for journal in journals {
            let position = self.lowest(&heads, &journal).await?;
            known.insert(journal, position);
        }
        Ok(known)
    }

    pub(super) async fn commit_table(
        &self,
        table: &T,
        raw: Raw,
        journals: &Admitted,
        settling: &Settling,
        guard: Guard<'_>,
    ) -> Result<Written, LakeError> {
        let mut head = table.head();
        let mut fenced = BTreeSet::new();
        for attempt in 0..MAX_ATTEMPTS {
            fenced.extend(journals.keys().filter(|journal| !guard(journal)).cloned());
            let Lacking { batches, positions, before } =
                self.still_lacking(table, &head, raw, journals, settling, &fenced).await?;
            if positions.is_empty() {
                return Ok(Written { rows: 0, fenced, before });
            }
            let rows = batches.iter().map(RecordBatch::num_rows).sum();
            match table.append(&head, batches, positions).await? {
                Append::Done => return Ok(Written { rows, fenced, before }),
                Append::Outdated => {
                    let newer = table.refresh().await?;
                    for journal in journals.keys() {
                        let app = journal.app_id();
                        if table.position(&newer, &app).await? != table.position(&head, &app).await? {
                            fenced.insert(journal.clone());
                        }
                    }
                    head = newer;
                }
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
        table: &T,
        head: &T::Head,
        raw: Raw,
        journals: &Admitted,
        settling: &Settling,
        fenced: &BTreeSet<Journal>,
    ) -> Result<Lacking, LakeError> {
        let mut lacks = Lacking::default();
        for (journal, segments) in journals.iter().filter(|(journal, _)| !fenced.contains(*journal)) {
            let app = journal.app_id();
            let position = table.position(head, &app).await?;
            lacks.before.insert(journal.clone(), position);
            let standing = settling.get(journal);
            let after = |segment: &Segment, reached| raw.after(segment, reached, standing);
            if let Some((rows, reached)) = lacking(segments, position, after)? {
                for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
                    lacks.batches.push(raw.finished(batch, self.limits)?);
                }
                lacks.positions.push((app, reached));
            }
        }
        Ok(lacks)
    }
}
