//! An image of a file system, or a machine that was cloned: its files are the same files, and it was run before it was
//! declared a copy.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use wattle_columns::SegmentBuilder;

use super::*;

fn former(life: Incarnation) -> Options {
    Options { dir: PathBuf::from(DIR).join(format!("before-{life}")), is_former: true, ..options() }
}

/// Appends a reading for each of these registers, all different.
fn measure(journal: &mut Journal, registers: std::ops::RangeInclusive<i64>) {
    registers.for_each(|register| {
        journal.append(Micros(register), reading(register)).expect("room");
    });
    journal.sync().expect("room");
}

/// Hands out segments up to this number.
fn hand_out(journal: &mut Journal, to: u64) {
    let mut after = None;
    while after.is_none_or(|after| after < to) {
        after = journal.read_after(after).expect("readable").map(|(header, _)| header.to);
    }
}

/// The readings that go up: sequence and which it is.
fn goes_up(journal: &mut Journal) -> Vec<(u64, i64)> {
    journal.seal(LATER).expect("room");
    let (mut found, mut after) = (Vec::new(), None);
    while let Some((header, bytes)) = journal.read_after(after).expect("readable") {
        after = Some(header.to);
        let readings = Segment::decode(&bytes).expect("sound").readings;
        let column = |name| readings.column_by_name(name).expect("there").as_primitive::<Int64Type>();
        let rows = column("sequence").values().iter().zip(column("seq").values());
        found.extend(rows.map(|(sequence, which)| (sequence.unsigned_abs(), *which)));
    }
    found
}

fn numbered(which: std::ops::RangeInclusive<i64>) -> Vec<(u64, i64)> {
    (1..).zip(which).collect()
}

/// A journal with ten readings, of which four were handed out: two segments that the log has no more, one that it has, and two
/// rows that aren't sealed.
fn run() -> (MemoryDisk, Incarnation) {
    let disk = MemoryDisk::default();
    let (mut journal, recovery) = open(&disk);
    for first in [1, 3, 5, 7] {
        measure(&mut journal, first..=first + 1);
        journal.seal(LATER).expect("room");
    }
    hand_out(&mut journal, 4);
    journal.checkpoint(6, b"state after six").expect("room");
    measure(&mut journal, 9..=10);
    (disk, recovery.incarnation)
}

/// Both lives together bring each reading once; the former keeps those up to `cut`.
fn check_lives(disk: &MemoryDisk, old: Incarnation, cut: i64, context: &str) {
    let (mut journal, recovery) = open(disk);
    assert_ne!(recovery.incarnation, old, "{context}");
    assert_eq!(recovery.last, 10 - cut as u64, "{context}");
    assert_eq!(goes_up(&mut journal), numbered(cut + 1..=10), "{context}");
    let (mut before, recovery) = open_as(disk, former(old));
    assert_eq!((recovery.incarnation, recovery.last), (old, cut as u64), "{context}");
    assert_eq!(recovery.checkpoint.map(|(covered, _)| covered), Some(cut.min(6) as u64), "{context}");
    assert_eq!(goes_up(&mut before), numbered(1..=cut), "{context}");
    before.free(1_000).expect("the original has gone on");
    assert_eq!(before.stats().depth, 0, "{context}");
    drop((journal, before));
    let (journal, recovery) = open(disk);
    assert_eq!((recovery.restored_from, recovery.last), (None, 10 - cut as u64), "{context}");
    assert!(!disk.files("/restored").contains(&Path::new(DIR).join("restored")), "{context}");
    drop(journal);
}

#[test]
fn what_an_image_has_acknowledged_goes_up_in_its_new_life_however_often_it_was_started() {
    let disk = MemoryDisk::default();
    let mut original = sealed(&disk, 3);
    hand_out(&mut original, 6);
    let copy = disk.copy();
    let life = original.incarnation();
    let (mut journal, _) = open(&copy);
    measure(&mut journal, 7..=16);
    journal.seal(LATER).expect("room");
    drop(journal);
    for _ in 0..3 {
        let (mut journal, recovery) = open(&copy);
        assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (life, 16, None));
        let refused = journal.free(9).expect_err("the original sent these");
        assert!(matches!(refused, JournalError::Ahead { committed: 9, last: 6 }), "{refused}");
        assert_eq!(journal.stats().committed, 0);
    }
    open(&copy).0.declare_restored().expect("room");
    let (mut journal, recovery) = open(&copy);
    assert_eq!((recovery.restored_from, recovery.last), (Some(life), 10));
    assert_eq!(goes_up(&mut journal), numbered(7..=16));
    let (mut before, recovery) = open_as(&copy, former(life));
    assert_eq!(recovery.last, 6);
    before.free(9).expect("the original has gone on");
    assert_eq!(before.stats().depth, 0);
}

#[test]
fn an_image_whose_segments_were_read_and_mended_has_not_handed_them_out() {
    let disk = MemoryDisk::default();
    let mut original = sealed(&disk, 3);
    hand_out(&mut original, 6);
    let (copy, life) = (disk.copy(), original.incarnation());
    let (mut journal, _) = open(&copy);
    measure(&mut journal, 7..=16);
    journal.seal(LATER).expect("room");
    journal.free(9).expect_err("the original sent these");
    drop(journal);
    // What `repair` does, before and after it is told that the folder is a copy.
    let repair = |expected| {
        let (mut journal, recovery) = open(&copy);
        let mut after = None;
        while let Some((header, _)) = journal.look_after(after).expect("readable") {
            after = Some(header.to);
        }
        assert_eq!(after, Some(expected));
        let refused = journal.free(9).expect_err("nothing was handed out by it");
        assert!(matches!(refused, JournalError::Ahead { committed: 9, .. }), "{refused}");
        (journal, recovery)
    };
    let (journal, recovery) = repair(16);
    assert_eq!((recovery.incarnation, recovery.last), (life, 16));
    journal.declare_restored().expect("room");
    drop(journal);
    let (_, recovery) = repair(10);
    assert_eq!((recovery.restored_from, recovery.last), (Some(life), 10));
    // The machine is cloned once more, and has sent nothing of its new life either.
    let (journal, recovery) = repair(10);
    journal.declare_restored().expect("room");
    drop(journal);
    let (mut journal, next) = open(&copy);
    assert_eq!((next.restored_from, next.last), (Some(recovery.incarnation), 10));
    assert_eq!(goes_up(&mut journal), numbered(7..=16));
    assert_eq!(open_as(&copy, former(life)).1.last, 6);
}

#[test]
fn the_power_may_go_at_any_step_of_a_declared_new_life() {
    let (disk, old) = run();
    for step in 0.. {
        let mut whole = false;
        for seed in 0..4_u64 {
            let copy = disk.copy();
            open(&copy).0.declare_restored().expect("room");
            copy.fail_at(copy.steps() + step, Fault::PowerCut, true);
            let end = copy.steps() + step;
            let opened = recovery::open(Arc::new(copy.clone()), options(), Micros(0));
            whole = copy.steps() <= end;
            drop(opened);
            match seed {
                0 => copy.lose_power(),
                _ => copy.lose_power_but(faults::chance(seed * 1_000_003 + step as u64)),
            }
            check_lives(&copy, old, 4, &format!("step {step}, seed {seed}"));
        }
        if whole {
            assert!(step > 30, "{step}");
            return;
        }
    }
}

#[test]
fn a_backup_of_an_image_whose_new_life_is_on_its_way_brings_each_reading_once_under_names_of_its_own() {
    let (disk, old) = run();
    for step in 0.. {
        let image = disk.copy();
        open(&image).0.declare_restored().expect("room");
        let end = image.steps() + step;
        image.fail_at(end, Fault::PowerCut, true);
        drop(recovery::open(Arc::new(image.clone()), options(), Micros(0)));
        let whole = image.steps() <= end;
        image.lose_power();
        let backup = image.restored();
        let (mut journal, recovery) = open(&backup);
        let mut readings: Vec<_> = goes_up(&mut journal).into_iter().map(|(_, which)| which).collect();
        drop(journal);
        let ids = backup.files("/identity");
        for dir in ids.iter().filter_map(|id| id.parent()).filter(|dir| *dir != Path::new(DIR)) {
            let options = Options { dir: dir.into(), is_former: true, ..options() };
            let (mut former, found) = open_as(&backup, options);
            assert_ne!(found.incarnation, recovery.incarnation, "step {step}");
            readings.extend(goes_up(&mut former).into_iter().map(|(_, which)| which));
        }
        readings.sort_unstable();
        assert_eq!(readings, Vec::from_iter(1..=10), "step {step}");
        assert_ne!(open(&image).1.incarnation, recovery.incarnation, "step {step}");
        check_lives(&image, old, 4, &format!("step {step}"));
        if whole {
            assert!(step > 30, "{step}");
            return;
        }
    }
}

#[test]
fn a_declared_new_life_on_a_disk_that_fails_at_any_step_is_begun_when_it_works_again() {
    let (disk, old) = run();
    for (step, fault) in (0..60).flat_map(|step| [Fault::Full, Fault::Failing].map(|fault| (step, fault))) {
        let copy = disk.copy();
        open(&copy).0.declare_restored().expect("room");
        copy.fail_at(copy.steps() + step, fault, true);
        drop(recovery::open(Arc::new(copy.clone()), options(), Micros(0)));
        copy.heal();
        check_lives(&copy, old, 4, &format!("{fault:?} from step {step}"));
    }
}

#[test]
fn a_life_may_end_within_a_segment_and_within_a_log_file() {
    for cut in 0..=10 {
        let (disk, old) = run();
        let dir = Path::new(DIR);
        stamp::write_position(&disk, dir, stamp::HANDED, old, cut, &[]).expect("room");
        open(&disk).0.declare_restored().expect("room");
        drop(open(&disk));
        check_lives(&disk, old, cut as i64, &format!("cut at {cut}"));
    }
}

#[test]
fn a_damaged_segment_of_an_image_is_taken_from_the_log_or_becomes_a_gap() {
    // The log has 7 and 8, and 5 and 6 no more.
    for (segment, expected) in [(3, vec![]), (2, vec!["1..=2: damage"])] {
        let (disk, _) = run();
        let path = disk.files(".wseg")[segment].clone();
        let mut bytes = disk.bytes(&path);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        open(&disk).0.declare_restored().expect("room");
        disk.rot(&path, bytes);
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.last, 6);
        journal.seal(LATER).expect("room");
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
        let (_, bytes) = journal.read_after(None).expect("sound").expect("one");
        assert_eq!(gaps(&bytes), expected);
        let found = goes_up(&mut journal);
        assert_eq!(found, numbered(5..=10)[if expected.is_empty() { 0 } else { 2 }..]);
    }
}

#[test]
fn gaps_of_what_an_image_has_dropped_keep_their_place_and_reason() {
    let (disk, old) = run();
    let path = disk.files(".wseg")[2].clone();
    let mut builder = SegmentBuilder::new(options().edge, old);
    let gap = Row::Gap(Gap { from: 5, to: 6, reason: wattle_wire::row::GapReason::Budget });
    builder.push(&Record { sequence: 5, at_us: Micros(0), row: gap }).expect("the first");
    disk.put(&path, builder.finish().expect("one").encode().expect("small"));
    open(&disk).0.declare_restored().expect("room");
    let (mut journal, _) = open(&disk);
    let (header, bytes) = journal.read_after(None).expect("sound").expect("one");
    assert_eq!(((header.from, header.to), gaps(&bytes)), ((1, 2), vec!["1..=2: budget".to_owned()]));
}

#[test]
fn a_log_of_an_image_in_which_next_to_all_is_damaged_keeps_its_numbers() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    measure(&mut journal, 1..=500);
    journal.declare_restored().expect("room");
    drop(journal);
    let path = disk.files(".wlog").remove(0);
    let mut bytes = disk.bytes(&path);
    // All but the end of the write, which tells of 500.
    let end = bytes.len() - 18;
    bytes[frame::HEADER_BYTES..end].fill(0);
    disk.rot(&path, bytes);
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.last, sequences(recovery.rows)), (500, vec![-1]));
    measure(&mut journal, 501..=501);
    journal.seal(LATER).expect("room");
    let (_, bytes) = journal.read_after(None).expect("sound").expect("one");
    assert_eq!(gaps(&bytes), ["1..=500: damage"]);
}

#[test]
fn nothing_of_a_former_life_is_written_over() {
    let (disk, old) = run();
    open(&disk).0.declare_restored().expect("room");
    let there = former(old).dir.join(disk.files(".wseg")[0].file_name().expect("a name"));
    disk.put(&there, b"of some other time".to_vec());
    let refused = recovery::open(Arc::new(disk.clone()), options(), Micros(0)).err().expect("refused");
    assert!(matches!(refused, JournalError::Occupied { .. }), "{refused}");
    assert_eq!(disk.bytes(&there), b"of some other time");
    disk.delete(&there);
    check_lives(&disk, old, 4, "once it is away");
}

#[test]
fn a_journal_of_an_older_version_takes_the_lake_to_have_what_it_found() {
    let (disk, old) = run();
    disk.delete(&PathBuf::from(DIR).join(stamp::HANDED));
    let (mut journal, _) = open(&disk);
    journal.free(6).expect("they may have been handed out");
    assert!(matches!(journal.free(11), Err(JournalError::Ahead { committed: 11, last: 10 })));
    drop(journal);
    // From now on it is known.
    let (mut journal, _) = open(&disk);
    measure(&mut journal, 11..=12);
    drop(journal);
    assert!(matches!(open(&disk).0.free(11), Err(JournalError::Ahead { committed: 11, last: 10 })));
    assert_eq!(open(&disk).1.incarnation, old);
}

#[test]
fn a_full_disk_keeps_nothing_from_going_up() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    disk.set_room(Some(0));
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
    journal.free(4).expect("the reserve has room for the position");
    drop(journal);
    let (mut journal, _) = open(&disk);
    assert_eq!(ranges(&mut journal), [(5, 6)]);
    journal.free(6).expect("it was handed out");
    assert!(matches!(journal.free(7), Err(JournalError::Ahead { committed: 7, last: 6 })));
}

#[test]
fn an_entry_is_handed_out_only_once_that_is_on_the_disk() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 2);
    hand_out(&mut journal, 2);
    disk.fail(Fault::ReadOnly);
    journal.read_after(Some(2)).expect_err("it can't be noted");
    assert!(journal.read_after(None).expect("it is noted").is_some());
    disk.heal();
    hand_out(&mut journal, 4);
    drop(journal);
    disk.lose_power();
    open(&disk).0.free(4).expect("it was handed out");
}

/// What a folder of a journal and those of its former lives bring up: which life, and which reading.
fn brought(disk: &MemoryDisk) -> Vec<(Incarnation, i64)> {
    let mut readings = Vec::new();
    let (mut journal, recovery) = open(disk);
    readings.extend(goes_up(&mut journal).into_iter().map(|(_, which)| (recovery.incarnation, which)));
    drop(journal);
    for id in disk.files("/identity") {
        let dir = id.parent().expect("a folder");
        if dir != Path::new(DIR) && !dir.ends_with("aside") {
            let (mut former, found) =
                open_as(disk, Options { dir: dir.into(), is_former: true, ..options() });
            readings.extend(goes_up(&mut former).into_iter().map(|(_, which)| (found.incarnation, which)));
        }
    }
    readings.sort_by_key(|(_, which)| *which);
    readings
}

/// Each reading once, those that were handed out before the image was made in the life that has handed them out, and all
/// others in another.
fn check_brought(disk: &MemoryDisk, old: Incarnation, context: &str) {
    let brought = brought(disk);
    let which: Vec<_> = brought.iter().map(|(_, which)| *which).collect();
    assert_eq!(which, Vec::from_iter(1..=10), "{context}");
    let kept = brought.iter().filter(|(life, _)| *life == old).map(|(_, which)| *which);
    assert_eq!(kept.collect::<Vec<_>>(), [1, 2, 3, 4], "{context}");
    assert!(!disk.files("/restored").contains(&Path::new(DIR).join(stamp::RESTORED)), "{context}");
}

/// The disk of an image that was declared a copy and lost its power after so many steps of its new life; none when that was begun by then.
fn cut_at(disk: &MemoryDisk, step: usize, seed: u64) -> Option<MemoryDisk> {
    let image = disk.copy();
    open(&image).0.declare_restored().expect("room");
    let end = image.steps() + step;
    image.fail_at(end, Fault::PowerCut, true);
    drop(recovery::open(Arc::new(image.clone()), options(), Micros(0)));
    let is_begun = image.steps() <= end;
    match seed {
        0 => image.lose_power(),
        _ => image.lose_power_but(faults::chance(seed * 1_000_003 + step as u64)),
    }
    (!is_begun).then_some(image)
}

#[test]
fn damage_to_what_tells_of_a_copy_costs_no_row_at_any_step_of_its_new_life() {
    let (disk, old) = run();
    let path = Path::new(DIR).join(stamp::RESTORED);
    for seed in 0..2 {
        let mut steps = 0;
        while let Some(image) = cut_at(&disk, steps, seed) {
            if image.files("/restored").contains(&path) {
                let sound = image.bytes(&path);
                let middle = sound.len() / 2;
                let flipped = sound.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == middle));
                for bytes in [flipped.collect(), sound[..middle].to_vec(), vec![0; sound.len()]] {
                    let image = image.copy();
                    image.rot(&path, bytes.clone());
                    check_brought(&image, old, &format!("step {steps}, seed {seed}: {bytes:02x?}"));
                }
            }
            steps += 1;
        }
        assert!(steps > 30, "{steps}");
    }
}

#[test]
fn any_damage_to_what_tells_of_a_copy_costs_no_row() {
    let (disk, old) = run();
    let path = Path::new(DIR).join(stamp::RESTORED);
    let has_no_name =
        |image: &MemoryDisk| !image.files("/identity").contains(&Path::new(DIR).join(stamp::IDENTITY));
    let image = (0..).find_map(|step| cut_at(&disk, step, 0).filter(has_no_name));
    let image = image.expect("it has no name for a while");
    for bytes in damage::damages(&image.bytes(&path)) {
        let image = image.copy();
        image.rot(&path, bytes.clone());
        check_brought(&image, old, &format!("{bytes:02x?}"));
    }
}
