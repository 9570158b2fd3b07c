//! Compaction and sweeping: what a reader sees, what a writer knows, and what is derived stay as they were.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tempfile::TempDir;

use super::tests::rows::{Journal as Rows, NOON};
use super::tests::{ask, commit, lake, one, position, some};
use super::*;

const TARGET: u64 = 64 << 20;
const ROWS: &str = "SELECT * FROM readings_raw ORDER BY sequence";
const COUNT: &str = "SELECT count(*) FROM readings_raw";

/// A lake with 20 commits of 10 readings, of which each table that has rows has a file.
async fn grown() -> (TempDir, Lake, Rows) {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    for round in 0..20 {
        commit(&lake, vec![some(&mut journal, NOON + round * 20)]).await;
    }
    (folder, lake, journal)
}

/// How many files the newest version of a table has.
async fn files(table: &Table) -> usize {
    let snapshot = table.reload().await.expect("a snapshot");
    snapshot.get_active_add_actions_by_predicate(None).count().await
}

fn on_disk(table: &str, folder: &TempDir) -> usize {
    let entries = std::fs::read_dir(folder.path().join(table)).expect("a folder");
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|e| e == "parquet"))).count()
}

#[tokio::test]
async fn compaction_leaves_fewer_files_and_every_row_as_it_was() {
    let (_folder, lake, _) = grown().await;
    let before = ask(&lake, ROWS).await;
    assert_eq!(files(&lake.readings).await, 20);
    let report = lake.compact(TARGET).await.expect("compacted");
    assert_eq!(report, CompactReport { replaced: 60, written: 3 });
    assert_eq!(files(&lake.readings).await, 1);
    assert_eq!(ask(&lake, ROWS).await, before);
    assert_eq!(lake.compact(TARGET).await.expect("nothing to do"), CompactReport::default());
}

#[tokio::test]
async fn positions_are_kept_and_what_comes_again_after_compaction_is_still_dropped() {
    let (folder, lake, mut journal) = grown().await;
    let last = some(&mut journal, NOON + 500);
    commit(&lake, vec![last.clone()]).await;
    let reached = position(&lake, 7).await;
    lake.compact(TARGET).await.expect("compacted");
    assert_eq!(position(&lake, 7).await, reached);
    assert_eq!(commit(&lake, vec![last.clone()]).await.rows, 0);
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    assert_eq!(position(&lake, 7).await, reached);
    assert_eq!(commit(&lake, vec![last, some(&mut journal, NOON + 520)]).await.readings, 10);
    assert_eq!(one(&lake, COUNT).await, 220);
}

#[tokio::test]
async fn nothing_is_derived_again_after_compaction_and_what_was_not_yet_derived_is() {
    let (folder, lake, mut journal) = grown().await;
    lake.derive().await.expect("derived");
    lake.compact(TARGET).await.expect("compacted");
    assert_eq!(lake.derive().await.expect("nothing new"), DeriveReport::default());
    commit(&lake, vec![some(&mut journal, NOON + 6000)]).await;
    for round in 0..20 {
        commit(&lake, vec![some(&mut journal, NOON + 6010 + round)]).await;
    }
    lake.compact(TARGET).await.expect("compacted before it was derived");
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    let since = lake.intervals.head();
    let since = lake.intervals.position(&since, "derived/readings_raw").await.expect("a position");
    let raw = lake.readings.reload().await.expect("a snapshot");
    let added = lake.readings.added_since(since.expect("derived before"), &raw).await.expect("a log");
    assert_eq!(added.map(|files| files.len()), Some(21), "the files of the commits, not the merged one");
    assert_eq!(lake.derive().await.expect("derived").intervals, 1);
    assert_eq!(one(&lake, "SELECT sum(readings) FROM intervals").await, one(&lake, COUNT).await);
}

#[tokio::test]
async fn a_query_that_began_before_compaction_and_sweep_still_finds_its_files() {
    let (_folder, lake, _) = grown().await;
    let context = lake.session_context().await.expect("a context");
    lake.compact(TARGET).await.expect("compacted");
    assert_eq!(lake.sweep().await.expect("swept"), 0);
    let rows = context.sql(ROWS).await.expect("a plan").count().await.expect("rows");
    assert_eq!(rows, 200);
}

#[tokio::test]
async fn what_a_killed_compaction_has_left_is_never_read_and_swept_after_two_hours() {
    let (folder, lake, _) = grown().await;
    let table = folder.path().join("readings_raw");
    let some_file = std::fs::read_dir(&table)
        .expect("a folder")
        .filter_map(Result::ok)
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "parquet"));
    let written = table.join("part-00000-written-but-not-committed.parquet");
    std::fs::copy(some_file.expect("a data file").path(), &written).expect("a copy");
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    assert_eq!(one(&lake, COUNT).await, 200);
    lake.compact(TARGET).await.expect("compacted");
    assert_eq!(one(&lake, COUNT).await, 200);
    assert_eq!(lake.sweep().await.expect("swept"), 0, "it might be one that is being written");
    let deleted = lake.sweep_after(Duration::ZERO).await.expect("swept");
    assert_eq!(deleted, 61);
    assert!(!written.exists());
    assert_eq!(on_disk("readings_raw", &folder), 1);
    assert_eq!(one(&lake, COUNT).await, 200);
}

#[tokio::test]
async fn a_compaction_that_is_cut_off_anywhere_changes_nothing() {
    let (_folder, lake, mut journal) = grown().await;
    let lake = Arc::new(lake);
    let before = ask(&lake, ROWS).await;
    for polls in [1, 2, 4, 8, 16, 32] {
        let mut compaction = Box::pin(lake.compact(TARGET));
        for _ in 0..polls {
            if futures::poll!(compaction.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(compaction);
        assert_eq!(ask(&lake, ROWS).await, before);
    }
    assert_eq!(commit(&lake, vec![some(&mut journal, NOON + 900)]).await.readings, 10);
    assert_eq!(one(&lake, COUNT).await, 210);
}

#[tokio::test]
async fn commits_and_compactions_at_the_same_time_lose_no_row_and_double_none() {
    let (folder, lake, mut journal) = grown().await;
    let others = Lake::open(folder.path()).await.expect("the same lake");
    for round in 0..6 {
        let segments = vec![some(&mut journal, NOON + 1000 + round * 20)];
        let (committed, ours, theirs) =
            futures::join!(lake.commit(segments), lake.compact(TARGET), others.compact(TARGET));
        committed.expect("a commit");
        ours.expect("a compaction");
        theirs.expect("a compaction");
    }
    assert_eq!(one(&lake, COUNT).await, 260);
    assert_eq!(one(&lake, "SELECT count(DISTINCT sequence) FROM readings_raw").await, 260);
}

#[tokio::test]
async fn rows_that_were_deleted_since_make_a_derivation_begin_anew() {
    let (_folder, lake, _) = grown().await;
    lake.derive().await.expect("derived");
    let raw = lake.readings.reload().await.expect("a snapshot");
    let since = raw.version().expect("a version");
    let deleted = raw.delete().await.expect("deleted");
    let added = lake.readings.added_since(since, &deleted.0).await.expect("a log");
    assert_eq!(added, None);
}
