//! Small files into large ones.
//!
//! Each commit leaves a small file, and what a question costs grows with their number. Once there are
//! [`FEW`] small files, they are written anew, in their order, into files of up to a level's size, and one commit puts
//! these in the place of the others. There are three levels, each eight times the one below, so that a row is
//! written anew about three times in its life and not with every compaction.
//!
//! - No row changes and no position moves: the commit says of each file that it carries no new data, and derivations
//!   pass over it.
//! - Appends don't wait for it. It may be tried again after another commit, since it brings no row; it is given up when
//!   that commit has taken out one of its files or changed the table, or when others have made a checkpoint since.
//! - What it replaces stays on the disk for [`RETENTION`], for queries that have begun. A compaction that is cut off
//!   leaves files that the table doesn't know, and [`Lake::sweep`] takes them then.
//! - A file that can't be read is left alone, and all others are merged without it; it is told for as long as the table
//!   names it. Whether it can be read again is looked at with every sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add, Remove};
use deltalake::logstore::CommitOrBytes;
use deltalake::protocol::DeltaOperation;
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use futures::{StreamExt as _, TryStreamExt as _};

use super::disk::is_whole;
use super::error::Failures;
use super::head::entry as log_entry;
use super::table::{Table, address, file_properties, table_error};
use super::{Lake, LakeError};

#[cfg(doc)]
use super::table::RETENTION;

/// How many small files are left alone.
const FEW: usize = 16;
/// By how much one level's files are larger than those of the level below.
const STEP: u64 = 8;
/// How many levels there are.
const LEVELS: u32 = 3;

/// What a compaction has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Files that others have taken the place of.
    pub replaced: usize,
    /// Files that took it.
    pub written: usize,
}

/// An active data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) path: String,
    bytes: u64,
}

impl Lake {
    /// Merges the small files of every table into files of up to `target_bytes`, and checkpoints logs that have grown.
    /// One at a time; commits, derivations and queries go on meanwhile. What fails keeps nothing else from being done.
    ///
    /// # Errors
    /// When a table or a file can't be read or written: that is as it was, and everything else is done.
    pub async fn compact(&self, target_bytes: u64) -> Result<CompactReport, LakeError> {
        let mut unreadable = self.compacting.lock().await;
        let (mut report, mut failures) = (CompactReport::default(), Failures::default());
        for table in self.tables() {
            let compacted = compact_table(table, target_bytes, &mut unreadable, &mut failures).await;
            if let Some(done) = failures.note(compacted) {
                report.replaced += done.replaced;
                report.written += done.written;
            }
            failures.note(table.checkpoint_if_due().await);
        }
        failures.or(report)
    }
}

/// Data files that could not be read when they were to be merged.
pub(super) type Unreadable = BTreeMap<PathBuf, Damaged>;

/// A data file that could not be read, and why.
pub(super) struct Damaged {
    file: DataFile,
    why: Arc<dyn Error + Send + Sync>,
}

async fn compact_table(
    table: &Table,
    target_bytes: u64,
    unreadable: &mut Unreadable,
    failures: &mut Failures,
) -> Result<CompactReport, LakeError> {
    let snapshot = table.reload().await?;
    let mut files = active(table, &snapshot).await?;
    let paths: BTreeSet<_> = files.iter().map(|file| table.folder().join(&file.path)).collect();
    unreadable.retain(|path, _| !path.starts_with(table.folder()) || paths.contains(path));
    files.retain(|file| !unreadable.contains_key(&table.folder().join(&file.path)));
    let mut report = CompactReport::default();
    for bin in bins(&files, target_bytes) {
        match merge(table, &snapshot, &bin).await {
            Ok(Some(written)) => {
                metrics::counter!("wattle_fog_files_merged_total").increment(bin.len() as u64);
                report.replaced += bin.len();
                report.written += written;
            }
            Ok(None) => break,
            // After a long stop it may be one that others have merged, and swept.
            Err(LakeError::Unreadable { path, source }) => match find(table, &path).await? {
                Some(file) => drop(unreadable.insert(path, Damaged { file, why: source })),
                None => break,
            },
            Err(error) => failures.push(error),
        }
    }
    for (path, damaged) in unreadable.iter().filter(|(path, _)| path.starts_with(table.folder())) {
        let (path, source) = (path.clone(), damaged.why.clone());
        failures.push(LakeError::Unreadable { path, source });
    }
    Ok(report)
}

/// A file that the table still names.
async fn find(table: &Table, path: &Path) -> Result<Option<DataFile>, LakeError> {
    let files = active(table, &table.reload().await?).await?;
    Ok(files.into_iter().find(|file| table.folder().join(&file.path) == path))
}

/// Forgets the files that can be read again.
pub(super) async fn try_again(table: &Table, unreadable: &mut Unreadable) {
    let snapshot = table.snapshot();
    let own = unreadable.iter().filter(|(path, _)| path.starts_with(table.folder()));
    let own: Vec<_> = own.map(|(path, damaged)| (path.clone(), damaged.file.clone())).collect();
    for (path, file) in own {
        let Ok(rows) = rows_of(table, &snapshot, &file).await else { continue };
        if rows.try_for_each(|_| ready(Ok(()))).await.is_ok() {
            unreadable.remove(&path);
        }
    }
}

/// The files of a snapshot, oldest first. None at all when one of them isn't what this node writes: rows marked as
/// deleted would come back.
pub(super) async fn active(table: &Table, snapshot: &DeltaTable) -> Result<Vec<DataFile>, LakeError> {
    let mut files = Vec::new();
    let mut views = snapshot.get_active_add_actions_by_predicate(None);
    while let Some(view) = views.next().await {
        let view = view.map_err(|source| table_error(table.name(), "read", source))?;
        if view.deletion_vector_descriptor().is_some() {
            return Ok(Vec::new());
        }
        let bytes = u64::try_from(view.size()).unwrap_or_default();
        files.push(DataFile { path: view.path().into_owned(), bytes });
    }
    files.reverse();
    Ok(files)
}

/// Which files are to become one file each. The highest level that has more than a few files of its own takes them, and
/// all that are smaller.
fn bins(files: &[DataFile], target: u64) -> Vec<Vec<DataFile>> {
    let small = |level: u64| files.iter().filter(move |file| file.bytes < level / 2);
    let own = |down: u32| {
        let level = target / STEP.pow(down);
        let below = if down + 1 < LEVELS { small(level / STEP).count() } else { 0 };
        (small(level).count() - below >= FEW).then_some(level)
    };
    let Some(level) = (0..LEVELS).find_map(own) else { return Vec::new() };
    let mut bins: Vec<(u64, Vec<DataFile>)> = Vec::new();
    for file in small(level) {
        match bins.last_mut() {
            Some((bytes, bin)) if *bytes + file.bytes <= level => {
                *bytes += file.bytes;
                bin.push(file.clone());
            }
            _ => bins.push((file.bytes, vec![file.clone()])),
        }
    }
    bins.into_iter().map(|(_, bin)| bin).filter(|bin| bin.len() > 1).collect()
}

/// Puts one file in the place of several. Gives how many it came to, or none when another writer has come between.
async fn merge(table: &Table, snapshot: &DeltaTable, bin: &[DataFile]) -> Result<Option<usize>, LakeError> {
    let writing = |source| table_error(table.name(), "compacted", source);
    let mut writer =
        RecordBatchWriter::for_table(snapshot).map_err(writing)?.with_writer_properties(file_properties());
    for file in bin {
        let mut rows = rows_of(table, snapshot, file).await?;
        while let Some(batch) = rows.try_next().await.map_err(|error| unreadable(table, file, error))? {
            writer.write(batch).await.map_err(writing)?;
        }
    }
    let mut added = writer.flush().await.map_err(writing)?;
    table.sync_files(&added).await?;
    let written = added.len();
    added.iter_mut().for_each(|add| add.data_change = false);
    let version = replace(table, snapshot, bin, added).await?;
    let Some(version) = version else { return Ok(None) };
    table.sync_log(version).await?;
    Ok(Some(written))
}

async fn rows_of(
    table: &Table,
    snapshot: &DeltaTable,
    file: &DataFile,
) -> Result<SendableRecordBatchStream, LakeError> {
    is_whole(&table.folder().join(&file.path), file.bytes).map_err(|error| unreadable(table, file, error))?;
    let rows = table.rows_in(vec![address(snapshot, &file.path)]).await;
    let rows = rows.map_err(|error| unreadable(table, file, error))?;
    rows.execute_stream().await.map_err(|error| unreadable(table, file, error))
}

fn unreadable(table: &Table, file: &DataFile, why: impl Error + Send + Sync + 'static) -> LakeError {
    LakeError::Unreadable { path: table.folder().join(&file.path), source: Arc::new(why) }
}

/// Commits that files have taken the place of others, and gives the version. None when another writer has changed the table, or has
/// taken out one of them himself.
pub(super) async fn replace(
    table: &Table,
    snapshot: &DeltaTable,
    bin: &[DataFile],
    added: Vec<Add>,
) -> Result<Option<u64>, LakeError> {
    let writing = |source| table_error(table.name(), "compacted", source);
    let paths: BTreeSet<&str> = bin.iter().map(|file| file.path.as_str()).collect();
    let bytes = bin.iter().map(|file| file.bytes).sum::<u64>();
    let target_size = i64::try_from(bytes).unwrap_or(i64::MAX);
    let log = snapshot.log_store();
    let mut version = snapshot.version().unwrap_or_default();
    loop {
        while let Some(actions) = log_entry(&log, version + 1).await.map_err(writing)? {
            let hinders = |action: &Action| match action {
                Action::Remove(remove) => paths.contains(remove.path.as_str()),
                Action::Metadata(_) | Action::Protocol(_) => true,
                _ => false,
            };
            if actions.iter().any(hinders) {
                return Ok(None);
            }
            version += 1;
        }
        // Then it isn't known which files the dropped entries took out.
        if table.is_overtaken(snapshot.version().unwrap_or_default())? {
            return Ok(None);
        }
        // Another's entry that this one stands on lasts before it does.
        table.sync_entries(snapshot.version().unwrap_or_default()..=version).await?;
        let now_ms = table.now_ms()?;
        let removed = bin.iter().map(|file| Action::Remove(removal(file, now_ms)));
        let actions = removed.chain(added.iter().cloned().map(Action::Add)).collect();
        let operation = DeltaOperation::Optimize { predicate: None, target_size };
        let entry = CommitData::new(actions, operation, Default::default(), Vec::new());
        let entry = CommitOrBytes::LogBytes(entry.get_bytes().map_err(|source| writing(source.into()))?);
        // What was written a long time ago may have been swept away; then nothing may take the place of what is there.
        if !table.claim(&added)? {
            return Ok(None);
        }
        match log.write_commit_entry(version + 1, entry, Default::default()).await {
            Ok(()) => break,
            Err(TransactionError::VersionAlreadyExists(_)) => {}
            Err(error) => return Err(writing(error.into())),
        }
    }
    Ok(Some(version + 1))
}

fn removal(file: &DataFile, now_ms: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change: false,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(Default::default()),
        size: i64::try_from(file.bytes).ok(),
        ..Remove::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::tests::rows::{Journal as Rows, NOON};
    use crate::lake::tests::{commit, lake, one, some};

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn nothing_takes_the_place_of_files_once_it_was_swept_away_itself() {
        let (folder, lake) = lake().await;
        let mut journal = Rows::new(7);
        for round in 0..3 {
            commit(&lake, vec![some(&mut journal, NOON + round * 20)]).await;
        }
        let table = &lake.readings;
        let snapshot = table.reload().await.expect("a snapshot");
        let bin = active(table, &snapshot).await.expect("files");
        let rows = table.rows_in(bin.iter().map(|file| address(&snapshot, &file.path)).collect()).await;
        let rows = rows.expect("rows").collect().await.expect("rows");
        let mut merged = table.write_files(&snapshot, rows).await.expect("written");
        std::fs::remove_file(folder.path().join("readings_raw").join(&merged[0].path)).expect("swept");
        merged.iter_mut().for_each(|add| add.data_change = false);
        assert_eq!(replace(table, &snapshot, &bin, merged).await.expect("nothing is wrong"), None);
        assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 30);
    }

    fn files(sizes: impl IntoIterator<Item = u64>) -> Vec<DataFile> {
        let file = |(n, bytes): (usize, u64)| DataFile { path: format!("{n}"), bytes };
        sizes.into_iter().enumerate().map(file).collect()
    }

    #[test]
    fn a_few_small_files_are_left_alone_and_so_are_any_number_of_large_ones() {
        assert!(bins(&files([1000; FEW - 1]), 64 * MIB).is_empty());
        assert!(bins(&files([40 * MIB; 100]), 64 * MIB).is_empty());
        assert!(bins(&[], 64 * MIB).is_empty());
    }

    #[test]
    fn small_files_become_files_of_the_next_level_in_their_order() {
        let found = bins(&files([300 << 10; 30]), 64 * MIB);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3; 10]);
        let order: Vec<_> = found.concat().into_iter().map(|file| file.path).collect();
        assert_eq!(order, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn no_bin_is_larger_than_its_level_and_none_holds_a_single_file() {
        let sizes = (0..200).map(|n| 1 + n * 37 % 90 * (MIB / 2));
        for bin in bins(&files(sizes), 64 * MIB) {
            assert!(bin.len() > 1);
            assert!(bin.iter().map(|file| file.bytes).sum::<u64>() <= 64 * MIB);
        }
    }

    #[test]
    fn what_was_merged_is_not_merged_again_on_its_level() {
        let merged = files([MIB; FEW - 1].into_iter().chain([1000; FEW - 1]));
        assert!(bins(&merged, 64 * MIB).concat().iter().all(|file| file.bytes >= 1000 && file.bytes <= MIB));
        assert!(bins(&files([MIB; FEW - 1]), 64 * MIB).is_empty());
    }
}
