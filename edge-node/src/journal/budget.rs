//! Keeping the byte budget: the oldest telemetry goes first; events and decisions last. Every drop is a gap.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::Int64Type;
use wattle_columns::{Segment, SegmentBuilder, SegmentError, ToldGap};
use wattle_wire::Micros;
use wattle_wire::row::{Gap, GapReason, Record, Row};
use wattle_wire::uplink::SegmentHeader;

use super::error::JournalError;
use super::log::remove;
use super::seal;
use super::segments::{self, Left, Sealed};
use super::{Journal, SealedRef};

impl Journal {
    /// Drops until log and segments are within the budget, or nothing is left that may be dropped.
    pub(super) fn keep_budget(&mut self, now: Micros) -> Result<(), JournalError> {
        let over = self.bytes() > self.options.budget_bytes;
        if over && !self.over_budget {
            tracing::error!(
                budget_bytes = self.options.budget_bytes,
                "journal has reached its byte budget and drops its oldest telemetry until the lake takes it"
            );
        }
        self.over_budget = over;
        while self.bytes() > self.options.budget_bytes && self.drop_some(now)? {}
        Ok(())
    }

    /// Where an error says that the disk is full: lets go of the log that nothing but a replay needs. Whether anything went.
    pub(super) fn makes_way(&mut self, error: &JournalError) -> bool {
        if !matches!(error, JournalError::DiskFull { .. }) {
            return false;
        }
        let before = self.log.closed().len();
        if let Err(error) = self.log.release(self.covered_to()) {
            tracing::warn!(%error, "log that is kept for a replay only stays on the full disk");
        }
        self.note_room();
        let went = before - self.log.closed().len();
        if went > 0 {
            tracing::warn!(
                files = went,
                "the disk is full: log that was kept for a replay only has made way"
            );
        }
        went > 0
    }

    /// One step of dropping; false when nothing is left to drop.
    fn drop_some(&mut self, now: Micros) -> Result<bool, JournalError> {
        let replay_bytes = self.log_bytes_to(self.covered_to());
        let list = &self.segments.list;
        if replay_bytes > self.options.budget_bytes / 4 {
            self.log.drop_oldest()?;
        } else if let Some(index) = list.iter().position(|sealed| sealed.left == Left::All) {
            self.drop_readings(index, now)?;
        } else if let Some(index) = list.iter().position(|sealed| sealed.left == Left::Events) {
            self.drop_segment(index, now)?;
        } else if replay_bytes > 0 {
            self.log.drop_oldest()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn drop_readings(&mut self, index: usize, now: Micros) -> Result<(), JournalError> {
        let Some(segment) = self.decoded(index)? else { return self.mend(index) };
        let readings = segment.readings.num_rows() as u64;
        if readings == 0 {
            self.segments.list[index].left = Left::Events;
            return Ok(());
        }
        let thin = without_readings(&segment, now)?;
        let written = seal::write(&self.place, thin.header.clone(), &thin.encode()?)?;
        self.dropped += readings;
        self.put(index, 1, written, Left::Events);
        Ok(())
    }

    /// Makes a gap of a segment, one with the gap before it.
    fn drop_segment(&mut self, index: usize, now: Micros) -> Result<(), JournalError> {
        let Some(segment) = self.decoded(index)? else { return self.mend(index) };
        let before = index.checked_sub(1).filter(|i| self.segments.list[*i].left == Left::Gaps);
        let first = before.unwrap_or(index);
        let old: Vec<_> = self.segments.list.range(first..=index).map(|s| s.segment.path.clone()).collect();
        let from = self.segments.list[first].segment.header.from;
        let header = SegmentHeader { from, ..segment.header.clone() };
        let gap = all_gap(header, GapReason::Budget, now)?;
        let written = seal::write(&self.place, gap.header.clone(), &gap.encode()?)?;
        self.dropped += entries(&segment);
        let new = written.path.clone();
        self.put(first, old.len(), written, Left::Gaps);
        old.iter().filter(|path| **path != new).try_for_each(|path| remove(&*self.place.disk, path))
    }

    fn decoded(&self, index: usize) -> Result<Option<Segment>, JournalError> {
        // It goes anyway: that it can't be read must not keep the journal above its budget.
        let bytes = segments::read(&self.place, &self.segments.list[index].segment, true)?;
        Ok(bytes.and_then(|bytes| Segment::decode(&bytes).ok()))
    }

    fn put(&mut self, index: usize, count: usize, segment: SealedRef, left: Left) {
        let oldest_at = self.segments.list[index].oldest_at;
        self.segments.replace(index, count, vec![Sealed { segment, oldest_at, left }]);
    }
}

/// What is left of a segment without its readings: in their place stand gaps, one for each run of numbers.
pub(super) fn without_readings(segment: &Segment, now: Micros) -> Result<Segment, SegmentError> {
    let gaps = gaps_for(&segment.header, &sequences(&segment.readings), now);
    let events = compute::concat_batches(&segment.events.schema(), [&segment.events, &gaps])?;
    Ok(Segment {
        header: segment.header.clone(),
        readings: segment.readings.slice(0, 0),
        events: by_sequence(&events)?,
        decisions: segment.decisions.clone(),
    })
}

/// A segment that is one gap.
pub(super) fn all_gap(
    header: SegmentHeader,
    reason: GapReason,
    now: Micros,
) -> Result<Segment, SegmentError> {
    let mut builder = SegmentBuilder::new(header.edge.clone(), header.incarnation);
    builder.push(&gap(header.from, header.to, reason, now))?;
    builder.finish().ok_or(SegmentError::Damaged("it has no entries"))
}

/// How many entries of a segment are no gaps.
pub(super) fn entries(segment: &Segment) -> u64 {
    let mut decisions = sequences(&segment.decisions);
    decisions.dedup();
    let events = segment.events.num_rows() - gap_rows(&segment.events);
    (segment.readings.num_rows() + events + decisions.len()) as u64
}

fn gap_rows(events: &RecordBatch) -> usize {
    let kinds = events.column_by_name("kind").map(|column| column.as_string::<i32>());
    kinds.map_or(0, |kinds| kinds.iter().flatten().filter(|kind| *kind == "gap").count())
}

fn sequences(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("sequence").map(|column| column.as_primitive::<Int64Type>());
    column.map_or_else(Vec::new, |column| column.values().to_vec())
}

fn gap(from: u64, to: u64, reason: GapReason, now: Micros) -> Record {
    Record { sequence: from, at_us: now, row: Row::Gap(Gap { from, to, reason }) }
}

/// One event row per run of dropped numbers.
fn gaps_for(header: &SegmentHeader, dropped: &[i64], now: Micros) -> RecordBatch {
    let runs = dropped.chunk_by(|a, b| a + 1 == *b).filter_map(|run| Some((*run.first()?, *run.last()?)));
    let gaps = runs.map(|(from, to)| {
        let gap = Gap { from: from.unsigned_abs(), to: to.unsigned_abs(), reason: GapReason::Budget };
        ToldGap::new(now, &gap)
    });
    wattle_columns::gap_rows(&header.edge, header.incarnation, gaps)
}

fn by_sequence(batch: &RecordBatch) -> Result<RecordBatch, SegmentError> {
    let Some(column) = batch.column_by_name("sequence") else { return Ok(batch.clone()) };
    let order = compute::sort_to_indices(column, None, None)?;
    Ok(compute::take_record_batch(batch, &order)?)
}
