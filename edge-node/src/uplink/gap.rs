//! A segment that says that entries are no more.

use bytes::Bytes;
use wattle_columns::{SegmentBuilder, SegmentError};
use wattle_wire::row::{Gap, GapReason, Record, Row};
use wattle_wire::uplink::{Incarnation, SegmentHeader};
use wattle_wire::{EdgeId, Micros};

/// The segment of a gap over entries that the journal had freed; its moment is now.
///
/// # Errors
/// When the range ends before it begins.
pub fn freed(
    edge: &EdgeId,
    incarnation: Incarnation,
    from: u64,
    to: u64,
) -> Result<(SegmentHeader, Bytes), SegmentError> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at_us = Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let row = Row::Gap(Gap { from, to, reason: GapReason::Freed });
    let mut builder = SegmentBuilder::new(edge.clone(), incarnation);
    builder.push(&Record { sequence: from, at_us, row })?;
    let segment = builder.finish().expect("one record was pushed");
    Ok((segment.header.clone(), segment.encode()?.into()))
}
