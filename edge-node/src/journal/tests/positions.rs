//! How far the lake is and how far entries were handed out, in their slots: on full disks, cut, damaged, and as released.

use std::path::Path;

use super::*;

const NAMES: [&str; 2] = [stamp::COMMITTED, stamp::HANDED];
/// The length of a file with slots, and where the second one begins.
const WHOLE: usize = 8192;
const SECOND: usize = 4096;

/// The bytes of both formats never change; a new format stands beside these.
const COMMITTED_1: &[u8] = include_bytes!("../golden/committed-v1");
const COMMITTED_2: &[u8] = include_bytes!("../golden/committed-v2");
const HANDED_1: &[u8] = include_bytes!("../golden/handed-v1");
const HANDED_2: &[u8] = include_bytes!("../golden/handed-v2");

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn read(disk: &MemoryDisk, name: &str) -> Option<u64> {
    match stamp::read_position(disk, Path::new(DIR), name, GOLDEN_LIFE) {
        stamp::Found::Sound((sequence, _)) => Some(sequence),
        _ => None,
    }
}

#[test]
fn positions_of_both_formats_are_read_and_those_of_format_two_written_as_released() {
    for (name, one, two) in
        [(stamp::COMMITTED, COMMITTED_1, COMMITTED_2), (stamp::HANDED, HANDED_1, HANDED_2)]
    {
        let disk = MemoryDisk::default();
        disk.put(&path(name), one.to_vec());
        assert_eq!(read(&disk, name), Some(7), "{name}");
        disk.put(&path(name), two.to_vec());
        assert_eq!(read(&disk, name), Some(8), "{name}");

        let disk = MemoryDisk::default();
        let place = Place { disk: Arc::new(disk.clone()), dir: DIR.into(), incarnation: GOLDEN_LIFE };
        let mut position = Position::new(&place, name, 0, false);
        [6, 7, 8].iter().for_each(|at| position.write(&place, *at).expect("room"));
        assert_eq!(disk.bytes(&path(name)), two, "the format has changed");
    }
}

#[test]
fn a_journal_with_positions_of_format_one_goes_on_and_gives_them_slots() {
    let (disk, life) = handed_four_and_freed_two();
    for (name, at) in [(stamp::COMMITTED, 2), (stamp::HANDED, 4)] {
        stamp::write_position(&disk, Path::new(DIR), name, life, at, &[]).expect("room");
        assert_eq!(disk.bytes(&path(name)).len(), 37);
    }
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.incarnation, recovery.repaired), (life, Repaired::default()));
    assert_eq!(journal.stats().committed, 2);
    assert!(matches!(journal.free(5), Err(JournalError::Ahead { committed: 5, last: 4 })));
    NAMES.iter().for_each(|name| assert_eq!(disk.bytes(&path(name)).len(), WHOLE, "{name}"));
}

/// Three segments of two; of two of them it is known that they were handed out, of one that the lake has it.
fn handed_four_and_freed_two() -> (MemoryDisk, Incarnation) {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    journal.read_after(None).expect("sound").expect("one");
    journal.read_after(Some(2)).expect("sound").expect("one");
    journal.free(2).expect("known");
    let life = journal.incarnation();
    (disk, life)
}

/// Without room, without the reserve, as where another program has taken what it gave up.
#[test]
fn on_a_full_disk_without_its_reserve_everything_goes_up_and_is_freed_over_restarts() {
    let disk = MemoryDisk::default();
    drop(sealed(&disk, 6));
    disk.delete(&path("reserve"));
    for last in [2, 4, 6, 8, 10, 12] {
        disk.set_room(Some(0));
        let (mut journal, _) = open(&disk);
        let (header, _) = journal.read_after(None).expect("readable").expect("one");
        assert_eq!((header.from, header.to), (last - 1, last));
        journal.free(last).expect("there is room for the position");
        assert_eq!(journal.stats().depth, 12 - last);
        drop(journal);
        disk.lose_power();
    }
    assert_eq!(open(&disk).0.stats().depth, 0);
    assert_eq!(disk.files(".wseg"), [] as [PathBuf; 0]);
}

#[test]
fn a_full_disk_does_not_take_the_reserve_away() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    disk.set_room(Some(0));
    assert_eq!(ranges(&mut journal).len(), 3);
    journal.free(6).expect("there is room for the position");
    assert_eq!(disk.files("reserve").len(), 1);
}

/// As on a file system that writes nothing in place.
#[test]
fn a_position_without_slots_takes_the_room_of_the_reserve_and_then_of_log_that_makes_way() {
    for (reserve, log, goes) in [(true, false, true), (false, true, true), (false, false, false)] {
        let disk = MemoryDisk::default();
        let (mut journal, _) = open(&disk);
        if log {
            let keyframe = Event::new(site(), None, EventKind::Keyframe, "");
            journal.append(Micros(0), Row::Event(keyframe)).expect("room");
        }
        append(&mut journal, 200);
        let last = journal.sync().expect("room");
        journal.seal(LATER).expect("room");
        journal.checkpoint(last, b"").expect("room");
        journal.read_after(None).expect("sound").expect("one");
        assert_eq!(!disk.files(".wlog").is_empty(), log);
        disk.delete(&path(stamp::COMMITTED));
        if !reserve {
            disk.delete(&path("reserve"));
        }
        disk.set_room(Some(0));
        let freed = journal.free(last);
        assert_eq!(freed.is_ok(), goes, "reserve {reserve}, log {log}: {freed:?}");
        disk.set_room(None);
        journal.free(last).expect("room");
        drop(journal);
        disk.lose_power();
        assert_eq!(open(&disk).0.stats().committed, last);
    }
}

#[test]
fn a_write_that_is_cut_anywhere_leaves_the_position_before_it() {
    let (disk, _) = handed_four_and_freed_two();
    let before = disk.copy();
    let mut journal = open(&disk).0;
    journal.read_after(Some(4)).expect("sound").expect("one");
    journal.free(4).expect("known");
    drop(journal);
    for name in NAMES {
        let (old, new) = (before.bytes(&path(name)), disk.bytes(&path(name)));
        assert_eq!((old.len(), new.len()), (WHOLE, WHOLE));
        let differs = (0..WHOLE).filter(|at| old[*at] != new[*at]);
        let (first, last) = (differs.clone().min().expect("some"), differs.max().expect("some"));
        assert!(last - first < 37, "one slot is written, {name}: {first} to {last}");
        for cut in first..=last + 1 {
            let disk = before.copy();
            disk.rot(&path(name), [&new[..cut], &old[cut..]].concat());
            let (journal, recovery) = open(&disk);
            assert_eq!(recovery.repaired, Repaired::default(), "{name} cut at {cut}");
            let at = if name == stamp::HANDED { journal.handed.at } else { journal.committed.at };
            let expected = if name == stamp::HANDED { [4, 6] } else { [2, 4] };
            assert_eq!(at, expected[usize::from(cut > last)], "{name} cut at {cut}");
        }
    }
}

#[test]
fn any_damage_to_a_slot_leaves_the_other_one_and_damage_to_both_is_set_aside() {
    let (disk, _) = handed_four_and_freed_two();
    let mut journal = open(&disk).0;
    ranges(&mut journal);
    journal.free(4).expect("known");
    drop(journal);
    for name in NAMES {
        let sound = disk.bytes(&path(name));
        let check = |bytes: Vec<u8>, aside: usize| {
            let disk = disk.copy();
            disk.rot(&path(name), bytes.clone());
            let (mut journal, recovery) = open(&disk);
            assert_eq!(recovery.repaired.set_aside.len(), aside, "{name}: {:?}", recovery.repaired);
            assert_eq!(append(&mut journal, 1), [7]);
            journal.sync().expect("room");
            journal.seal(LATER).expect("room");
            assert_eq!(ranges(&mut journal).last(), Some(&(7, 7)));
            journal.free(7).expect("all was handed out");
            assert_eq!(disk.bytes(&path(name)).len(), WHOLE);
        };
        for at in (0..37).flat_map(|at| [at, SECOND + at]) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            check(bytes.clone(), 0);
            bytes[(at + SECOND) % WHOLE] ^= 1;
            check(bytes, 1);
        }
        let lengths = [0, 37, SECOND, WHOLE - 1].map(|len| sound[..len].to_vec());
        let others = [vec![0; WHOLE], [&sound[..], b"more"].concat()];
        lengths.into_iter().chain(others).for_each(|bytes| check(bytes, 1));
    }
}

/// A process is killed before a position lasts, the next one finds it in the system's memory, and then the power goes.
#[test]
fn the_lake_is_never_ahead_of_what_is_noted_when_the_power_goes_after_a_kill() {
    let (disk, life) = handed_four_and_freed_two();
    for (kill, later, seed) in
        (0..4).flat_map(|kill| (0..12).flat_map(move |later| (0..6).map(move |seed| (kill, later, seed))))
    {
        let disk = disk.copy();
        let context = format!("killed at step {kill}, power cut {later} steps after that, seed {seed}");
        let mut journal = open(&disk).0;
        disk.fail_at(disk.steps() + kill, Fault::Failing, true);
        let _ = journal.read_after(Some(4));
        let _ = journal.free(4);
        drop(journal);
        disk.heal();
        let (mut journal, _) = open(&disk);
        disk.fail_at(disk.steps() + later, Fault::PowerCut, true);
        let mut lake = 4;
        while let Ok(Some((header, _))) = journal.read_after(Some(lake)) {
            lake = header.to;
        }
        let _ = journal.free(lake);
        drop(journal);
        match seed {
            0 => disk.lose_power(),
            _ => disk.lose_power_but(faults::chance(seed * 1_000_003 + kill as u64 * 100 + later as u64)),
        }
        let (mut journal, recovery) = open(&disk);
        assert_eq!((recovery.incarnation, recovery.last), (life, 6), "{context}");
        assert_eq!(recovery.repaired, Repaired::default(), "{context}");
        journal.free(lake).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(journal.stats().committed, lake, "{context}");
    }
}
