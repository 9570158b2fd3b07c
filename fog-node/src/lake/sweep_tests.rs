//! Sweeps and writers that are stopped between two steps, and files that can't be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use deltalake::kernel::Add;
use tempfile::TempDir;
use wattle_wire::row::EventKind;
use wattle_wire::uplink::Incarnation;

use super::columns::judged;
use super::table::RETENTION;
use super::tests::rows::{Journal as Rows, NOON, edge};
use super::tests::{commit, lake, one, position, some};
use super::*;

const COUNT: &str = "SELECT count(*) FROM readings_raw";
const TARGET: u64 = 64 << 20;

fn readings(folder: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path().join("readings_raw")).expect("a folder");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files
}

/// Has files be older than they are kept.
fn age(paths: &[PathBuf]) {
    for path in paths {
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(SystemTime::now() - 2 * RETENTION).expect("a time");
    }
}

async fn commits(lake: &Lake, journal: &mut Rows, rounds: i64) {
    for round in 0..rounds {
        commit(lake, vec![some(journal, NOON + round * 20)]).await;
    }
}

/// Ten readings in files that no entry names, and that are older than files are kept.
async fn written_long_ago(lake: &Lake, folder: &TempDir) -> Vec<Add> {
    let rows = judged(&some(&mut Rows::new(9), NOON).readings, lake.limits).expect("rows");
    let head = lake.readings.head();
    let written = lake.readings.write_files(head.table(), vec![rows]).await.expect("written");
    age(&readings(folder));
    written
}

#[tokio::test]
async fn a_sweep_that_was_stopped_leaves_what_others_committed_since_it_last_read_the_log() {
    let (folder, others) = lake().await;
    let stopped = Lake::open(folder.path()).await.expect("the same lake");
    commits(&others, &mut Rows::new(7), 3).await;
    age(&readings(&folder));
    assert_eq!(stopped.readings.snapshot().version(), Some(0), "it has seen none of it");
    let found = stopped.readings.untouched(RETENTION).await.expect("found");
    assert_eq!(found.files.len(), 3, "all are old enough");
    let late = written_long_ago(&others, &folder).await;
    let found = stopped.readings.untouched(RETENTION).await.expect("found");
    assert_eq!(found.files.len(), 4);
    let head = others.readings.head();
    assert_eq!(others.readings.append_files(&head, late, vec![]).await.expect("written"), Append::Done);
    age(&readings(&folder));
    assert_eq!(stopped.readings.remove_unnamed(found).await.expect("swept"), 0);
    assert_eq!(one(&others, COUNT).await, 40);
}

#[tokio::test]
async fn files_that_are_about_to_be_named_are_not_swept_however_long_ago_they_were_written() {
    let (folder, stopped) = lake().await;
    let others = Lake::open(folder.path()).await.expect("the same lake");
    let written = written_long_ago(&stopped, &folder).await;
    let found = others.readings.untouched(RETENTION).await.expect("found");
    assert_eq!(found.files.len(), 1);
    assert!(stopped.readings.claim(&written).expect("nothing is wrong"));
    assert_eq!(others.readings.remove_unnamed(found).await.expect("swept"), 0, "touched since it was found");
    assert_eq!(others.sweep().await.expect("swept"), 0);
    let head = stopped.readings.head();
    assert_eq!(stopped.readings.append_files(&head, written, vec![]).await.expect("written"), Append::Done);
    assert_eq!(one(&others, COUNT).await, 10);
}

#[tokio::test]
async fn a_file_that_a_sweep_is_looking_at_is_not_named() {
    let (folder, lake) = lake().await;
    let written = written_long_ago(&lake, &folder).await;
    let path = readings(&folder).remove(0);
    fs::rename(&path, path.with_extension("parquet.swept")).expect("put aside");
    let head = lake.readings.head();
    let appended = lake.readings.append_files(&head, written, vec![]).await;
    assert_eq!(appended.expect("nothing is wrong"), Append::Outdated);
    assert_eq!(lake.sweep().await.expect("swept"), 1, "the sweep was cut off, and the next one takes it");
    assert_eq!(readings(&folder), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_sweep_writes_no_entry_and_makes_no_checkpoint() {
    let (folder, lake) = lake().await;
    commits(&lake, &mut Rows::new(7), 1).await;
    let mut head = lake.readings.head();
    while head.version() < 98 {
        lake.readings
            .append(&head, Vec::new(), vec![("turn".to_owned(), head.version())])
            .await
            .expect("written");
        head = lake.readings.head();
    }
    written_long_ago(&lake, &folder).await;
    let log = folder.path().join("readings_raw/_delta_log");
    let entries = || {
        let entries = fs::read_dir(&log).expect("a log").map(|entry| entry.expect("an entry").file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let before = entries();
    assert_eq!(lake.sweep().await.expect("swept"), 1);
    assert_eq!(entries(), before);
}

#[tokio::test]
async fn two_sweeps_at_once_delete_each_file_once_and_nothing_else() {
    let (folder, ours) = lake().await;
    let theirs = Lake::open(folder.path()).await.expect("the same lake");
    commits(&ours, &mut Rows::new(7), 20).await;
    ours.compact(TARGET).await.expect("compacted");
    let (ours_deleted, theirs_deleted) =
        tokio::join!(ours.sweep_after(Duration::ZERO), theirs.sweep_after(Duration::ZERO));
    assert_eq!(ours_deleted.expect("swept") + theirs_deleted.expect("swept"), 60);
    ours.sweep_after(Duration::ZERO).await.expect("swept");
    assert_eq!((readings(&folder).len(), one(&ours, COUNT).await), (1, 200));
}

/// A way in which a file may be damaged.
type Damage = (&'static str, fn(&Path));

fn damages() -> [Damage; 5] {
    fn cut_to(path: &Path, part: u64) {
        let file = fs::File::options().write(true).open(path).expect("a file");
        let len = file.metadata().expect("a length").len();
        file.set_len(len * part / 4).expect("cut");
    }
    fn garbled(path: &Path, from: usize) {
        let mut bytes = fs::read(path).expect("a file");
        let from = bytes.len() * from / 4;
        let until = bytes.len().min(from + 600);
        bytes[from..until].fill(0xA5);
        fs::write(path, bytes).expect("written");
    }
    [
        ("empty", |path| cut_to(path, 0)),
        ("cut", |path| cut_to(path, 3)),
        ("garbled rows", |path| garbled(path, 0)),
        ("garbled footer", |path| garbled(path, 3)),
        ("gone", |path| fs::remove_file(path).expect("removed")),
    ]
}

#[tokio::test]
async fn a_file_that_can_not_be_read_keeps_nothing_else_from_being_merged_and_swept() {
    for (damage, apply) in damages() {
        let (folder, lake) = lake().await;
        commits(&lake, &mut Rows::new(7), 20).await;
        let rotten = readings(&folder).remove(7);
        let whole = fs::read(&rotten).expect("a file");
        apply(&rotten);
        for turn in 1..=3 {
            let error = lake.compact(TARGET).await.expect_err(damage).to_string();
            let named = format!("data file {} can't be read", rotten.display());
            assert!(
                error.contains(&named) && error.contains("put the file back"),
                "{damage}, {turn}: {error}"
            );
        }
        for (table, left) in [(&lake.readings, 2), (&lake.events, 1), (&lake.decisions, 1)] {
            assert_eq!(active_files(table).await, left, "{damage}: {}", table.name());
        }
        let gone = usize::from(damage == "gone");
        assert_eq!(lake.sweep_after(Duration::ZERO).await.expect("swept"), 59, "{damage}");
        assert_eq!(readings(&folder).len(), 2 - gone, "{damage}");
        assert_eq!(position(&lake, 7).await, Some(260), "{damage}");
        lake.compact(TARGET).await.expect_err("it is still damaged");
        fs::write(&rotten, whole).expect("put back");
        lake.sweep().await.expect("swept");
        lake.compact(TARGET).await.expect("all is well again");
        assert_eq!(one(&lake, COUNT).await, 200, "{damage}");
    }
}

#[tokio::test]
async fn a_file_that_is_empty_or_gone_never_passes_for_one_without_rows() {
    for (damage, apply) in damages().into_iter().filter(|(damage, _)| !damage.starts_with("garbled")) {
        let (folder, lake) = lake().await;
        let mut rows = Rows::new(7);
        commit(&lake, vec![rows.reading("cp-1", NOON, 7000, 5000).cut()]).await;
        lake.derive().await.expect("derived");
        let before = readings(&folder);
        commit(&lake, vec![rows.reading("cp-1", NOON + 60, 7000, 5100).cut()]).await;
        let newest = readings(&folder).into_iter().find(|path| !before.contains(path));
        apply(&newest.expect("a new file"));
        let journal = Journal { edge: edge(), incarnation: Incarnation(7) };
        let numbers = lake.raw_tables().readings.numbers(&journal, 1..=2).await;
        assert!(numbers.is_err(), "{damage}: what gaps are settled against");
        assert!(lake.derive().await.is_err(), "{damage}: what minutes are made of");
    }
}

async fn active_files(table: &Table) -> usize {
    use futures::StreamExt as _;
    table.reload().await.expect("a snapshot").get_active_add_actions_by_predicate(None).count().await
}

#[tokio::test]
async fn a_log_is_checkpointed_although_a_file_can_not_be_read_and_other_tables_although_one_can_not() {
    let (folder, lake) = lake().await;
    commits(&lake, &mut Rows::new(7), 20).await;
    for table in [&lake.readings, &lake.decisions] {
        for turn in 0..100 {
            let appended = table.append(&table.head(), Vec::new(), vec![("turn".to_owned(), turn)]).await;
            assert_eq!(appended.expect("written"), Append::Done);
        }
    }
    fs::write(readings(&folder).remove(3), "rot").expect("damaged");
    let events = folder.path().join("events/_delta_log").join(format!("{:020}.json", 21));
    fs::write(&events, "{ rot").expect("damaged");
    let error = lake.compact(TARGET).await.expect_err("damage").to_string();
    assert!(error.contains("table events can't be read") && error.contains("data file"), "{error}");
    let error = lake.sweep_after(Duration::ZERO).await.expect_err("damage").to_string();
    assert!(error.contains("table events can't be read"), "{error}");
    for table in [&lake.readings, &lake.decisions] {
        let log = folder.path().join(table.name()).join("_delta_log");
        assert!(log.join("_last_checkpoint").exists(), "{}", table.name());
    }
    let decisions = fs::read_dir(folder.path().join("decisions")).expect("a folder").count();
    assert_eq!(decisions, 2, "the log, and the one file that is left");
}

#[tokio::test]
async fn sessions_are_derived_although_intervals_can_not_be() {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.reading("cp-1", NOON, 7000, 5000);
    commit(&lake, vec![journal.cut()]).await;
    fs::write(readings(&folder).remove(0), "rot").expect("damaged");
    for (kind, second) in
        [(EventKind::Plugged, 0), (EventKind::Started, 5), (EventKind::Ended, 50), (EventKind::Unplugged, 60)]
    {
        journal.step("cp-1", "s1", kind, NOON + second, 100 + second);
    }
    commit(&lake, vec![journal.cut()]).await;
    lake.derive().await.expect_err("intervals need what is damaged");
    assert_eq!(one(&lake, "SELECT count(*) FROM sessions_revisions").await, 1);
}
