//! Files that are cut, flipped, missing, doubled, foreign.

use std::path::Path;

use super::*;

/// The disk of a journal with five synced rows in one log file, that file, and its bytes.
fn five_rows() -> (MemoryDisk, PathBuf, Vec<u8>) {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 5);
    journal.sync().expect("room");
    drop(journal);
    let path = disk.files(".wlog").remove(0);
    let bytes = disk.bytes(&path);
    (disk, path, bytes)
}

/// Where each frame begins, and the end.
fn frame_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![frame::HEADER_BYTES];
    while *starts.last().expect("one") < bytes.len() {
        let at = starts.last().expect("one");
        let len = u32::from_le_bytes(bytes[at + 2..at + 6].try_into().expect("four"));
        starts.push(at + 10 + len as usize);
    }
    starts
}

#[test]
fn a_write_cut_at_any_byte_gives_exactly_the_whole_rows_before_it() {
    let (disk, path, bytes) = five_rows();
    let starts = frame_starts(&bytes);
    for cut in 0..bytes.len() {
        let disk = disk.copy();
        disk.put(&path, bytes[..cut].to_vec());
        // The last frame is the end of the write.
        let whole = starts.iter().filter(|start| **start <= cut).count().saturating_sub(1).min(5) as u64;
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.last, whole, "cut at {cut}");
        assert_eq!(sequences(recovery.rows).len() as u64, whole, "cut at {cut}");
        assert_eq!(append(&mut journal, 1), [whole + 1], "cut at {cut}");
        journal.sync().expect("room");
        drop(journal);
        let expected: Vec<_> = (1..=whole as i64 + 1).collect();
        assert_eq!(sequences(open(&disk).1.rows), expected, "opened again after a cut at {cut}");
    }
}

/// What becomes of the five rows when the log file has these bytes: the rows and gaps, and what was repaired.
fn reopened(disk: &MemoryDisk, path: &std::path::Path, bytes: Vec<u8>) -> (Vec<i64>, Repaired) {
    let disk = disk.copy();
    disk.put(path, bytes);
    let (mut journal, recovery) = open(&disk);
    let (found, next) = (sequences(recovery.rows), recovery.last + 1);
    assert_eq!(append(&mut journal, 1), [next]);
    journal.sync().expect("room");
    journal.seal(LATER).expect("sealed");
    assert_eq!(ranges(&mut journal).last().map(|range| range.1), Some(next));
    (found, recovery.repaired)
}

#[test]
fn a_flipped_bit_anywhere_costs_one_row_and_no_number() {
    let (disk, path, bytes) = five_rows();
    let starts = frame_starts(&bytes);
    for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        let (found, repaired) = reopened(&disk, &path, flipped);
        let mut expected = vec![1, 2, 3, 4, 5];
        let hit = starts.windows(2).position(|frame| (frame[0]..frame[1]).contains(&at));
        // The sixth frame is the end of the write, which tells that the fifth was there.
        if let Some(hit) = hit.filter(|hit| *hit < 5) {
            expected[hit] = -expected[hit];
            assert_eq!(repaired.damaged_places, 1, "byte {at}, bit {bit}");
        }
        assert_eq!(found, expected, "byte {at}, bit {bit}");
    }
}

#[test]
fn a_block_of_zeros_costs_the_rows_that_it_hits_and_no_number() {
    let (disk, path, bytes) = five_rows();
    let starts = frame_starts(&bytes);
    for size in [1, 16, 64, 100] {
        for at in 0..bytes.len() {
            let block = at..(at + size).min(bytes.len());
            let mut zeroed = bytes.clone();
            zeroed[block.clone()].fill(0);
            let (found, _) = reopened(&disk, &path, zeroed);
            let is_hit = |row: usize| starts[row] < block.end && block.start < starts[row + 1];
            let rows: Vec<i64> = found.iter().copied().filter(|row| *row > 0).collect();
            let left: Vec<i64> = (0..5).filter(|row| !is_hit(*row)).map(|row| row as i64 + 1).collect();
            assert!(left.iter().all(|row| rows.contains(row)), "{block:?}: {found:?}");
            // What is hit together with the end of the write looks like a write that was cut.
            if !is_hit(5) {
                let last = found.last().copied().unwrap_or_default();
                assert!(last == 5 || last < 0, "{block:?}: {found:?}");
            }
        }
    }
}

/// A small file with each bit flipped, cut at each byte, full of zeros, and with something behind it.
pub(super) fn damages(sound: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flips = (0..sound.len() * 8).map(|bit| {
        let mut bytes = sound.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let cuts = (0..sound.len()).map(|len| sound[..len].to_vec());
    flips.chain(cuts).chain([vec![0; sound.len()], vec![0; 4096], [sound, b"more"].concat()])
}

/// Damage to `restored` is tried with `image` and `restored`.
#[test]
fn any_damage_to_any_small_file_is_set_aside_and_costs_no_row() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 2);
    ranges(&mut journal);
    journal.checkpoint(2, b"state").expect("room");
    journal.free(2).expect("known");
    append(&mut journal, 1);
    journal.sync().expect("room");
    let life = journal.incarnation();
    drop(journal);
    // As older versions wrote them; the slots of today are in `positions`.
    for (name, at) in [(stamp::COMMITTED, 2), (stamp::HANDED, 4)] {
        stamp::write_position(&disk, Path::new(DIR), name, life, at, &[]).expect("room");
    }
    for name in [stamp::IDENTITY, stamp::COMMITTED, stamp::HANDED, stamp::CHECKPOINT] {
        let path = PathBuf::from(DIR).join(name);
        for bytes in damages(&disk.bytes(&path)) {
            let disk = disk.copy();
            disk.rot(&path, bytes.clone());
            let (mut journal, recovery) = open(&disk);
            assert_eq!(recovery.repaired.set_aside.len(), 1, "{name}: {bytes:02x?}");
            assert_eq!((recovery.last, append(&mut journal, 1)), (5, vec![6]), "{name}: {bytes:02x?}");
            journal.sync().expect("room");
            journal.seal(LATER).expect("room");
            assert_eq!(ranges(&mut journal).last(), Some(&(6, 6)), "{name}: {bytes:02x?}");
            assert_eq!(open_again(journal, &disk).incarnation, recovery.incarnation);
        }
    }
}

fn open_again(journal: Journal, disk: &MemoryDisk) -> Recovery {
    drop(journal);
    open(disk).1
}

#[test]
fn a_log_file_that_is_there_twice_is_read_once() {
    let (disk, path, bytes) = five_rows();
    for other in [3, 6, 99] {
        let disk = disk.copy();
        disk.put(&path.with_file_name(log::name(other)), bytes.clone());
        let (mut journal, recovery) = open(&disk);
        assert_eq!(sequences(recovery.rows), [1, 2, 3, 4, 5], "as {other}");
        assert_eq!(append(&mut journal, 1), [6], "as {other}");
        journal.sync().expect("room");
        drop(journal);
        assert_eq!(sequences(open(&disk).1.rows), [1, 2, 3, 4, 5, 6], "as {other}");
    }
}

#[test]
fn any_damage_to_a_segment_is_mended_from_the_log() {
    let disk = MemoryDisk::default();
    drop(sealed(&disk, 3));
    let path = disk.files(".wseg")[1].clone();
    let sound = disk.bytes(&path);
    let flips = (0..sound.len()).map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    let cuts = (0..sound.len()).map(|len| sound[..len].to_vec());
    for bytes in flips.chain(cuts).chain([vec![0; sound.len()]]) {
        let disk = disk.copy();
        disk.rot(&path, bytes);
        let (mut journal, _) = open(&disk);
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
        assert_eq!(disk.bytes(&path), sound);
        assert_eq!(journal.stats().damaged, 1);
        assert_eq!(disk.files("/aside/").len(), 1);
    }
}

#[test]
fn damage_is_kept_aside_once_and_sealed_as_a_gap() {
    let (disk, path, mut bytes) = five_rows();
    let second = frame_starts(&bytes)[1];
    bytes[second + 20] ^= 1;
    disk.put(&path, bytes);
    drop(open(&disk));
    let (mut journal, _) = open(&disk);
    assert_eq!(disk.files("/aside/").len(), 1);
    assert_eq!(journal.stats().damaged, 1);
    append(&mut journal, 1);
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    let (_, segment) = journal.read_after(None).expect("sound").expect("one");
    assert_eq!(gaps(&segment), ["2..=2: damage"]);
    assert_eq!(ranges(&mut journal), [(1, 5), (6, 6)]);
}

#[test]
fn a_missing_log_file_is_a_gap() {
    let disk = MemoryDisk::default();
    for _ in 0..3 {
        let (mut journal, _) = open(&disk);
        append(&mut journal, 2);
        journal.sync().expect("room");
    }
    disk.delete(&disk.files(".wlog")[1]);
    let (mut journal, recovery) = open(&disk);
    assert_eq!(sequences(recovery.rows), [1, 2, -3, 5, 6]);
    journal.seal(LATER).expect("room");
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 6)]);
}

#[test]
fn a_log_of_another_journal_or_a_newer_format_is_set_aside() {
    let (disk, path, bytes) = five_rows();
    let mut newer = bytes[..frame::HEADER_BYTES - 4].to_vec();
    newer[4] = 3;
    newer.extend_from_slice(&crc32fast::hash(&newer).to_le_bytes());
    let foreign = frame::header(Incarnation(1), 6);
    for (name, content) in [("newer", newer), ("foreign", foreign), ("noise", vec![0x5A; 500])] {
        let disk = disk.copy();
        disk.put(&path.with_file_name(log::name(6)), content);
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.repaired.set_aside.len(), 1, "{name}");
        assert_eq!(sequences(recovery.rows), [1, 2, 3, 4, 5], "{name}");
        assert_eq!(append(&mut journal, 1), [6], "{name}");
        assert_eq!(disk.files("/aside/").len(), 1, "{name}");
    }
}

#[test]
fn a_damaged_or_missing_segment_is_made_again_from_the_log() {
    let harms: [fn(&mut Vec<u8>); 4] =
        [|_| (), |bytes| bytes[40] ^= 1, |bytes| bytes.truncate(9), |bytes| bytes.clear()];
    for harm in harms {
        let disk = MemoryDisk::default();
        let mut journal = sealed(&disk, 3);
        let path = disk.files(".wseg")[1].clone();
        let sound = disk.bytes(&path);
        let mut bytes = sound.clone();
        harm(&mut bytes);
        if bytes == sound {
            disk.delete(&path);
        } else {
            disk.put(&path, bytes);
        }
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
        assert_eq!(disk.bytes(&path), sound);
    }
}

#[test]
fn a_missing_segment_that_the_log_has_no_more_becomes_a_gap() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    journal.checkpoint(6, b"").expect("room");
    drop(journal);
    disk.delete(&disk.files(".wseg")[1]);
    let (mut journal, recovery) = open(&disk);
    assert_eq!(recovery.repaired.missing_segments, [(3, 4)]);
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
    let (_, bytes) = journal.read_after(Some(2)).expect("sound").expect("one");
    assert_eq!(gaps(&bytes), ["3..=4: damage"]);
}

#[test]
fn a_doubled_segment_is_set_aside() {
    let disk = MemoryDisk::default();
    drop(sealed(&disk, 2));
    let path = disk.files(".wseg")[0].clone();
    disk.put(&path.with_file_name(seal::name(1, 1)), disk.bytes(&path));
    let (mut journal, _) = open(&disk);
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4)]);
    assert_eq!(disk.files("journal/segment-").len(), 2);
    assert_eq!(disk.files("/aside/").len(), 1);
}

/// A disk with three segments and no log behind them.
fn three_segments() -> (MemoryDisk, Incarnation) {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 3);
    journal.checkpoint(6, b"").expect("room");
    assert_eq!(disk.files(".wlog"), [] as [PathBuf; 0]);
    (disk, journal.incarnation())
}

/// A segment of these entries, under that name.
fn put_segment(
    disk: &MemoryDisk,
    edge: &str,
    life: Incarnation,
    entries: (u64, u64),
    named: (u64, u64),
) -> PathBuf {
    let mut builder = wattle_columns::SegmentBuilder::new(EdgeId::new(edge).expect("name"), life);
    for sequence in entries.0..=entries.1 {
        let record = Record { sequence, at_us: Micros(0), row: reading(sequence as i64) };
        builder.push(&record).expect("in order");
    }
    let path = PathBuf::from(DIR).join(seal::name(named.0, named.1));
    disk.put(&path, builder.finish().expect("some").encode().expect("small"));
    path
}

#[test]
fn a_segment_of_another_journal_is_set_aside_and_takes_nothing_of_ours_along() {
    let (disk, life) = three_segments();
    for (edge, of, entries, named) in [
        ("edge-1", Incarnation(1), (1, 5_000), (1, 5_000)),
        ("edge-2", life, (1, 10), (1, 10)),
        ("edge-1", life, (1, 2), (1, 10)),
        ("edge-2", Incarnation(1), (7, 8), (7, 8)),
        ("edge-2", Incarnation(1), (3, 4), (3, 9)),
    ] {
        let disk = disk.copy();
        put_segment(&disk, edge, of, entries, named);
        let (mut journal, recovery) = open(&disk);
        assert_eq!((recovery.last, journal.stats().sealed_to), (6, 6), "{named:?}");
        assert_eq!(recovery.repaired.set_aside.len(), 1, "{named:?}: {:?}", recovery.repaired);
        assert_eq!(recovery.repaired.missing_segments, [], "{named:?}");
        assert_eq!(disk.files("/aside/").len(), 1, "{named:?}");
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)], "{named:?}");
        let (_, bytes) = journal.read_after(None).expect("sound").expect("one");
        assert_eq!(gaps(&bytes), [] as [String; 0], "{named:?}");
        assert_eq!(journal.stats().damaged, 0, "{named:?}");
        // Rows go on to be sealed behind ours.
        append(&mut journal, 2);
        journal.sync().expect("room");
        journal.seal(LATER).expect("room");
        assert_eq!(ranges(&mut journal).last(), Some(&(7, 8)), "{named:?}");
    }
}

#[test]
fn what_a_longer_segment_covers_goes_only_when_that_is_sound() {
    let (disk, life) = three_segments();
    let longer = |disk: &MemoryDisk| put_segment(disk, "edge-1", life, (1, 4), (1, 4));
    let copy = disk.copy();
    longer(&copy);
    assert_eq!(ranges(&mut open(&copy).0), [(1, 4), (5, 6)]);
    assert_eq!(copy.files(".wseg").len(), 2);
    let path = longer(&disk);
    let sound = disk.bytes(&path);
    for at in 0..sound.len() {
        let disk = disk.copy();
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        disk.rot(&path, bytes);
        let (mut journal, recovery) = open(&disk);
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)], "byte {at}");
        assert_eq!(recovery.repaired.set_aside.len(), 1, "byte {at}");
    }
    // One that can't be read now may be read later.
    disk.unreadable(&seal::name(1, 4));
    drop(open(&disk));
    disk.heal();
    assert_eq!(disk.files(".wseg").len(), 4);
    assert_eq!(ranges(&mut open(&disk).0), [(1, 4), (5, 6)]);
}

#[test]
fn a_journal_of_segments_alone_is_known_again_by_them() {
    let (disk, life) = three_segments();
    disk.delete(&PathBuf::from(DIR).join(stamp::IDENTITY));
    let (mut journal, recovery) = open(&disk);
    assert_eq!((recovery.incarnation, recovery.last), (life, 6));
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6)]);
}

#[test]
fn a_lost_identity_is_known_again_by_the_log() {
    let (disk, path, _) = five_rows();
    let before = open(&disk).1.incarnation;
    disk.put(&path.with_file_name(stamp::IDENTITY), b"rust".to_vec());
    let (_, recovery) = open(&disk);
    assert_eq!((recovery.incarnation, recovery.last), (before, 5));
    assert_eq!(recovery.repaired.set_aside.len(), 1);
}

#[test]
fn a_damaged_checkpoint_leaves_the_rows_that_are_there() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 2);
    journal.checkpoint(2, b"two").expect("room");
    drop(journal);
    disk.put(&PathBuf::from(DIR).join(stamp::CHECKPOINT), b"WCHK".to_vec());
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.checkpoint, None);
    assert_eq!(sequences(recovery.rows), [-1, 3, 4]);
}

#[test]
fn what_a_cut_replacement_left_is_removed() {
    let disk = MemoryDisk::default();
    disk.put(&PathBuf::from(DIR).join("committed.tmp"), b"half".to_vec());
    drop(open(&disk));
    assert_eq!(disk.files(".tmp"), [] as [PathBuf; 0]);
}

#[test]
fn only_the_newest_files_are_kept_aside() {
    let disk = MemoryDisk::default();
    for n in 0..20 {
        disk.put(&PathBuf::from(DIR).join(stamp::CHECKPOINT), vec![n; 4]);
        drop(open(&disk));
    }
    let kept = disk.files("/aside/");
    assert_eq!(kept.len(), 16);
    assert_eq!(disk.bytes(&kept[15]), [19; 4]);
}
