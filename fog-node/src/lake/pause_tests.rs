//! A node that was stopped for longer than files and entries of the log are kept, while others went on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use deltalake::protocol::checkpoints::{cleanup_metadata, create_checkpoint};
use tempfile::TempDir;

use super::columns::judged;
use super::table::RETENTION;
use super::tests::rows::{Journal as Rows, NOON, edge};
use super::tests::{commit, lake, one, position, some};
use super::*;

const COUNT: &str = "SELECT count(*) FROM readings_raw";
const DIFFERENT: &str = "SELECT count(DISTINCT incarnation || '/' || sequence) FROM readings_raw";

fn entry(table: &Table, folder: &TempDir, version: u64) -> PathBuf {
    folder.path().join(table.name()).join(format!("_delta_log/{version:020}.json"))
}

/// Makes a checkpoint of a table, and has all but the newest entry be so old that they are dropped for it.
async fn goes_by(table: &Table, folder: &TempDir) {
    goes_by_to(table, folder, table.reload().await.expect("a snapshot").version().expect("a version")).await;
}

/// The same of the entries before a version.
async fn goes_by_to(table: &Table, folder: &TempDir, newest: u64) {
    let snapshot = table.reload().await.expect("a snapshot");
    let mut at = snapshot.clone();
    at.load_version(newest).await.expect("that version");
    create_checkpoint(&at, None).await.expect("a checkpoint");
    let long_ago = SystemTime::now() - 2 * RETENTION;
    for version in 0..newest {
        let file = std::fs::File::options().write(true).open(entry(table, folder, version));
        file.expect("an entry").set_modified(long_ago).expect("a time");
    }
    cleanup_metadata(&snapshot, None).await.expect("dropped");
    assert!(!entry(table, folder, newest - 1).exists());
}

#[tokio::test]
async fn a_node_that_was_stopped_while_others_dropped_its_end_of_the_log_writes_at_the_real_one() {
    let (folder, stopped) = lake().await;
    let (mut ours, mut theirs) = (Rows::new(7), Rows::new(8));
    commit(&stopped, vec![some(&mut ours, NOON)]).await;
    let others = Lake::open(folder.path()).await.expect("the same lake");
    for round in 0..4 {
        commit(&others, vec![some(&mut theirs, NOON + round * 20)]).await;
    }
    let heads = stopped.raw_tables();
    let next = heads.readings.head().version() + 1;
    for table in [heads.readings, heads.events, heads.decisions] {
        goes_by(table, &folder).await;
        assert_eq!(table.head().version() + 1, next, "the stopped node has seen nothing of it");
        assert!(!entry(table, &folder, next).exists(), "the number after its end is free again");
    }
    let report = commit(&stopped, vec![some(&mut ours, NOON + 20)]).await;
    assert_eq!((report.readings, report.fenced.len()), (10, 0));
    assert_eq!(commit(&stopped, vec![some(&mut ours, NOON + 40)]).await.readings, 10);
    commit(&others, vec![some(&mut theirs, NOON + 80)]).await;
    let anew = Lake::open(folder.path()).await.expect("the same lake");
    assert_eq!((one(&anew, COUNT).await, one(&anew, DIFFERENT).await), (80, 80));
    assert_eq!((position(&anew, 7).await, position(&anew, 8).await), (Some(39), Some(65)));
}

#[tokio::test]
async fn a_question_about_a_position_after_a_stop_hears_what_others_have_committed() {
    let (folder, stopped) = lake().await;
    let mut journal = Rows::new(7);
    commit(&stopped, vec![some(&mut journal, NOON)]).await;
    let others = Lake::open(folder.path()).await.expect("the same lake");
    for round in 1..4 {
        commit(&others, vec![some(&mut journal, NOON + round * 20)]).await;
    }
    let tables = stopped.raw_tables();
    for table in [tables.readings, tables.events, tables.decisions] {
        goes_by(table, &folder).await;
    }
    assert_eq!(position(&stopped, 7).await, Some(52));
}

#[tokio::test]
async fn files_that_were_swept_before_their_entry_was_written_are_never_named() {
    let (folder, stopped) = lake().await;
    let mut journal = Rows::new(7);
    let first = some(&mut journal, NOON);
    commit(&stopped, vec![first.clone()]).await;
    let head = stopped.readings.head();
    let batch = judged(&first.readings, stopped.limits).expect("rows");
    let written = stopped.readings.write_files(head.table(), vec![batch]).await.expect("written");
    let others = Lake::open(folder.path()).await.expect("the same lake");
    assert_eq!(others.sweep_after(Duration::ZERO).await.expect("swept"), written.len());
    let app = Journal { edge: edge(), incarnation: Incarnation(7) }.app_id();
    let appended = stopped.readings.append_files(&head, written, vec![(app, 99)]).await;
    assert_eq!(appended.expect("nothing is wrong"), Append::Outdated);
    assert_eq!(position(&stopped, 7).await, Some(13));
    assert_eq!(commit(&stopped, vec![some(&mut journal, NOON + 20)]).await.readings, 10);
    assert_eq!(one(&stopped, COUNT).await, 20);
}

/// A table in which entry 2 was dropped, and another node that had been stopped has written one of that number; what the log
/// says from 3 on holds.
async fn with_an_entry_that_nobody_reads(lake: &Lake, folder: &TempDir, rows: &mut Rows) {
    let stopped = Lake::open(folder.path()).await.expect("the same lake");
    let head = stopped.readings.head();
    assert_eq!(head.version(), 1);
    commit(lake, vec![rows.reading("cp-2", NOON, 3680, 5).cut()]).await;
    for round in 0..3 {
        commit(lake, vec![some(rows, NOON + 1200 + round * 20)]).await;
    }
    goes_by_to(&lake.readings, folder, 3).await;
    assert!(!entry(&lake.readings, folder, 2).exists());
    let late = stopped.readings.append(&head, Vec::new(), vec![("late".to_owned(), 1)]).await;
    assert_eq!(late.expect("nothing is wrong"), Append::Outdated);
    assert!(entry(&lake.readings, folder, 2).exists(), "the entry that nobody reads");
}

#[tokio::test]
async fn an_entry_that_nobody_reads_hides_no_rows_from_a_derivation() {
    let (folder, lake) = lake().await;
    let mut rows = Rows::new(7);
    commit(&lake, vec![some(&mut rows, NOON)]).await;
    assert_eq!(lake.derive().await.expect("derived").intervals, 1);
    with_an_entry_that_nobody_reads(&lake, &folder, &mut rows).await;
    lake.derive().await.expect("derived");
    assert_eq!(one(&lake, "SELECT sum(readings) FROM intervals").await, 41);
}

#[test]
fn a_position_is_not_taken_from_an_entry_that_nobody_reads_wherever_the_node_was_stopped() {
    // So that all threads that read files can be held up at once.
    const THREADS: usize = 8;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(THREADS).build().expect("a runtime");
    runtime.block_on(async {
        let (folder, lake) = lake().await;
        let mut rows = Rows::new(7);
        commit(&lake, vec![some(&mut rows, NOON)]).await;
        let stopped = Lake::open(folder.path()).await.expect("the same lake");
        for round in 1..4 {
            commit(&lake, vec![some(&mut rows, NOON + round * 20)]).await;
        }
        goes_by_to(&lake.readings, &folder, 3).await;
        let checkpoint = entry(&lake.readings, &folder, 3).with_extension("checkpoint.parquet");
        std::fs::rename(&checkpoint, folder.path().join("later")).expect("not there yet");
        let held = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let held = held.clone();
            tokio::task::spawn_blocking(move || held.wait());
        }
        let mut refreshing = Box::pin(stopped.readings.refresh());
        assert!(
            futures::poll!(refreshing.as_mut()).is_pending(),
            "it is stopped before it reads the next entry"
        );
        std::fs::rename(folder.path().join("later"), &checkpoint).expect("there now");
        let late = r#"{"txn":{"appId":"late","version":1}}"#;
        std::fs::write(entry(&lake.readings, &folder, 2), late).expect("an entry that nobody reads");
        held.wait();
        let head = refreshing.await.expect("readable");
        assert_eq!(head.version(), 4);
        assert_eq!(stopped.readings.position(&head, "late").await.expect("readable"), None);
    });
}

#[tokio::test]
async fn a_compaction_that_was_stopped_does_not_bring_rows_again_that_others_have_merged() {
    let (folder, lake) = lake().await;
    let others = Lake::open(folder.path()).await.expect("the same lake");
    let mut rows = Rows::new(7);
    for round in 0..20 {
        commit(&others, vec![some(&mut rows, NOON + round * 20)]).await;
    }
    let table = &lake.readings;
    let snapshot = table.reload().await.expect("a snapshot");
    let bin = compact::active(table, &snapshot).await.expect("files");
    let paths = bin.iter().map(|file| table::address(&snapshot, &file.path)).collect();
    let merged = table.rows_in(paths).await.expect("rows").collect().await.expect("rows");
    let mut merged = table.write_files(&snapshot, merged).await.expect("written");
    merged.iter_mut().for_each(|add| add.data_change = false);
    assert_eq!(others.compact(64 << 20).await.expect("compacted").replaced, 60);
    for round in 0..3 {
        commit(&others, vec![some(&mut rows, NOON + 600 + round * 20)]).await;
    }
    goes_by_to(&others.readings, &folder, 22).await;
    std::fs::copy(entry(table, &folder, 22), entry(table, &folder, 21)).expect("an entry that nobody reads");
    let replaced = compact::replace(table, &snapshot, &bin, merged).await.expect("nothing is wrong");
    assert_eq!((replaced, one(&others, COUNT).await), (None, 230));
}

#[tokio::test]
async fn positions_read_in_one_pass_are_those_that_are_looked_up_one_by_one() {
    let (folder, lake) = lake().await;
    let mut journals: Vec<_> = (1..=5).map(Rows::new).collect();
    for (round, journal) in (0..).zip(&mut journals) {
        commit(&lake, vec![some(journal, NOON + round * 20)]).await;
    }
    check_positions(&lake, &folder).await;
    goes_by(&lake.readings, &folder).await;
    check_positions(&lake, &folder).await;
    for (round, journal) in (10..).zip(&mut journals[..3]) {
        commit(&lake, vec![some(journal, NOON + round * 20)]).await;
    }
    check_positions(&lake, &folder).await;
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    assert_eq!((position(&lake, 1).await, position(&lake, 5).await), (Some(26), Some(13)));
    assert_eq!(position(&lake, 6).await, None);
}

#[tokio::test]
async fn where_the_log_does_not_tell_in_one_pass_each_position_is_still_found() {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    for round in 0..4 {
        commit(&lake, vec![some(&mut journal, NOON + round * 20)]).await;
    }
    goes_by(&lake.readings, &folder).await;
    // As a checkpoint in several parts, which others may write.
    let log = folder.path().join("readings_raw/_delta_log");
    let newest = lake.readings.head().version();
    let parts = format!("{newest:020}.checkpoint.0000000001.0000000001.parquet");
    std::fs::rename(log.join(format!("{newest:020}.checkpoint.parquet")), log.join(parts)).expect("renamed");
    std::fs::write(log.join("_last_checkpoint"), format!("{{\"version\":{newest},\"size\":10,\"parts\":1}}"))
        .expect("written");
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    let store = lake.readings.head().table().log_store();
    assert_eq!(log::positions(&log, &store, newest).await.expect("readable"), None);
    assert_eq!(position(&lake, 7).await, Some(52));
    assert_eq!(commit(&lake, vec![some(&mut journal, NOON + 80)]).await.readings, 10);
    assert_eq!(one(&lake, COUNT).await, 50);
}

async fn check_positions(lake: &Lake, folder: &TempDir) {
    let table = lake.readings.reload().await.expect("a snapshot");
    let (store, version) = (table.log_store(), table.version().expect("a version"));
    let log = folder.path().join("readings_raw/_delta_log");
    let found = log::positions(&log, &store, version).await.expect("readable").expect("told");
    let mut expected = BTreeMap::new();
    for incarnation in 1..=5 {
        let app = Journal { edge: edge(), incarnation: Incarnation(incarnation) }.app_id();
        let position = table.snapshot().expect("a state").transaction_version(&store, &app).await;
        let position = position.expect("readable").expect("every journal has sent");
        expected.insert(app, u64::try_from(position).expect("a position"));
    }
    assert_eq!(found, expected);
}
