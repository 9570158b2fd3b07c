//! A folder that is a copy of another's: a restored backup.

use std::path::Path;

use super::*;

fn former(life: Incarnation) -> Options {
    Options { dir: folder_of(life), is_former: true, ..options() }
}

fn folder_of(life: Incarnation) -> PathBuf {
    PathBuf::from(DIR).join(format!("before-{life}"))
}

/// A disk with four sealed rows and two that aren't.
fn original() -> (MemoryDisk, Incarnation) {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 2);
    append(&mut journal, 2);
    journal.sync().expect("room");
    let life = journal.incarnation();
    (disk, life)
}

fn check_new_life(disk: &MemoryDisk, old: Incarnation) {
    let (mut journal, recovery) = open(disk);
    assert_ne!(recovery.incarnation, old);
    assert_eq!((recovery.last, append(&mut journal, 1)), (0, vec![1]));
    journal.sync().expect("room");
    let (mut before, recovery) = open_as(disk, former(old));
    assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (old, 6, None));
    assert_eq!(sequences(recovery.rows), [1, 2, 3, 4, 5, 6]);
    before.seal(LATER).expect("room");
    assert_eq!(ranges(&mut before), [(1, 2), (3, 4), (5, 6)]);
    drop((journal, before));
    // Both stay what they are.
    assert_eq!(open(disk).1.restored_from, None);
    assert_eq!(open(disk).1.last, 1);
    assert_eq!(open_as(disk, former(old)).1.incarnation, old);
}

#[test]
fn a_restored_backup_begins_a_new_life_and_what_it_has_goes_up_under_the_old_one() {
    let (disk, old) = original();
    let copy = disk.restored();
    let (journal, recovery) = open(&copy);
    assert_eq!(recovery.restored_from, Some(old));
    drop(journal);
    check_new_life(&copy, old);
    assert_eq!(open(&disk).1.incarnation, old, "the original is what it was");
}

#[test]
fn the_power_may_go_at_any_step_of_a_new_life() {
    let (disk, old) = original();
    for step in 0.. {
        let copy = disk.restored();
        copy.fail_at(step, Fault::PowerCut, true);
        let opened = recovery::open(Arc::new(copy.clone()), options(), Micros(0));
        let whole = copy.steps() <= step;
        drop(opened);
        copy.lose_power();
        check_new_life(&copy, old);
        if whole {
            assert!(step > 10);
            return;
        }
    }
}

#[test]
fn a_folder_that_was_moved_or_renamed_is_no_copy() {
    let (disk, old) = original();
    for path in disk.files(DIR) {
        let to = PathBuf::from("/elsewhere").join(path.file_name().expect("a name"));
        disk.rename(&path, &to).expect("there");
    }
    let (_, recovery) = open_as(&disk, Options { dir: "/elsewhere".into(), ..options() });
    assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (old, 6, None));
}

#[test]
fn a_lake_that_is_ahead_is_noticed_even_when_the_copy_has_caught_up() {
    // An image of the file system: its files are the same files.
    let (disk, old) = original();
    let copy = disk.copy();
    let (mut journal, recovery) = open(&copy);
    assert_eq!((recovery.incarnation, recovery.last), (old, 6));
    append(&mut journal, 10);
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    let refused = journal.free(9).expect_err("it was never handed out");
    assert!(matches!(refused, JournalError::Ahead { committed: 9, last: 0 }), "{refused}");
    journal.declare_restored().expect("room");
    drop(journal);
    let (_, recovery) = open(&copy);
    assert_eq!((recovery.restored_from, recovery.last), (Some(old), 16), "nothing was handed out");
    let (journal, recovery) = open_as(&copy, former(old));
    assert_eq!((recovery.last, journal.stats().depth), (0, 0));
}

#[test]
fn a_former_life_is_freed_by_a_lake_that_has_more_of_it_than_the_copy() {
    let (disk, old) = original();
    let copy = disk.restored();
    drop(open(&copy));
    let (mut former, recovery) = open_as(&copy, former(old));
    assert_eq!((recovery.incarnation, recovery.last), (old, 6));
    former.free(9).expect("room");
    assert_eq!((former.stats().committed, former.stats().depth), (6, 0));
}

#[test]
fn a_former_life_stays_what_it_is_when_the_copy_is_copied_too() {
    let (disk, old) = original();
    let copy = disk.restored();
    let (_, second) = open(&copy);
    let again = copy.restored();
    let (_, third) = open(&again);
    assert_eq!((third.restored_from, third.last), (Some(second.incarnation), 0));
    let (mut former, recovery) = open_as(&again, former(old));
    assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (old, 6, None));
    former.seal(LATER).expect("room");
    assert!(former.read_after(None).expect("readable").is_some(), "its rows go up");
}

#[test]
fn a_copy_of_a_copy_whose_new_life_is_on_its_way_gets_a_life_of_its_own() {
    let (disk, old) = original();
    for step in 0.. {
        let first = disk.restored();
        first.fail_at(step, Fault::PowerCut, true);
        drop(recovery::open(Arc::new(first.clone()), options(), Micros(0)));
        let whole = first.steps() <= step;
        first.lose_power();
        let second = first.restored();
        let lives = [&first, &second].map(|disk| open(disk).1.incarnation);
        assert!(!lives.contains(&old) && lives[0] != lives[1], "step {step}: {lives:?}");
        let between = second.files("/identity").into_iter().filter_map(|file| life_of(file.parent()?));
        assert!(between.into_iter().all(|life| life != lives[1]), "step {step}");
        check_new_life(&first, old);
        check_new_life(&second, old);
        if whole {
            assert!(step > 10);
            return;
        }
    }
}

#[test]
fn former_lives_are_in_the_order_of_the_lives() {
    let (mut disk, old) = original();
    let mut lives = vec![old];
    for _ in 0..5 {
        disk = disk.restored();
        let (mut journal, recovery) = open(&disk);
        append(&mut journal, 1);
        journal.sync().expect("room");
        lives.push(recovery.incarnation);
    }
    lives.pop();
    let expected: Vec<_> = lives.into_iter().map(folder_of).collect();
    let mut found = expected.clone();
    found.sort();
    in_order(&disk, &mut found);
    assert_eq!(found, expected);
    // One of an older version doesn't tell which came after it.
    disk.delete(&expected[2].join("restored"));
    in_order(&disk, &mut found);
    assert_eq!(found[0], expected[2]);
}

/// It stays there for good, to tell which life came after this one.
#[test]
fn any_damage_to_what_a_former_life_tells_costs_no_row_of_any_life() {
    let (disk, old) = original();
    let copy = disk.restored();
    let mut journal = open(&copy).0;
    append(&mut journal, 1);
    journal.sync().expect("room");
    let life = journal.incarnation();
    drop(journal);
    let path = folder_of(old).join(stamp::RESTORED);
    for bytes in damage::damages(&copy.bytes(&path)) {
        let copy = copy.copy();
        copy.rot(&path, bytes.clone());
        let (_, recovery) = open(&copy);
        assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (life, 1, None));
        let (mut before, recovery) = open_as(&copy, former(old));
        assert_eq!((recovery.incarnation, recovery.last), (old, 6), "{bytes:02x?}");
        before.seal(LATER).expect("room");
        assert_eq!(ranges(&mut before), [(1, 2), (3, 4), (5, 6)], "{bytes:02x?}");
        let mut folders = vec![folder_of(old)];
        in_order(&copy, &mut folders);
        assert_eq!(folders, [folder_of(old)]);
    }
}

fn life_of(dir: &Path) -> Option<Incarnation> {
    let hex = dir.file_name()?.to_str()?.strip_prefix("before-")?;
    Some(Incarnation(u128::from_str_radix(hex, 16).ok()?))
}

#[test]
fn an_identity_of_format_one_is_read_and_then_tells_copies_too() {
    let (disk, old) = original();
    let mut body = b"WJID\x01".to_vec();
    let len = 16 + "edge-1".len() as u32;
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(&old.0.to_le_bytes());
    body.extend_from_slice(b"edge-1");
    body.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    disk.put(&PathBuf::from(DIR).join(stamp::IDENTITY), body);
    let (_, recovery) = open(&disk.restored());
    assert_eq!((recovery.incarnation, recovery.last, recovery.restored_from), (old, 6, None));
    drop(open(&disk));
    assert_eq!(open(&disk.restored()).1.restored_from, Some(old));
}
