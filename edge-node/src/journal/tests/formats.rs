//! The small files that have no other place in these tests, as they were released. A format that was released is read for good, and the
//! present one is written so, byte for byte; a new one gets files of its own beside these.

use std::path::Path;

use super::*;
use crate::checkpoint::Checkpoint;

const IDENTITY_1: &[u8] = include_bytes!("../golden/identity-v1");
const IDENTITY_2: &[u8] = include_bytes!("../golden/identity-v2");
const CHECKPOINT_1: &[u8] = include_bytes!("../golden/checkpoint-v1");
const RESTORED_1: &[u8] = include_bytes!("../golden/restored-v1");
/// As versions wrote it that didn't tell which file it is.
const RESTORED_1_WITHOUT_FILE: &[u8] = include_bytes!("../golden/restored-v1-without-file");

const NEW_LIFE: Incarnation = Incarnation(0xfedc_ba98_7654_3210_fedc_ba98_7654_3210);
/// The id of the file into which the golden ones were written.
const FILE: u128 = 42;

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn edge() -> EdgeId {
    EdgeId::new("edge-1").expect("name")
}

/// A disk whose next new file has the id of the golden ones.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    (0..FILE).for_each(|n| disk.put(&PathBuf::from(format!("/elsewhere/{n}")), Vec::new()));
    disk
}

fn holding(name: &str, bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.put(&path(name), bytes.to_vec());
    disk
}

#[test]
fn an_identity_of_both_formats_is_read_and_that_of_format_two_written_as_released() {
    for (bytes, file) in [(IDENTITY_1, None), (IDENTITY_2, Some(FILE))] {
        let found = stamp::read_identity(&holding(stamp::IDENTITY, bytes), Path::new(DIR));
        let stamp::Found::Sound(found) = found else { panic!("it is sound") };
        assert_eq!((found.incarnation, found.edge, found.file), (GOLDEN_LIFE, edge(), file));
    }
    let disk = disk();
    stamp::write_identity(&disk, Path::new(DIR), &edge(), GOLDEN_LIFE).expect("room");
    assert_eq!(disk.bytes(&path(stamp::IDENTITY)), IDENTITY_2, "the format has changed");
}

#[test]
fn a_journal_of_either_identity_is_gone_on_with() {
    for bytes in [IDENTITY_1, IDENTITY_2] {
        let disk = disk();
        disk.put(&path(stamp::IDENTITY), bytes.to_vec());
        disk.put(&path(&log::name(7)), GOLDEN_2.to_vec());
        disk.put(&path(stamp::CHECKPOINT), CHECKPOINT_1.to_vec());
        let (mut journal, recovery) = open(&disk);
        assert_eq!((recovery.incarnation, recovery.restored_from), (GOLDEN_LIFE, None));
        assert_eq!(recovery.repaired, Repaired::default());
        assert_eq!(recovery.checkpoint.map(|(covered, _)| covered), Some(8));
        assert_eq!(append(&mut journal, 1), [9]);
    }
}

#[test]
fn a_checkpoint_is_written_and_read_as_released_with_what_the_core_keeps_in_it() {
    let mut kept = Checkpoint::default();
    for (device, sequence, state) in [("cp-1", 7, vec![1, 2]), ("cp-2", 300, vec![255])] {
        kept.keep(site(), DeviceId::new(device).expect("name"), sequence, Some(state));
    }
    let disk = MemoryDisk::default();
    let dir = Path::new(DIR);
    stamp::write_position(&disk, dir, stamp::CHECKPOINT, GOLDEN_LIFE, 8, &kept.encode()).expect("room");
    assert_eq!(disk.bytes(&path(stamp::CHECKPOINT)), CHECKPOINT_1, "the format has changed");

    let disk = holding(stamp::CHECKPOINT, CHECKPOINT_1);
    let found = stamp::read_position(&disk, dir, stamp::CHECKPOINT, GOLDEN_LIFE);
    let stamp::Found::Sound((covered, bytes)) = found else { panic!("it is sound") };
    assert_eq!((covered, Checkpoint::decode(&bytes)), (8, Ok(kept)));
    let of_another = stamp::read_position(&disk, dir, stamp::CHECKPOINT, NEW_LIFE);
    assert!(matches!(of_another, stamp::Found::Bad(_)), "it is of another journal");
}

#[test]
fn what_tells_of_a_copy_is_written_and_read_as_released() {
    for (bytes, file) in [(RESTORED_1, Some(FILE)), (RESTORED_1_WITHOUT_FILE, None)] {
        let found = stamp::read_restored(&holding(stamp::RESTORED, bytes), Path::new(DIR));
        let stamp::Found::Sound(found) = found else { panic!("it is sound") };
        assert_eq!((found.former, found.cut), (GOLDEN_LIFE, 7));
        assert_eq!((found.new, found.file), (NEW_LIFE, file));
    }
    let disk = disk();
    stamp::write_restored(&disk, Path::new(DIR), GOLDEN_LIFE, 7, NEW_LIFE).expect("room");
    assert_eq!(disk.bytes(&path(stamp::RESTORED)), RESTORED_1, "the format has changed");
}
