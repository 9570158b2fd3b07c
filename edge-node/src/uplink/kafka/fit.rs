//! Segments that fit into a message.

use bytes::Bytes;
use wattle_columns::Segment;
use wattle_wire::uplink::SegmentHeader;

use crate::uplink::LinkError;

/// What a message has beside a segment: key, headers, framing.
const AROUND: usize = 512;
/// A topic that takes less than this takes hardly a row.
const LEAST: usize = 64 << 10;

/// What was learned of the topic's limit; kept from one connection to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fit {
    learned: Option<usize>,
}

impl Fit {
    /// The largest segment that is sent, bytes.
    pub fn limit(&self, configured: usize) -> usize {
        self.learned.unwrap_or(configured).min(configured).saturating_sub(AROUND)
    }

    /// The brokers have refused a message of so many bytes.
    pub fn too_large(&mut self, bytes: usize) {
        self.learned = Some((bytes / 2).max(LEAST));
    }

    /// The next connection tries the configured size again.
    pub fn forget(&mut self) {
        self.learned = None;
    }
}

/// The segment, or, if it is larger than `limit`, its pieces in order.
pub(super) fn parts(
    header: SegmentHeader,
    bytes: Bytes,
    limit: usize,
) -> Result<Vec<(SegmentHeader, Bytes)>, LinkError> {
    if bytes.len() <= limit {
        return Ok(vec![(header, bytes)]);
    }
    let mut left = vec![Segment::decode(&bytes)?];
    let mut parts = Vec::new();
    while let Some(segment) = left.pop() {
        let bytes = segment.encode()?;
        if bytes.len() <= limit {
            parts.push((segment.header, bytes.into()));
            continue;
        }
        let after = segment.header.from.saturating_sub(1);
        let (first, second) =
            segment.halves().ok_or(LinkError::RowTooLarge { after, bytes: bytes.len(), limit })?;
        left.extend([second, first]);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use wattle_columns::SegmentBuilder;
    use wattle_wire::row::{Event, EventKind, Record, Row};
    use wattle_wire::uplink::Incarnation;
    use wattle_wire::{EdgeId, Micros, SiteId};

    use super::*;

    /// A segment of events whose texts don't compress.
    fn segment(rows: u64) -> (SegmentHeader, Bytes) {
        let mut builder = SegmentBuilder::new(EdgeId::new("edge-1").expect("name"), Incarnation(1));
        let mut noise = 1u64;
        for sequence in 1..=rows {
            let mut text = String::new();
            while text.len() < 500 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{noise:x}"));
            }
            let row =
                Row::Event(Event::new(SiteId::new("depot").expect("name"), None, EventKind::Malformed, text));
            builder.push(&Record { sequence, at_us: Micros(0), row }).expect("contiguous");
        }
        let segment = builder.finish().expect("not empty");
        (segment.header.clone(), segment.encode().expect("encodes").into())
    }

    #[test]
    fn pieces_fit_and_are_contiguous_and_hold_every_row() {
        let (header, bytes) = segment(1000);
        assert!(bytes.len() > 200_000, "{}", bytes.len());
        let parts = parts(header.clone(), bytes, 100_000).expect("it can be split");
        let mut next = header.from;
        let mut rows = 0;
        for (part, bytes) in &parts {
            assert!(bytes.len() <= 100_000);
            assert_eq!(part.from, next);
            next = part.to + 1;
            let segment = Segment::decode(bytes).expect("whole");
            assert_eq!(segment.header, *part);
            rows += segment.rows();
        }
        assert_eq!((next, rows), (header.to + 1, 1000));
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let (header, bytes) = segment(3);
        assert_eq!(parts(header.clone(), bytes.clone(), bytes.len()).expect("it fits"), [(header, bytes)]);
    }

    #[test]
    fn a_row_that_fits_in_no_message_is_named() {
        let (header, bytes) = segment(3);
        let error = parts(header, bytes, 100).expect_err("no row is that small").to_string();
        assert!(error.contains("after entry 0") && error.contains("max.message.bytes"), "{error}");
    }

    #[test]
    fn a_refused_size_is_halved_and_never_below_what_a_row_may_need() {
        let mut fit = Fit::default();
        assert_eq!(fit.limit(1_000_000), 1_000_000 - AROUND);
        fit.too_large(1_000_000);
        assert_eq!(fit.limit(1_000_000), 500_000 - AROUND);
        fit.too_large(100_000);
        assert_eq!(fit.limit(1_000_000), LEAST - AROUND);
    }
}
