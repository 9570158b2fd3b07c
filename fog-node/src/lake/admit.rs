//! Which rows of which segments a table still lacks.
//!
//! Rules: what stands at or below the position is dropped; what begins after the next number is a hole and
//! refused; a segment is taken as it says it is only after its rows have been held against its header.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use wattle_columns::Segment;
use wattle_wire::EdgeId;
use wattle_wire::uplink::{Incarnation, SegmentHeader};

use super::LakeError;
use super::error::Context as _;
use super::settle;

/// The first number that a journal gives.
const FIRST: u64 = 1;

/// One life of one edge's journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journal {
    /// Whose.
    pub edge: EdgeId,
    /// Which life.
    pub incarnation: Incarnation,
}

impl Journal {
    /// The journal that a segment is of.
    pub fn of(header: &SegmentHeader) -> Self {
        Self { edge: header.edge.clone(), incarnation: header.incarnation }
    }

    /// Its name in the tables' transaction log: `<edge>/<incarnation>`.
    pub fn app_id(&self) -> String {
        format!("{}/{}", self.edge, self.incarnation)
    }
}

/// Why a segment was not taken. The text goes to the edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Entries are missing between the lake and the segment.
    #[error(
        "segment begins at {from}, and the lake needs {next} next: what lies between would be lost; send it first"
    )]
    Hole {
        /// Where the segment begins.
        from: u64,
        /// What the lake needs.
        next: u64,
    },
    /// The rows are not those that the header announces.
    #[error("segment {from}..={to} holds {what} that its header doesn't announce; it was not taken")]
    Untrue {
        /// As in the header.
        from: u64,
        /// As in the header.
        to: u64,
        /// `another edge's rows`, `numbers`, `a gap`.
        what: &'static str,
    },
}

/// Checks that every row of a segment is of its journal and within its range.
///
/// # Errors
/// What is untrue about it.
pub fn check(segment: &Segment) -> Result<(), Refusal> {
    let SegmentHeader { edge, incarnation, from, to } = &segment.header;
    let untrue = |what| Refusal::Untrue { from: *from, to: *to, what };
    let incarnation = incarnation.to_string();
    for batch in [&segment.readings, &segment.events, &segment.decisions] {
        let owned = all_are(batch, 0, edge.as_str()) && all_are(batch, 1, &incarnation);
        if !owned {
            return Err(untrue("another journal's rows"));
        }
        let sequences = batch.column(2).as_primitive::<Int64Type>();
        let within = |sequence: i64| u64::try_from(sequence).is_ok_and(|s| (*from..=*to).contains(&s));
        if !sequences.values().iter().all(|sequence| within(*sequence)) {
            return Err(untrue("numbers"));
        }
    }
    let told = settle::gaps(&segment.events).map_err(|_| untrue("a gap that can't be read"))?;
    if told.iter().any(|gap| gap.from > gap.to || gap.to > *to || gap.from < *from) {
        return Err(untrue("a gap"));
    }
    if *from < FIRST {
        return Err(untrue("the number 0"));
    }
    if i64::try_from(*to).is_err() {
        return Err(untrue("numbers beyond 63 bits"));
    }
    Ok(())
}

fn all_are(batch: &RecordBatch, column: usize, expected: &str) -> bool {
    batch.column(column).as_string::<i32>().iter().all(|value| value == Some(expected))
}

/// Segments by journal, in order.
pub(crate) type Admitted = BTreeMap<Journal, Vec<Segment>>;

/// Segments by journal, in order, without those that would leave a hole after `position`.
pub(crate) fn admit(
    segments: Vec<Segment>,
    position: impl Fn(&Journal) -> Option<u64>,
) -> (Admitted, Vec<(SegmentHeader, Refusal)>) {
    let mut refused = Vec::new();
    let mut journals: BTreeMap<Journal, Vec<Segment>> = BTreeMap::new();
    for segment in segments {
        match check(&segment) {
            Ok(()) => journals.entry(Journal::of(&segment.header)).or_default().push(segment),
            Err(refusal) => refused.push((segment.header, refusal)),
        }
    }
    for (journal, segments) in &mut journals {
        let mut next = next_after(position(journal));
        segments.sort_by_key(|segment| segment.header.from);
        segments.retain(|segment| {
            let SegmentHeader { from, to, .. } = segment.header;
            if from > next {
                refused.push((segment.header.clone(), Refusal::Hole { from, next }));
                return false;
            }
            next = next.max(to + 1);
            true
        });
    }
    journals.retain(|_, segments| !segments.is_empty());
    (journals, refused)
}

fn next_after(position: Option<u64>) -> u64 {
    position.map_or(FIRST, |position| position + 1)
}

/// Whether a segment stands beyond a hole after these positions, whatever the other segments fill.
pub(crate) fn any_hole(segments: &[Segment], positions: &BTreeMap<Journal, Option<u64>>) -> bool {
    let mut ranges: BTreeMap<Journal, Vec<(u64, u64)>> = BTreeMap::new();
    for segment in segments {
        let SegmentHeader { from, to, .. } = segment.header;
        ranges.entry(Journal::of(&segment.header)).or_default().push((from, to));
    }
    ranges.into_iter().any(|(journal, mut ranges)| {
        ranges.sort_unstable();
        let mut next = next_after(positions.get(&journal).copied().flatten());
        ranges.into_iter().any(|(from, to)| {
            let hole = from > next;
            next = next.max(to.saturating_add(1));
            hole
        })
    })
}

/// What one table lacks of one journal's segments after `position`, and the position that it leads to; nothing when the
/// table has all of it. `after` gives a segment's rows after a position.
pub(crate) fn lacking(
    segments: &[Segment],
    position: Option<u64>,
    after: impl Fn(&Segment, Option<u64>) -> Result<RecordBatch, LakeError>,
) -> Result<Option<(Vec<RecordBatch>, u64)>, LakeError> {
    let mut reached = position;
    let mut batches = Vec::new();
    for segment in segments {
        let to = segment.header.to;
        if reached.is_none_or(|reached| to > reached) {
            batches.push(after(segment, reached)?);
            reached = Some(to);
        }
    }
    Ok(if reached == position { None } else { reached.map(|reached| (batches, reached)) })
}

/// The rows of a batch after a position.
pub(crate) fn after(batch: &RecordBatch, reached: Option<u64>) -> Result<RecordBatch, LakeError> {
    let Some(reached) = reached else { return Ok(batch.clone()) };
    let sequences = batch.column(2).as_primitive::<Int64Type>();
    let lacks = |sequence: i64| u64::try_from(sequence).is_ok_and(|sequence| sequence > reached);
    let keep: BooleanArray = sequences.values().iter().map(|sequence| Some(lacks(*sequence))).collect();
    filter_record_batch(batch, &keep).columns("a segment")
}
