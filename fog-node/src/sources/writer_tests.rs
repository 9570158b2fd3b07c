//! What waits before a lake, by its size in memory.

use tokio::sync::oneshot;
use tokio::time::timeout;
use wattle_wire::row::EventKind;

use super::*;

use crate::lake::guard_tests::{Stopped, counts, lake_on};
use crate::lake::rows::{Journal as Rows, NOON, edge};
use crate::sources::Fences;

const LONG: Duration = Duration::from_secs(60);
/// As long as nothing that is waited for takes.
const MOMENT: Duration = Duration::from_millis(10);

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

/// A reading, a decision and an event of a journal.
fn of_each(incarnation: u128) -> Segment {
    let mut journal = Rows::new(incarnation);
    journal.reading("cp-1", NOON, 0, 0).decision(NOON).event(NOON, EventKind::MeterStale, "");
    journal.cut()
}

/// Offers a segment; its outcome comes.
fn offer(writer: &LakeWriter, segment: Segment, fence: Option<Fence>) -> oneshot::Receiver<Outcome> {
    let (answer, outcome) = oneshot::channel();
    let room = writer.try_reserve(&segment.encode().expect("encodes")).expect("room");
    room.put(segment, fence, Box::new(move |outcome| drop(answer.send(outcome))));
    outcome
}

fn of_partition(fences: &Arc<Fences>, partition: i32) -> Fence {
    Fence { fences: fences.clone(), partition, generation: fences.renew(partition) }
}

async fn position(lake: &Lake, incarnation: u128) -> Option<u64> {
    lake.positions(&edge(), wattle_wire::uplink::Incarnation(incarnation)).await.expect("positions")
}

#[tokio::test]
async fn work_that_is_taken_away_while_it_gathers_leaves_no_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Arc::new(Lake::open(folder.path()).await.expect("a lake"));
    // It goes on gathering until the second segment has come.
    let limits = WriterLimits { interval: 60 * LONG, queue_segments: 2, ..WriterLimits::default() };
    let (writer, _) = LakeWriter::start(lake.clone(), limits, Health::new());
    let fences = Arc::new(Fences::default());
    let taken_away = offer(&writer, of_each(1), Some(of_partition(&fences, 0)));
    fences.revoke(0);
    assert!(fences.wait_for_commits(&[0], MOMENT), "no commit has begun");
    let others = offer(&writer, of_each(2), Some(of_partition(&fences, 1)));
    assert_eq!(timeout(LONG, taken_away).await.expect("in time"), Ok(Outcome::Fenced));
    assert_eq!(timeout(LONG, others).await.expect("in time"), Ok(Outcome::Committed(Some(3))));
    assert_eq!((position(&lake, 1).await, position(&lake, 2).await), (None, Some(3)));
    assert_eq!(counts(&lake).await, [(1, 1); 3], "only the other's");
}

#[tokio::test]
async fn a_commit_under_way_is_waited_for_and_goes_no_further_once_its_work_is_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(Stopped::default());
    let lake = Arc::new(lake_on(folder.path(), &disk).await);
    let limits = WriterLimits { interval: MOMENT, ..WriterLimits::default() };
    let (writer, _) = LakeWriter::start(lake.clone(), limits, Health::new());
    let fences = Arc::new(Fences::default());
    disk.stop(true);
    let outcome = offer(&writer, of_each(1), Some(of_partition(&fences, 0)));
    let end = Instant::now() + LONG;
    while !disk.is_waited_for() {
        assert!(Instant::now() < end, "it was to be committed");
        tokio::time::sleep(MOMENT).await;
    }
    fences.revoke(0);
    assert!(!fences.wait_for_commits(&[0], MOMENT), "it is under way");
    disk.stop(false);
    let over = fences.clone();
    let waited = tokio::task::spawn_blocking(move || over.wait_for_commits(&[0], LONG)).await;
    assert!(waited.expect("no panic"), "it is over");
    // What stands now is what the next owner finds: no event, since its guard was asked after the revocation.
    let [_, events, _] = counts(&lake).await;
    assert_eq!((events, position(&lake, 1).await), ((0, 0), None));
    assert_eq!(timeout(LONG, outcome).await.expect("in time"), Ok(Outcome::Fenced));
    let again = offer(&writer, of_each(1), Some(of_partition(&fences, 0)));
    assert_eq!(timeout(LONG, again).await.expect("in time"), Ok(Outcome::Committed(Some(3))));
    assert_eq!(counts(&lake).await, [(1, 1); 3]);
}
