//! The byte budget: what goes, in which order, and what stands in its place.

use super::*;

/// A journal whose segments have 100 readings, an event, and 100 readings each, all covered by a checkpoint.
fn filled(disk: &MemoryDisk, segments: usize, budget_bytes: u64) -> Journal {
    let (mut journal, _) = open_as(disk, Options { budget_bytes, ..options() });
    for _ in 0..segments {
        append(&mut journal, 100);
        journal.append(Micros(0), event()).expect("room");
        append(&mut journal, 100);
        let last = journal.sync().expect("room");
        journal.checkpoint(last, b"").expect("room");
        journal.seal(LATER).expect("room");
    }
    journal
}

#[test]
fn the_oldest_readings_go_first_and_gaps_stand_in_their_place() {
    let disk = MemoryDisk::default();
    let all = filled(&MemoryDisk::default(), 3, 1 << 30).stats().bytes;
    let mut journal = filled(&disk, 3, all - 500);
    assert!(journal.stats().bytes < all);
    assert_eq!(journal.stats().dropped, 200);
    assert_eq!(ranges(&mut journal), [(1, 201), (202, 402), (403, 603)]);
    let (_, bytes) = journal.read_after(None).expect("sound").expect("one");
    let segment = Segment::decode(&bytes).expect("sound");
    assert_eq!(gaps(&bytes), ["1..=100: budget", "102..=201: budget"]);
    assert_eq!((segment.readings.num_rows(), segment.events.num_rows()), (0, 3));
    drop(journal);
    assert_eq!(ranges(&mut open(&disk).0), [(1, 201), (202, 402), (403, 603)]);
}

#[test]
fn then_whole_segments_go_and_become_one_gap() {
    let disk = MemoryDisk::default();
    let mut journal = filled(&disk, 5, 1);
    assert_eq!(ranges(&mut journal), [(1, 1005)]);
    let (_, bytes) = journal.read_after(None).expect("sound").expect("one");
    assert_eq!(gaps(&bytes), ["1..=1005: budget"]);
    assert_eq!(journal.stats().dropped, 1005);
    assert_eq!(disk.files(".wseg").len(), 1);
    drop(journal);
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.last, recovery.repaired), (1005, Repaired::default()));
    assert_eq!(append(&mut journal, 1), [1006]);
}

#[test]
fn log_that_is_kept_for_recovery_only_makes_room_before_telemetry_does() {
    let disk = MemoryDisk::default();
    let budget_bytes = 40_000;
    let (mut journal, _) = open_as(&disk, Options { budget_bytes, ..options() });
    append(&mut journal, 400);
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    assert!(!disk.files(".wlog").is_empty(), "all of it fits");
    append(&mut journal, 400);
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    assert!(journal.stats().bytes <= budget_bytes);
    assert_eq!((journal.stats().dropped, ranges(&mut journal)), (0, vec![(1, 400), (401, 800)]));
    drop(journal);
    let left = sequences(open(&disk).1.rows);
    assert!(left == [-1] || left[..2] == [-1, 401], "{left:?}");
}

#[test]
fn rows_that_can_t_be_sealed_are_never_dropped_and_new_ones_are_refused() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { budget_bytes: 2000, ..options() });
    append(&mut journal, 50);
    journal.sync().expect("room");
    assert!(matches!(journal.append(Micros(0), reading(1)), Err(JournalError::LogFull { .. })));
    journal.sync().expect("room");
    assert!(matches!(journal.append(Micros(0), reading(1)), Err(JournalError::LogFull { .. })));
    journal.checkpoint(50, b"").expect("room");
    journal.seal(LATER).expect("room");
    assert_eq!(append(&mut journal, 1), [51]);
}

#[test]
fn the_time_left_follows_from_the_rate_so_far() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { budget_bytes: 1 << 20, ..options() });
    assert_eq!(journal.stats().seconds_left, None);
    append(&mut journal, 200);
    journal.checkpoint(200, b"").expect("room");
    journal.seal(Micros(10_000_000)).expect("room");
    let stats = journal.stats();
    assert_eq!(stats.seconds_left, Some(((1 << 20) - stats.bytes) * 10 / stats.bytes));
}
