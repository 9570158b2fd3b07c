//! What a killed process has left in the system's memory: names of segments and checkpoints that don't last yet. No log goes
//! on their word.

use std::path::Path;

use super::*;

/// A journal of four entries, sealed and covered by a checkpoint, whose process was killed before the names of both were made to
/// last. The log was kept for a replay.
fn killed(sync: SyncPolicy) -> (MemoryDisk, Journal) {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    let keyframe = Event::new(site(), None, EventKind::Keyframe, "");
    journal.append(Micros(0), Row::Event(keyframe)).expect("room");
    append(&mut journal, 3);
    journal.sync().expect("room");
    disk.skip_dir_syncs(true);
    assert_eq!(journal.seal(LATER).expect("room"), 1);
    journal.checkpoint(4, b"four").expect("room");
    drop(journal);
    disk.skip_dir_syncs(false);
    let (journal, recovery) = open_as(&disk, Options { sync, ..options() });
    assert_eq!(recovery.checkpoint, Some((4, b"four".to_vec())), "the system still has it");
    assert_eq!((log_files(&disk), journal.covered_to()), (1, 4));
    (disk, journal)
}

fn log_files(disk: &MemoryDisk) -> usize {
    disk.files(&Path::new(DIR).join(log::name(1)).to_string_lossy()).len()
}

/// Whatever the power takes of what was not made to last: the four entries go up, and what the core knew of them is known.
fn check_power_cuts(disk: &MemoryDisk, context: &str) {
    for seed in 0..64 {
        let disk = disk.copy();
        disk.lose_power_but(faults::chance(seed));
        disk.heal();
        let (mut journal, recovery) = open(&disk);
        let rows = sequences(recovery.rows);
        let known = recovery.checkpoint.is_some() || rows.starts_with(&[1, 2, 3, 4]);
        assert!(known, "{context}, seed {seed}: {rows:?} and no checkpoint");
        journal.seal(LATER).expect("room");
        let (header, bytes) = journal.read_after(None).expect("sound").expect("one");
        assert_eq!(header.from, 1, "{context}, seed {seed}");
        let segment = Segment::decode(&bytes).expect("sound");
        assert_eq!((gaps(&bytes), segment.readings.num_rows()), (vec![], 3), "{context}, seed {seed}");
    }
}

#[test]
fn log_makes_way_on_a_full_disk_only_once_the_names_last_on_whose_word_it_goes() {
    for sync in [SyncPolicy::Batch, SyncPolicy::Interval(Millis(3_600_000)), SyncPolicy::Off] {
        let (disk, mut journal) = killed(sync);
        disk.set_room(Some(0));
        append(&mut journal, 1);
        journal.sync().expect("in the room of the log");
        assert_eq!(log_files(&disk), 0, "{sync:?}");
        check_power_cuts(&disk, &format!("{sync:?}"));
    }
}

#[test]
fn no_log_makes_way_while_these_names_can_t_be_made_to_last() {
    for sync in [SyncPolicy::Batch, SyncPolicy::Interval(Millis(3_600_000)), SyncPolicy::Off] {
        let (disk, mut journal) = killed(sync);
        disk.set_room(Some(0));
        disk.fail_dir_syncs(Fault::Full);
        append(&mut journal, 1);
        let refused = journal.sync().expect_err("there is no room");
        assert!(matches!(refused, JournalError::DiskFull { .. }), "{refused}");
        journal.sealing_failed(&refused);
        assert_eq!(log_files(&disk), 1, "{sync:?}");
        check_power_cuts(&disk, &format!("{sync:?}"));
        disk.heal();
        assert_eq!(journal.sync().expect("room"), 5, "{sync:?}");
    }
}

#[test]
fn no_log_is_let_go_or_dropped_while_these_names_can_t_be_made_to_last() {
    for fault in [Fault::Full, Fault::Failing] {
        let (disk, mut journal) = killed(SyncPolicy::Batch);
        disk.fail_dir_syncs(fault);
        // What a node does that makes the room which it could not make before.
        journal.checkpoint(4, b"four").expect_err("its name can't last");
        journal.make_room().expect_err("nothing may go");
        assert!(journal.is_strained());
        journal.options.budget_bytes = 1;
        journal.make_room().expect_err("nothing may go");
        assert_eq!(log_files(&disk), 1, "{fault:?}");
        check_power_cuts(&disk, &format!("{fault:?}"));
        disk.heal();
        journal.options.budget_bytes = 1 << 30;
        journal.make_room().expect("they last now");
        assert_eq!(log_files(&disk), 0, "{fault:?}");
        check_power_cuts(&disk, &format!("{fault:?}, healed"));
    }
}
