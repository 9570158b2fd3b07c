//! The journal on a disk in memory: one test per way in which it may be used, cut, filled or damaged.

mod budget;
mod damage;
mod faults;
mod formats;
mod image;
mod names;
mod positions;
mod real;
mod restored;

use std::path::PathBuf;

use wattle_columns::Segment;
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{Event, EventKind, Gap, Reading, Record, Row};
use wattle_wire::{DeviceId, EdgeId, Micros, Milliamps, Millivolts, SiteId, WattHours, Watts};

use super::*;
use memory_disk::{Fault, MemoryDisk};

const DIR: &str = "/journal";
/// Later than any row is due.
const LATER: Micros = Micros(1_000_000_000_000);
/// An interval that isn't over while a test runs, and one that always is.
const NEVER_YET: SyncPolicy = SyncPolicy::Interval(Millis(i64::MAX));
const AT_ONCE: SyncPolicy = SyncPolicy::Interval(Millis(0));

#[test]
fn numbers_begin_at_one_and_go_on_after_a_restart_without_a_hole() {
    let disk = MemoryDisk::default();
    for restart in 0..3 {
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.last, restart * 2);
        assert_eq!(recovery.repaired, Repaired::default());
        assert_eq!(append(&mut journal, 2), [restart * 2 + 1, restart * 2 + 2]);
        assert_eq!(journal.sync().expect("room"), restart * 2 + 2);
    }
    let (journal, recovery) = open(&disk);
    assert_eq!(sequences(recovery.rows), [1, 2, 3, 4, 5, 6]);
    assert_eq!(journal.incarnation(), recovery.incarnation);
}

#[test]
fn a_kill_between_write_and_sync_costs_only_what_was_not_acknowledged() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 3);
    assert_eq!(journal.sync().expect("room"), 3);
    append(&mut journal, 4);
    disk.fail(Fault::Failing);
    journal.sync().expect_err("the device has failed");
    disk.lose_power();
    disk.heal();
    drop(journal);
    let (mut journal, recovery) = open(&disk);
    assert_eq!(sequences(recovery.rows), [1, 2, 3]);
    assert_eq!(append(&mut journal, 1), [4]);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 3);
    disk.fail(Fault::Failing);
    journal.sync().expect_err("the device has failed");
    disk.heal();
    append(&mut journal, 1);
    assert_eq!(journal.sync().expect("the device is back"), 4);
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3, 4]);
}

#[test]
fn rows_that_were_acknowledged_before_a_failed_sync_are_written_again() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { sync: NEVER_YET, ..options() });
    append(&mut journal, 2);
    assert_eq!(journal.sync().expect("room"), 2);
    journal.options.sync = AT_ONCE;
    disk.fail_at(disk.steps() + 1, Fault::Failing, false);
    append(&mut journal, 1);
    let names_then_rows = [journal.sync(), journal.sync()];
    assert!(names_then_rows.iter().any(Result::is_err), "{names_then_rows:?}");
    append(&mut journal, 1);
    assert_eq!(journal.sync().expect("the device is back"), 4);
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3, 4]);
}

#[test]
fn what_a_killed_process_could_not_sync_is_written_again() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { sync: NEVER_YET, ..options() });
    append(&mut journal, 2);
    assert_eq!(journal.sync().expect("room"), 2);
    journal.options.sync = AT_ONCE;
    disk.fail(Fault::Failing);
    journal.sync().expect_err("the device has failed");
    disk.heal();
    drop(journal);
    let (mut journal, _) = open(&disk);
    append(&mut journal, 1);
    assert_eq!(journal.sync().expect("the device is back"), 3);
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3]);
}

#[test]
fn the_last_rows_before_a_silence_last_an_interval_later() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { sync: NEVER_YET, ..options() });
    append(&mut journal, 2);
    assert_eq!(journal.sync().expect("room"), 2);
    assert!(!journal.is_sync_due());
    journal.options.sync = AT_ONCE;
    assert!(journal.is_sync_due());
    assert_eq!(journal.sync().expect("room"), 2);
    assert!(!journal.is_sync_due());
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2]);
}

#[test]
fn the_age_of_the_oldest_row_is_known_again_after_a_restart() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    for at in [7, 8] {
        journal.append(Micros(at), reading(at)).expect("room");
        journal.sync().expect("room");
        assert_eq!(journal.seal(LATER).expect("room"), 1);
    }
    drop(journal);
    let (mut journal, _) = open(&disk);
    assert_eq!(journal.stats().oldest_at, Some(Micros(7)));
    let (first, _) = journal.read_after(None).expect("a disk").expect("a segment");
    journal.free(first.to).expect("a disk");
    journal.seal(LATER).expect("room");
    assert_eq!(journal.stats().oldest_at, Some(Micros(8)));
}

#[test]
fn a_full_disk_fills_the_buffer_then_refuses_and_passes_by_itself() {
    let disk = MemoryDisk::default();
    let options = Options { buffer_bytes: 1000, ..options() };
    let (mut journal, _) = open_as(&disk, options);
    append(&mut journal, 2);
    journal.sync().expect("room");
    disk.set_room(Some(30));
    let refused = (0..100).find_map(|i| journal.append(Micros(i), reading(i)).err()).expect("it is bounded");
    assert!(matches!(refused, JournalError::Full { bytes } if bytes <= 1000), "{refused}");
    let taken = journal.stats().next_sequence - 1;
    assert!(matches!(journal.sync(), Err(JournalError::DiskFull { .. })));
    assert_eq!(journal.stats().durable, 2);
    disk.set_room(None);
    assert_eq!(journal.sync().expect("room again"), taken);
    assert_eq!(append(&mut journal, 1), [taken + 1]);
}

#[test]
fn a_batch_costs_one_sync() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 1);
    journal.sync().expect("room");
    let before = disk.syncs();
    append(&mut journal, 500);
    journal.sync().expect("room");
    journal.sync().expect("nothing to do");
    assert_eq!(disk.syncs(), before + 1);
}

#[test]
fn under_the_policy_off_the_disk_is_not_waited_for() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open_as(&disk, Options { sync: SyncPolicy::Off, ..options() });
    let before = disk.syncs();
    append(&mut journal, 5);
    assert_eq!(journal.sync().expect("room"), 5);
    assert_eq!(disk.syncs(), before);
    // Sealing waits all the same: the lake never has what a loss of power could take from the journal.
    assert_eq!(journal.seal(LATER).expect("room"), 1);
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3, 4, 5]);
}

#[test]
fn under_the_policy_interval_the_disk_is_waited_for_once_in_it() {
    for (interval, expected) in [(Millis(0), 5), (Millis(3_600_000), 0)] {
        let disk = MemoryDisk::default();
        let (mut journal, _) = open_as(&disk, Options { sync: SyncPolicy::Interval(interval), ..options() });
        let before = disk.syncs();
        for n in 1..=5 {
            append(&mut journal, 1);
            assert_eq!(journal.sync().expect("room"), n);
        }
        assert_eq!(disk.syncs() - before, expected);
        drop(journal);
        disk.lose_power();
        assert_eq!(open(&disk).1.last, expected as u64, "as far as the policy says");
    }
}

#[test]
fn rows_are_sealed_when_they_are_old_and_go_up_in_order() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 3);
    journal.sync().expect("room");
    assert_eq!(journal.seal(Micros(2_000_000)).expect("nothing is due"), 0);
    assert_eq!(journal.read_after(None).expect("sound"), None);
    assert_eq!(journal.seal(Micros(3_000_003)).expect("room"), 1);
    append(&mut journal, 2);
    journal.sync().expect("room");
    assert_eq!(journal.seal(LATER).expect("room"), 1);
    assert_eq!(ranges(&mut journal), [(1, 3), (4, 5)]);
    let (header, bytes) = journal.read_after(Some(3)).expect("sound").expect("one");
    assert_eq!((header.from, header.incarnation), (4, journal.incarnation()));
    assert_eq!(Segment::decode(&bytes).expect("sound").readings.num_rows(), 2);
}

#[test]
fn rows_that_are_too_many_for_one_segment_become_several_without_a_hole() {
    const ROWS: u64 = 2 * super::seal::MAX_ROWS + 5;
    let disk = MemoryDisk::default();
    // One file of the log holds them all.
    let (mut journal, _) = open_as(&disk, Options { segment_bytes: 8 << 20, ..options() });
    for _ in 0..ROWS {
        journal.append(Micros(1), event()).expect("room");
    }
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    let most = super::seal::MAX_ROWS;
    assert_eq!(ranges(&mut journal), [(1, most), (most + 1, 2 * most), (2 * most + 1, ROWS)]);
}

#[test]
fn freeing_twice_and_freeing_backwards_change_nothing() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    assert_eq!(ranges(&mut journal).len(), 3);
    for sequence in [4, 2, 0] {
        journal.free(sequence).expect("known");
        assert_eq!((journal.stats().committed, ranges(&mut journal)), (4, vec![(5, 6)]));
    }
    disk.lose_power();
    drop(journal);
    let (mut journal, _) = open(&disk);
    assert_eq!((journal.stats().committed, ranges(&mut journal)), (4, vec![(5, 6)]));
    journal.free(6).expect("known");
    assert_eq!((journal.stats().depth, append(&mut journal, 1)), (0, vec![7]));
}

#[test]
fn on_a_full_disk_what_the_lake_has_is_freed_in_the_room_of_the_reserve() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    assert_eq!(ranges(&mut journal).len(), 3);
    disk.set_room(Some(0));
    journal.free(4).expect("the reserve has room for the position");
    assert_eq!((journal.stats().committed, ranges(&mut journal)), (4, vec![(5, 6)]));
    drop(journal);
    disk.lose_power();
    let (mut journal, recovery) = open(&disk);
    assert_eq!(recovery.repaired, Repaired::default());
    assert_eq!((journal.stats().committed, ranges(&mut journal)), (4, vec![(5, 6)]));
    disk.set_room(None);
    journal.free(6).expect("room");
    assert_eq!(disk.files("reserve").len(), 1, "it is there for the next time");
}

#[test]
fn a_damaged_segment_on_a_full_disk_is_made_again_in_the_room_of_the_reserve_or_in_its_own() {
    for has_reserve in [true, false] {
        let disk = MemoryDisk::default();
        drop(sealed(&disk, 3));
        let first = disk.files(".wseg")[0].clone();
        let sound = disk.bytes(&first);
        let mut damaged = sound.clone();
        damaged[sound.len() / 2] ^= 1;
        disk.rot(&first, damaged);
        if !has_reserve {
            disk.delete(&disk.files("reserve")[0]);
        }
        disk.set_room(Some(0));
        let (mut journal, _) = open(&disk);
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)], "{has_reserve}");
        assert_eq!(disk.bytes(&first), sound);
        assert_eq!(disk.files("aside").len(), usize::from(has_reserve), "what was damaged");
    }
}

#[test]
fn what_stands_before_a_hole_goes_up_although_a_full_disk_has_no_room_to_fill_it() {
    let disk = MemoryDisk::default();
    drop(sealed(&disk, 3));
    disk.delete(&disk.files(".wseg")[1]);
    disk.delete(&disk.files("reserve")[0]);
    disk.set_room(Some(0));
    let (mut journal, _) = open(&disk);
    let (header, _) = journal.read_after(None).expect("it is sound").expect("there");
    assert_eq!((header.from, header.to), (1, 2));
    journal.read_after(Some(2)).expect_err("there is no room for it");
    disk.heal();
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
}

#[test]
fn a_segment_that_can_t_be_removed_holds_nothing_up() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    ranges(&mut journal);
    // The position is written and synced before.
    disk.fail_at(disk.steps() + 2, Fault::Failing, false);
    journal.free(2).expect("the position stands");
    assert_eq!((journal.stats().committed, disk.files(".wseg").len()), (2, 3));
    assert_eq!(ranges(&mut journal).last(), Some(&(5, 6)));
    journal.free(4).expect("tried again");
    assert_eq!(disk.files(".wseg").len(), 1);
}

#[test]
fn a_lake_that_is_ahead_of_the_journal_is_an_error_and_frees_nothing() {
    let mut journal = sealed(&MemoryDisk::default(), 1);
    assert_eq!(ranges(&mut journal), [(1, 2)]);
    assert!(matches!(journal.free(3), Err(JournalError::Ahead { committed: 3, last: 2 })));
    assert_eq!(ranges(&mut journal), [(1, 2)]);
}

#[test]
fn the_checkpoint_and_every_row_after_it_come_back_even_when_they_were_freed() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 4);
    journal.checkpoint(3, b"state after three").expect("room");
    assert_eq!(ranges(&mut journal).len(), 4);
    journal.free(8).expect("known");
    append(&mut journal, 1);
    journal.sync().expect("room");
    disk.lose_power();
    drop(journal);
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.checkpoint, Some((3, b"state after three".to_vec())));
    assert_eq!(sequences(recovery.rows), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn log_goes_once_it_is_sealed_and_covered_by_the_checkpoint() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    assert_eq!(disk.files(".wlog").len(), 3);
    journal.checkpoint(4, b"").expect("room");
    assert_eq!(disk.files(".wlog").len(), 1);
    journal.checkpoint(6, b"").expect("room");
    assert_eq!(disk.files(".wlog").len(), 0);
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
}

#[test]
fn a_checkpoint_makes_the_rows_that_it_covers_last() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 2);
    journal.checkpoint(2, b"two").expect("room");
    disk.lose_power();
    drop(journal);
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.last, sequences(recovery.rows)), (2, vec![]));
    assert!(matches!(journal.checkpoint(3, b""), Err(JournalError::CheckpointAhead { .. })));
}

#[test]
fn two_processes_never_own_one_journal() {
    let disk = MemoryDisk::default();
    let (journal, _) = open(&disk);
    let second = recovery::open(Arc::new(disk.clone()), options(), Micros(0));
    assert!(matches!(second.err(), Some(JournalError::Locked { .. })));
    drop(journal);
    open(&disk);
}

#[test]
fn the_journal_of_another_edge_is_refused() {
    let disk = MemoryDisk::default();
    drop(open(&disk));
    let other = Options::new(DIR, EdgeId::new("edge-2").expect("name"));
    let refused = recovery::open(Arc::new(disk), other, Micros(0)).err().expect("refused");
    assert!(refused.to_string().contains("edge-1"), "{refused}");
}

#[test]
fn a_gap_and_a_giant_are_not_taken_and_use_up_no_number() {
    let (mut journal, _) = open(&MemoryDisk::default());
    let gap = Row::Gap(Gap { from: 1, to: 2, reason: wattle_wire::row::GapReason::Damage });
    assert!(matches!(journal.append(Micros(0), gap), Err(JournalError::GapAppended)));
    let mut event = Event::new(site(), None, EventKind::Configured, "");
    event.detail = "x".repeat(MAX_RECORD_BYTES);
    assert!(matches!(journal.append(Micros(0), Row::Event(event)), Err(JournalError::RecordTooLarge)));
    assert_eq!(append(&mut journal, 1), [1]);
}

const GOLDEN_LIFE: Incarnation = Incarnation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const GOLDEN_1: &[u8] = include_bytes!("../golden/log-v1.wlog");
const GOLDEN_2: &[u8] = include_bytes!("../golden/log-v2.wlog");

fn golden_records() -> Vec<Record> {
    let rows = [reading(0), Row::Event(Event::new(site(), None, EventKind::NodeStarted, "v"))];
    (7..).zip(rows).map(|(sequence, row)| Record { sequence, at_us: Micros(5), row }).collect()
}

/// The bytes of log format 2 never change; a new format is a new file beside this one.
#[test]
fn a_log_of_format_two_is_written_and_read_as_released() {
    let mut bytes = frame::header(GOLDEN_LIFE, 7);
    let mut framer = frame::Framer::new(frame::seed(GOLDEN_LIFE));
    golden_records().iter().for_each(|record| framer.push(&mut bytes, record).expect("small"));
    framer.end(&mut bytes, 8);
    assert_eq!(bytes, GOLDEN_2, "the format has changed: {bytes:02x?}");
    assert_eq!(frame::Scan::new(GOLDEN_2.to_vec(), GOLDEN_LIFE, 7).collect::<Vec<_>>(), golden_records());
}

#[test]
fn a_journal_of_log_format_one_is_gone_on_with() {
    assert_eq!(frame::Scan::new(GOLDEN_1.to_vec(), GOLDEN_LIFE, 7).collect::<Vec<_>>(), golden_records());
    let disk = MemoryDisk::default();
    disk.put(&PathBuf::from(DIR).join(log::name(7)), GOLDEN_1.to_vec());
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.incarnation, recovery.last), (GOLDEN_LIFE, 8));
    assert_eq!(sequences(recovery.rows), [-1, 7, 8]);
    assert_eq!(append(&mut journal, 1), [9]);
    journal.sync().expect("room");
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [-1, 7, 8, 9]);
}

fn site() -> SiteId {
    SiteId::new("depot").expect("name")
}

/// A reading as a charger sends it, with a little noise.
fn reading(n: i64) -> Row {
    let noise = (n * 7919 % 101) as i32;
    Row::Reading(Reading {
        site: site(),
        device: DeviceId::new(format!("cp-{}", n % 20)).expect("name"),
        number: Some(Number { boot: 3, seq: n.unsigned_abs() }),
        measured_us: Some(Micros(n * 1000)),
        state: Some(ChargerState::Charging),
        setpoint: Some(9),
        session: None,
        values: Values {
            current_ma: Some(Phases::new(&[Milliamps(15_950 + noise)])),
            voltage_mv: Some(Phases::new(&[Millivolts(229_500 + 10 * noise)])),
            power_w: Some(Watts(3_680 + noise)),
            register_wh: Some(WattHours(100_000 + n)),
            ..Values::default()
        },
    })
}

fn event() -> Row {
    Row::Event(Event::new(site(), None, EventKind::Offline, "gone"))
}

fn options() -> Options {
    Options::new(DIR, EdgeId::new("edge-1").expect("name"))
}

fn open(disk: &MemoryDisk) -> (Journal, Recovery) {
    open_as(disk, options())
}

fn open_as(disk: &MemoryDisk, options: Options) -> (Journal, Recovery) {
    recovery::open(Arc::new(disk.clone()), options, Micros(0)).expect("damage never stops it")
}

fn append(journal: &mut Journal, rows: i64) -> Vec<u64> {
    (0..rows).map(|i| journal.append(Micros(i), reading(i)).expect("room")).collect()
}

/// A journal with so many segments of two readings each.
fn sealed(disk: &MemoryDisk, segments: usize) -> Journal {
    let (mut journal, _) = open(disk);
    for _ in 0..segments {
        append(&mut journal, 2);
        journal.sync().expect("room");
        journal.seal(LATER).expect("room");
    }
    journal
}

/// The ranges of the segments that wait.
fn ranges(journal: &mut Journal) -> Vec<(u64, u64)> {
    let mut after = None;
    let mut ranges = Vec::new();
    while let Some((header, _)) = journal.read_after(after).expect("readable") {
        ranges.push((header.from, header.to));
        after = Some(header.to);
    }
    ranges
}

/// The sequences of rows; a gap counts as its first, negative.
fn sequences(rows: Rows) -> Vec<i64> {
    rows.map(|record| {
        let record = record.expect("readable");
        let sequence = record.sequence as i64;
        if matches!(record.row, Row::Gap(_)) { -sequence } else { sequence }
    })
    .collect()
}

/// The events of a segment that are gaps, as tables show them.
fn gaps(bytes: &[u8]) -> Vec<String> {
    use arrow::array::AsArray;
    let events = Segment::decode(bytes).expect("sound").events;
    let column = |name| events.column_by_name(name).expect("there").as_string::<i32>();
    let rows = column("kind").iter().zip(column("detail"));
    rows.filter(|(kind, _)| *kind == Some("gap"))
        .filter_map(|(_, detail)| detail.map(str::to_owned))
        .collect()
}

#[test]
fn what_a_killed_process_wrote_is_made_to_last_before_it_is_called_durable() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 3);
    journal.sync().expect("room");
    drop(journal);
    // Written, and the process is killed before the disk has it.
    let (mut journal, _) = open_as(&disk, Options { sync: SyncPolicy::Off, ..options() });
    append(&mut journal, 2);
    journal.sync().expect("room");
    drop(journal);
    let (mut journal, recovery) = open(&disk);
    assert_eq!(sequences(recovery.rows), [1, 2, 3, 4, 5], "the system still has it");
    assert_eq!(journal.sync().expect("room"), 5, "a device that sends it again is acknowledged");
    disk.lose_power();
    drop(journal);
    assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3, 4, 5]);
}
