//! What waits before a lake, by its size in memory.

use super::*;

use crate::lake::rows::{Journal as Rows, NOON};

/// Readings that are all alike but for their numbers: few bytes on the way, many in memory.
fn idle(readings: i64) -> Segment {
    let mut journal = Rows::new(7);
    for second in 0..readings {
        journal.reading("cp-1", NOON + second, 0, 0);
    }
    journal.cut()
}

#[tokio::test]
async fn segments_that_are_small_on_the_way_and_large_in_memory_are_let_in_by_what_they_become() {
    let segment = idle(20_000);
    let (encoded, needed) = (segment.encode().expect("encodes"), segment.memory_bytes());
    assert!(encoded.len() * 16 < needed, "{} bytes become {needed}", encoded.len());
    let told = Segment::memory_of(&encoded);
    assert!((needed..3 * needed).contains(&told), "{needed} bytes, and {told} were told");
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Arc::new(Lake::open(folder.path()).await.expect("a lake"));
    let limits = WriterLimits { queue_bytes: 4 * told, ..WriterLimits::default() };
    let (writer, _) = LakeWriter::start(lake, limits, Health::new());
    let rooms: Vec<_> = std::iter::from_fn(|| writer.try_reserve(&encoded)).take(100).collect();
    assert_eq!(rooms.len(), 4);
    drop(rooms);
    assert!(writer.try_reserve(&encoded).is_some(), "what isn't used is given back");
}

#[test]
fn what_is_no_segment_needs_no_more_than_its_own_bytes() {
    assert_eq!(Segment::memory_of(b""), 0);
    assert_eq!(Segment::memory_of(b"rubbish"), 7 * 16);
    let cut = &idle(100).encode().expect("encodes")[..40];
    assert_eq!(Segment::memory_of(cut), 40 * 16);
}
