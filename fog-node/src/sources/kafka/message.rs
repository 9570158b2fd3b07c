//! A message of the topic of segments.

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::kafka::{EDGE_HEADER, FROM_HEADER, INCARNATION_HEADER, TO_HEADER};
use wattle_wire::row::{Gap, GapReason, Record, Row};
use wattle_wire::uplink::{Incarnation, SegmentHeader};
use wattle_wire::{EdgeId, Micros};

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

/// Whether a segment is nothing but a gap over what its edge has freed.
pub(super) fn is_freed(segment: &Segment) -> bool {
    freed(segment).is_some()
}

/// An edge that frees on delivery doesn't know what of it the topic still has: its gap ends where the topic goes on.
pub(super) fn up_to_what_stands_beyond(segment: Segment, beyond: Option<u64>) -> Segment {
    let SegmentHeader { edge, incarnation, from, to } = &segment.header;
    let Some(last) = beyond.map(|first| first - 1).filter(|last| (*from..*to).contains(last)) else {
        return segment;
    };
    let Some((at_us, gap)) = freed(&segment) else { return segment };
    let row = Row::Gap(Gap { to: last, ..gap });
    let mut builder = SegmentBuilder::new(edge.clone(), *incarnation);
    let pushed = builder.push(&Record { sequence: *from, at_us, row });
    pushed.ok().and_then(|()| builder.finish()).unwrap_or(segment)
}

/// The gap over what was freed that a segment is, and when it was made.
fn freed(segment: &Segment) -> Option<(Micros, Gap)> {
    if segment.events.num_rows() != 1 || segment.readings.num_rows() + segment.decisions.num_rows() > 0 {
        return None;
    }
    match <[Record; 1]>::try_from(segment.records().ok()?).ok()? {
        [Record { at_us, row: Row::Gap(gap), .. }] if gap.reason == GapReason::Freed => Some((at_us, gap)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wattle_wire::row::EventKind;

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

    /// A gap for a reason, and an event after it if that is wanted.
    fn gap(reason: GapReason, event: bool) -> Segment {
        let mut builder = SegmentBuilder::new(EdgeId::new("e").expect("a name"), Incarnation(1));
        let row = Row::Gap(Gap { from: 11, to: 30, reason });
        builder.push(&Record { sequence: 11, at_us: Micros(5), row }).expect("in order");
        if event {
            let site = wattle_wire::SiteId::new("depot").expect("a name");
            let event = wattle_wire::row::Event::new(site, None, EventKind::Malformed, "");
            let record = Record { sequence: 31, at_us: Micros(5), row: Row::Event(event) };
            builder.push(&record).expect("in order");
        }
        builder.finish().expect("not empty")
    }

    #[test]
    fn only_a_gap_over_what_was_freed_is_cut_to_what_the_topic_has_no_more() {
        let cut = |segment: Segment, beyond| up_to_what_stands_beyond(segment, beyond).header.to;
        for (beyond, to) in [(None, 30), (Some(21), 20), (Some(12), 11), (Some(11), 30), (Some(31), 30)] {
            assert_eq!(cut(gap(GapReason::Freed, false), beyond), to, "{beyond:?}");
        }
        assert!(is_freed(&gap(GapReason::Freed, false)));
        for (reason, event, to) in [(GapReason::Budget, false, 30), (GapReason::Freed, true, 31)] {
            assert!(!is_freed(&gap(reason, event)));
            assert_eq!(cut(gap(reason, event), Some(21)), to);
        }
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
