//! A segment in two, where one is too large for what carries it.

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use wattle_wire::uplink::SegmentHeader;

use crate::Segment;

impl Segment {
    /// Two segments that hold together what this one does, with about half of its rows each. None when there are fewer than two
    /// rows, or when all have one sequence.
    pub fn halves(&self) -> Option<(Self, Self)> {
        let mut sequences: Vec<u64> = [&self.readings, &self.events, &self.decisions]
            .into_iter()
            .flat_map(|batch| sequences(batch).iter().filter_map(|sequence| u64::try_from(*sequence).ok()))
            .collect();
        sequences.sort_unstable();
        let SegmentHeader { from, to, .. } = self.header;
        let middle = sequences.iter().skip(sequences.len() / 2).copied().find(|sequence| *sequence > from)?;
        // A row is in the first half when its sequence is below the middle's.
        let first = SegmentHeader { to: middle - 1, ..self.header.clone() };
        let second = SegmentHeader { from: middle, ..self.header.clone() };
        (middle <= to).then(|| (self.part(first), self.part(second)))
    }

    fn part(&self, header: SegmentHeader) -> Self {
        let cut = |batch: &RecordBatch| {
            let within = |sequence: i64| {
                u64::try_from(sequence).is_ok_and(|sequence| (header.from..=header.to).contains(&sequence))
            };
            let keep: BooleanArray =
                sequences(batch).iter().map(|sequence| Some(within(*sequence))).collect();
            filter_record_batch(batch, &keep).expect("the filter is as long as the batch")
        };
        let (readings, events, decisions) = (cut(&self.readings), cut(&self.events), cut(&self.decisions));
        Self { header, readings, events, decisions }
    }
}

fn sequences(batch: &RecordBatch) -> &[i64] {
    batch.column(2).as_primitive::<Int64Type>().values()
}
