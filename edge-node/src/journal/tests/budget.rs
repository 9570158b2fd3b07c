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
    let mut journal = filled(&disk, 3, all - 100);
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

/// Counts of readings, events without gaps, and rows of decisions that wait, over all segments.
fn left(journal: &mut Journal) -> (usize, usize, usize) {
    let (mut after, mut all) = (None, (0, 0, 0));
    while let Some((header, bytes)) = journal.read_after(after).expect("readable") {
        let segment = Segment::decode(&bytes).expect("sound");
        all.0 += segment.readings.num_rows();
        all.1 += segment.events.num_rows() - gaps(&bytes).len();
        all.2 += segment.decisions.num_rows();
        after = Some(header.to);
    }
    all
}

fn decision() -> Row {
    Row::Decision(wattle_wire::row::Decision {
        site: site(),
        cause: wattle_wire::row::Cause::Interval,
        policy: "p".into(),
        policy_digest: 1,
        settings_digest: 2,
        fuel: 3,
        circuits: Vec::new(),
        chargers: Vec::new(),
        state: Vec::new(),
    })
}

/// From a budget that fits everything down to one that fits nothing: at each, what is left is what should be.
#[test]
fn sessions_events_and_decisions_stay_for_as_long_as_there_are_readings_and_the_oldest_always_goes_first() {
    const SEGMENTS: usize = 6;
    let filled = |budget_bytes| {
        let (mut journal, _) = open_as(&MemoryDisk::default(), Options { budget_bytes, ..options() });
        for _ in 0..SEGMENTS {
            append(&mut journal, 100);
            let session = Event::new(site(), None, EventKind::Started, "");
            for row in [event(), Row::Event(session), decision()] {
                journal.append(Micros(0), row).expect("room");
            }
            let last = journal.sync().expect("room");
            journal.checkpoint(last, b"").expect("room");
            journal.seal(LATER).expect("room");
        }
        journal
    };
    let all = filled(1 << 30).stats().bytes;
    let mut seen = [false; 3];
    for budget in (0..=25).map(|share| all * share / 24) {
        let mut journal = filled(budget.max(1));
        let (readings, events, decisions) = left(&mut journal);
        assert_eq!(journal.stats().dropped as usize, SEGMENTS * 103 - readings - events - decisions);
        if readings > 0 {
            assert_eq!((events, decisions), (2 * SEGMENTS, SEGMENTS), "{budget} of {all}");
        }
        assert_eq!((readings % 100, events), (0, 2 * decisions), "whole segments go");
        // What is left is the newest.
        let kept: Vec<bool> = ranges(&mut journal).iter().map(|range| range.1 - range.0 == 102).collect();
        assert!(kept.is_sorted(), "{kept:?}");
        seen[0] |= readings == 100 * SEGMENTS;
        seen[1] |= readings > 0 && readings < 100 * SEGMENTS;
        seen[2] |= readings == 0 && decisions < SEGMENTS;
    }
    assert_eq!(seen, [true; 3], "each step of the order was seen");
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

/// The first sequences of the log files that are left of five, which are kept for a replay and are too much for the budget, with a
/// checkpoint up to `checkpoint`; and how many entries were dropped.
fn log_under_budget(checkpoint: u64) -> (Vec<i64>, u64) {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { budget_bytes: 40_000, ..options() });
    for _ in 0..5 {
        let keyframe = Event::new(site(), None, EventKind::Keyframe, "");
        journal.append(Micros(0), Row::Event(keyframe)).expect("room");
        append(&mut journal, 399);
        let last = journal.sync().expect("room");
        journal.checkpoint(last.min(checkpoint), b"").expect("room");
        journal.seal(LATER).expect("room");
    }
    let dropped = journal.stats().dropped;
    let name = |path: &PathBuf| path.file_name().and_then(|name| log::parse_name(name.to_str()?));
    let log = disk.files(".wlog").iter().map(|path| name(path).expect("a log") as i64).collect();
    (log, dropped)
}

#[test]
fn log_that_is_kept_for_a_replay_only_makes_room_before_telemetry_does() {
    let (log, dropped) = log_under_budget(u64::MAX);
    assert_eq!((log, dropped), (vec![1601], 0));
}

/// A disk that others fill, or that is smaller than the budget: the lake keeps up, and the log of the last keyframes is too much.
#[test]
fn on_a_full_disk_log_that_is_kept_for_a_replay_only_makes_way_and_no_row_is_lost() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    let round = |journal: &mut Journal| {
        let keyframe = Event::new(site(), None, EventKind::Keyframe, "");
        journal.append(Micros(0), Row::Event(keyframe)).expect("room");
        append(journal, 399);
        let last = journal.sync().expect("room is made");
        journal.checkpoint(last, b"").expect("room");
        // What a node does again after a while: the first try may only make the room.
        let sealed = journal.seal(LATER).or_else(|_| journal.seal(LATER));
        assert_eq!(sealed.expect("room is made"), 1);
        assert_eq!(ranges(journal), [(last - 399, last)], "whole, and in order");
        journal.free(last).expect("known");
        last
    };
    round(&mut journal);
    let one = journal.stats().bytes as usize;
    // Without that two and a half would stay.
    disk.set_room(Some(one * 3 / 2));
    let last = (0..20).map(|_| round(&mut journal)).last();
    assert_eq!((last, journal.stats().dropped, journal.stats().depth), (Some(21 * 400), 0, 0));
    drop(journal);
    let (_, recovery) = open(&disk);
    assert_eq!((recovery.last, recovery.repaired), (21 * 400, Repaired::default()));
}

#[test]
fn log_that_the_checkpoint_does_not_cover_is_never_dropped() {
    let (log, dropped) = log_under_budget(400);
    assert_eq!(log, [401, 801, 1201, 1601]);
    assert!(dropped > 0, "telemetry goes instead");
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
