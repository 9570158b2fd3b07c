//! One row or one gap for each number, whichever versions of a segment have come.
//!
//! An edge that runs out of room puts gaps in the place of rows that it has sent already, and of rows that stand in one table and
//! not in the next yet. So the same numbers may come in several versions, in any order, through several writers. What
//! stands in the other tables decides: `events` is written last, and where another commit than its own has brought
//! rows of these numbers, its gaps are made of what is nowhere, and not of what its segment says.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use wattle_columns::{Segment, ToldGap, gap_rows, told_gaps};
use wattle_wire::Micros;
use wattle_wire::row::GapReason;

use super::LakeError;
use super::columns::{texts, timestamps};
use super::error::Context as _;

/// What the other tables have of numbers that another commit may have brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The last of these numbers.
    pub(crate) to: u64,
    /// Which of them have a row there.
    pub(crate) numbers: BTreeSet<u64>,
}

/// The rows of a segment's events after `reached`, with gaps as they have to stand.
pub(crate) fn settled(
    segment: &Segment,
    reached: Option<u64>,
    standing: Option<&Standing>,
) -> Result<RecordBatch, LakeError> {
    let (batch, header) = (&segment.events, &segment.header);
    let after = reached.unwrap_or(0);
    let is_gap = is_gap(batch);
    let wanted: BooleanArray = is_gap
        .iter()
        .zip(sequences(batch))
        .map(|(gap, number)| Some(gap == Some(false) && number > after))
        .collect();
    let rows = filter_record_batch(batch, &wanted).columns("a segment")?;
    let said = gaps(batch)?;
    let standing = standing.filter(|standing| standing.to > after && standing.to >= header.from);
    let open = standing.map_or(after, |standing| standing.to) + 1;
    let mut gaps: Vec<_> = said.iter().filter_map(|gap| part(gap, open..=header.to)).collect();
    if let Some(standing) = standing {
        let mut present = standing.numbers.clone();
        present.extend(sequences(&rows));
        let at = arrival(segment);
        let range = header.from.max(after + 1)..=header.to.min(standing.to);
        gaps.extend(missing(&present, range).into_iter().map(|(from, to)| {
            let known = said.partition_point(|gap| gap.from <= from).checked_sub(1);
            let known = known.map(|index| &said[index]).filter(|gap| gap.to >= from);
            let (at_us, reason) =
                known.map_or((at, GapReason::Budget.as_str()), |gap| (gap.at_us, gap.reason.as_str()));
            ToldGap { at_us, from, to, reason: reason.to_owned() }
        }));
    }
    if gaps.is_empty() {
        return Ok(rows);
    }
    let gaps = gap_rows(&header.edge, header.incarnation, gaps);
    let all = concat_batches(&batch.schema(), [&rows, &gaps]).columns("a segment")?;
    let order = sort_to_indices(all.column(2), None, None).columns("a segment")?;
    take_record_batch(&all, &order).columns("a segment")
}

/// The part of a gap that is within a range.
fn part(gap: &ToldGap, range: RangeInclusive<u64>) -> Option<ToldGap> {
    let (from, to) = (gap.from.max(*range.start()), gap.to.min(*range.end()));
    (from <= to).then(|| ToldGap { from, to, ..gap.clone() })
}

fn is_gap(events: &RecordBatch) -> BooleanArray {
    texts(events, "kind").iter().map(|kind| Some(kind == Some("gap"))).collect()
}

/// The gaps among a segment's events, with the reasons that the edge gives, known here or not.
pub(crate) fn gaps(events: &RecordBatch) -> Result<Vec<ToldGap>, LakeError> {
    told_gaps(events).map_err(|error| ArrowError::ExternalError(Box::new(error))).columns("a segment")
}

/// When the first row came.
fn arrival(segment: &Segment) -> Micros {
    let Segment { readings, events, decisions, .. } = segment;
    let moments = [(readings, "arrived_at"), (events, "arrived_at"), (decisions, "decided_at")];
    let first = moments.iter().filter_map(|(batch, name)| timestamps(batch, name).values().first());
    Micros(first.min().copied().unwrap_or_default())
}

fn sequences(batch: &RecordBatch) -> impl Iterator<Item = u64> + '_ {
    batch.column(2).as_primitive::<Int64Type>().values().iter().map(|number| number.unsigned_abs())
}

/// The ranges of numbers within `range` that are not there; as long in the making as there are numbers that are.
fn missing(present: &BTreeSet<u64>, range: RangeInclusive<u64>) -> Vec<(u64, u64)> {
    let (mut next, end) = range.clone().into_inner();
    let mut missing = Vec::new();
    if next > end {
        return missing;
    }
    for number in present.range(range) {
        if *number > next {
            missing.push((next, number - 1));
        }
        next = number + 1;
    }
    if next <= end {
        missing.push((next, end));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_range_however_long() {
        let present = BTreeSet::from([3, 4, 9, 20]);
        assert_eq!(missing(&present, 1..=10), [(1, 2), (5, 8), (10, 10)]);
        assert_eq!(missing(&present, 3..=4), []);
        assert_eq!(missing(&BTreeSet::new(), 1..=1 << 62), [(1, 1 << 62)]);
        assert_eq!(missing(&present, RangeInclusive::new(5, 4)), []);
    }
}
