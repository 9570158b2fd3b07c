//! A message of the topic of segments.

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::EdgeId;
use wattle_wire::kafka::{EDGE_HEADER, FROM_HEADER, INCARNATION_HEADER, TO_HEADER};
use wattle_wire::row::{Gap, GapReason, Record, Row};
use wattle_wire::uplink::{Incarnation, SegmentHeader};

/// The digits of an incarnation.
const INCARNATION_DIGITS: usize = 32;

/// What the headers say of a segment.
///
/// # Errors
/// What is missing or can't be read.
pub(super) fn header_of(message: &BorrowedMessage<'_>) -> Result<SegmentHeader, &'static str> {
    let headers = message.headers().ok_or("it has no headers")?;
    let text = |key: &str| {
        let value = headers.iter().find(|header| header.key == key).and_then(|header| header.value)?;
        std::str::from_utf8(value).ok()
    };
    read(text(EDGE_HEADER), text(INCARNATION_HEADER), text(FROM_HEADER), text(TO_HEADER), message.key())
}

fn read(
    edge: Option<&str>,
    incarnation: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    key: Option<&[u8]>,
) -> Result<SegmentHeader, &'static str> {
    let edge = edge.and_then(|text| EdgeId::new(text).ok()).ok_or("its header wattle-edge is no name")?;
    if key != Some(edge.as_str().as_bytes()) {
        return Err("its key is another than its edge");
    }
    let incarnation = incarnation
        .filter(|text| text.len() == INCARNATION_DIGITS)
        .and_then(|text| u128::from_str_radix(text, 16).ok())
        .ok_or("its header wattle-incarnation is none")?;
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let from = number(from).ok_or("its header wattle-from is no number")?;
    let to =
        number(to).filter(|to| *to >= from).ok_or("its header wattle-to is no number after wattle-from")?;
    Ok(SegmentHeader { edge, incarnation: Incarnation(incarnation), from, to })
}

/// An edge that frees on delivery doesn't know what of it the topic still has: its gap ends where the topic goes on.
pub(super) fn up_to_what_stands_beyond(segment: Segment, beyond: Option<u64>) -> Segment {
    let SegmentHeader { edge, incarnation, from, to } = &segment.header;
    let Some(last) = beyond.map(|first| first - 1).filter(|last| (*from..*to).contains(last)) else {
        return segment;
    };
    let record = segment.records().ok().and_then(|records| <[Record; 1]>::try_from(records).ok());
    let Some([Record { at_us, row: Row::Gap(gap), .. }]) = record else { return segment };
    if gap.reason != GapReason::Freed {
        return segment;
    }
    let row = Row::Gap(Gap { to: last, ..gap });
    let mut builder = SegmentBuilder::new(edge.clone(), *incarnation);
    let pushed = builder.push(&Record { sequence: *from, at_us, row });
    pushed.ok().and_then(|()| builder.finish()).unwrap_or(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: &str = "0000000000000000000000000000f00d";

    #[test]
    fn headers_say_whose_segment_it_is_and_which() {
        let header = read(Some("e"), Some(LIFE), Some("3"), Some("9"), Some(b"e")).expect("whole");
        assert_eq!(
            (header.edge.as_str(), header.incarnation, header.from, header.to),
            ("e", Incarnation(0xf00d), 3, 9)
        );
    }

    #[test]
    fn whatever_is_missing_or_untrue_is_named() {
        for (edge, life, from, to, key, why) in [
            (None, Some(LIFE), Some("1"), Some("2"), "e", "wattle-edge"),
            (Some("e f"), Some(LIFE), Some("1"), Some("2"), "e f", "wattle-edge"),
            (Some("e"), Some(LIFE), Some("1"), Some("2"), "f", "key"),
            (Some("e"), Some("f00d"), Some("1"), Some("2"), "e", "wattle-incarnation"),
            (Some("e"), Some(LIFE), Some("-1"), Some("2"), "e", "wattle-from"),
            (Some("e"), Some(LIFE), Some("3"), Some("2"), "e", "wattle-to"),
        ] {
            let error = read(edge, life, from, to, Some(key.as_bytes())).expect_err("a mistake");
            assert!(error.contains(why), "{error}");
        }
    }
}
