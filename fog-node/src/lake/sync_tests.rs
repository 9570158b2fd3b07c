//! What is brought to the disk before what, as a power cut would tell.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use deltalake::kernel::Action;

use super::disk::{ToDisk, to_disk};
use super::table::RETENTION;
use super::tests::rows::{Journal as Rows, NOON};
use super::tests::{commit, one, position, some};
use super::*;

/// What was brought to the disk, and which of the first entries of the readings' log were there then.
type Seen = Arc<Mutex<Vec<(PathBuf, Vec<bool>)>>>;

/// How many entries are looked for.
const FIRST: u64 = 24;

/// A lake that is looked at.
async fn watched(folder: &Path) -> (Lake, Seen) {
    let (seen, lake) = (Seen::default(), folder.to_owned());
    let (noted, own) = (seen.clone(), to_disk());
    let to_disk: ToDisk = Arc::new(move |path| {
        let entries = (0..FIRST).map(|version| entry(&lake, version).exists()).collect();
        noted.lock().expect("nobody panics").push((path.to_owned(), entries));
        own(path)
    });
    (Lake::open_on(folder, Limits::default(), &to_disk).await.expect("a lake"), seen)
}

fn entry(lake: &Path, version: u64) -> PathBuf {
    lake.join(format!("readings_raw/_delta_log/{version:020}.json"))
}

fn take(seen: &Seen) -> Vec<(PathBuf, Vec<bool>)> {
    std::mem::take(&mut *seen.lock().expect("nobody panics"))
}

#[tokio::test]
async fn a_checkpoint_of_a_log_is_on_the_disk_before_older_entries_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("a path");
    let (lake, seen) = watched(&path).await;
    let mut journal = Rows::new(7);
    commit(&lake, vec![some(&mut journal, NOON)]).await;
    let mut head = lake.readings.head();
    for turn in 1..=100 {
        let appended = lake.readings.append(&head, Vec::new(), vec![("turn".to_owned(), turn)]).await;
        assert_eq!(appended.expect("written"), Append::Done);
        head = lake.readings.head();
    }
    for version in 0..head.version() {
        let file = std::fs::File::options().write(true).open(entry(&path, version)).expect("an entry");
        file.set_modified(SystemTime::now() - 2 * RETENTION).expect("a time");
    }
    take(&seen);
    lake.readings.checkpoint_if_due().await.expect("a checkpoint");
    assert!(!entry(&path, 0).exists(), "older entries have gone");
    let name = format!("{:020}.checkpoint.parquet", head.version());
    let seen = take(&seen);
    let place = |name: &str| seen.iter().rposition(|(path, there)| there[0] && path.ends_with(name));
    let (checkpoint, hint, log) = (place(&name), place("_last_checkpoint"), place("_delta_log"));
    assert!(checkpoint.is_some() && hint.is_some(), "the files: {seen:?}");
    assert!(log > checkpoint && log > hint, "and then their names: {seen:?}");
    drop(lake);
    let lake = Lake::open(&path).await.expect("the lake");
    assert_eq!(
        (one(&lake, "SELECT count(*) FROM readings_raw").await, position(&lake, 7).await),
        (10, Some(13))
    );
}

/// Holds what was brought to the disk against an entry of the readings' log: the files that it names and their folder before it
/// was there, and it afterwards.
async fn check_entry(lake: &Lake, seen: &Seen, version: u64) {
    let store = lake.readings.snapshot().log_store();
    let actions = head::entry(&store, version).await.expect("readable").expect("an entry");
    let folder = lake.folder().join("readings_raw");
    let mut named: Vec<_> = actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Add(add) => Some(folder.join(add.path)),
            _ => None,
        })
        .collect();
    assert!(!named.is_empty(), "it names files");
    named.push(folder);
    let seen = take(seen);
    let index = usize::try_from(version).expect("one of the first");
    for path in named {
        let before = seen.iter().any(|(synced, there)| *synced == path && !there[index]);
        assert!(before, "{} before entry {version} is written: {seen:?}", path.display());
    }
    for path in [entry(lake.folder(), version), lake.folder().join("readings_raw/_delta_log")] {
        let after = seen.iter().any(|(synced, there)| *synced == path && there[index]);
        assert!(after, "{} once entry {version} is written: {seen:?}", path.display());
    }
}

#[tokio::test]
async fn data_files_are_on_the_disk_before_a_commit_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("a path");
    let (lake, seen) = watched(&path).await;
    commit(&lake, vec![some(&mut Rows::new(7), NOON)]).await;
    check_entry(&lake, &seen, 1).await;
}

#[tokio::test]
async fn merged_files_are_on_the_disk_before_they_take_the_place_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("a path");
    let (lake, seen) = watched(&path).await;
    let mut journal = Rows::new(7);
    for round in 0..20 {
        commit(&lake, vec![some(&mut journal, NOON + 20 * round)]).await;
    }
    take(&seen);
    assert_eq!(lake.compact(64 << 20).await.expect("compacted").written, 3);
    check_entry(&lake, &seen, 21).await;
}

#[tokio::test]
async fn entries_of_others_are_on_the_disk_before_anything_is_said_of_them_or_written_after_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("a path");
    let (lake, seen) = watched(&path).await;
    let others = Lake::open(&path).await.expect("the same lake");
    let (mut ours, mut theirs) = (Rows::new(7), Rows::new(8));
    commit(&others, vec![some(&mut theirs, NOON)]).await;
    let theirs_stands_in = others.readings.head().version();
    take(&seen);
    assert_eq!(position(&lake, 8).await, Some(13));
    let synced =
        |seen: &Seen, version| take(seen).iter().position(|(synced, _)| *synced == entry(&path, version));
    assert!(synced(&seen, theirs_stands_in).is_some(), "before their position is told");
    commit(&others, vec![some(&mut theirs, NOON + 20)]).await;
    commit(&lake, vec![some(&mut ours, NOON)]).await;
    let seen = take(&seen);
    let place = |version| seen.iter().position(|(synced, _)| *synced == entry(&path, version));
    let (before, after) = (place(theirs_stands_in + 1), place(theirs_stands_in + 2));
    assert!(before.is_some() && before < after, "before ours is written after it: {seen:?}");
    // A node that is started finds the same.
    let (_, seen) = watched(&path).await;
    assert!(take(&seen).iter().any(|(synced, _)| *synced == entry(&path, theirs_stands_in + 2)));
}
