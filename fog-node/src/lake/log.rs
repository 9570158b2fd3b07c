//! What stands in the folder of a table's log: its checkpoints, and every position in one pass.
//!
//! A checkpoint is a Parquet file with all that held at its version; the entries after it say what came since. Entries
//! before it go after [`super::table::RETENTION`], and their numbers are free again: so whoever means to write entry `n` has to
//! know that no checkpoint of `n` or later is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalake::DeltaTableError;
use deltalake::kernel::Action;
use deltalake::logstore::LogStore;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::head::entry;

/// How a checkpoint in one file ends its name, after the version's 20 digits.
const WHOLE: &str = ".checkpoint.parquet";
const DIGITS: usize = 20;

/// The newest checkpoint of any kind in a folder of a log.
///
/// # Errors
/// When the folder can't be read.
pub(super) fn newest_checkpoint(log: &Path) -> io::Result<Option<u64>> {
    Ok(checkpoints(log, ".checkpoint")?.into_iter().max())
}

/// The versions of files whose names go on with `end` after the version.
fn checkpoints(log: &Path, end: &str) -> io::Result<Vec<u64>> {
    let mut versions = Vec::new();
    for file in std::fs::read_dir(log)? {
        let name = file?.file_name();
        let version = name.to_str().and_then(|name| {
            let (digits, rest) = name.split_at_checked(DIGITS)?;
            rest.starts_with(end).then(|| digits.parse::<u64>().ok())?
        });
        versions.extend(version);
    }
    Ok(versions)
}

/// The position of every application at a version, in one pass: from the last checkpoint before it and the entries since. None
/// when that can't be told: an entry is gone, or the checkpoint is of a kind that this node doesn't write.
///
/// # Errors
/// When an entry can't be read.
pub(super) async fn positions(
    log: &Path,
    entries: &impl LogStore,
    version: u64,
) -> Result<Option<BTreeMap<String, u64>>, DeltaTableError> {
    let from =
        checkpoints(log, WHOLE).unwrap_or_default().into_iter().filter(|found| *found <= version).max();
    let (mut positions, next) = match from {
        None => (BTreeMap::new(), 0),
        Some(checkpoint) => {
            let path = log.join(format!("{checkpoint:020}{WHOLE}"));
            let read = tokio::task::spawn_blocking(move || in_checkpoint(&path)).await;
            let Ok(Some(positions)) = read else { return Ok(None) };
            (positions, checkpoint + 1)
        }
    };
    for version in next..=version {
        let Some(actions) = entry(entries, version).await? else { return Ok(None) };
        for action in actions {
            if let Action::Txn(txn) = action
                && let Ok(position) = u64::try_from(txn.version)
            {
                positions.insert(txn.app_id, position);
            }
        }
    }
    Ok(Some(positions))
}

/// The positions in a checkpoint; none when it can't be read.
fn in_checkpoint(path: &Path) -> Option<BTreeMap<String, u64>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn.appId", "txn.version"]);
    let mut positions = BTreeMap::new();
    for batch in builder.with_projection(mask).build().ok()? {
        let batch = batch.ok()?;
        let transactions = batch.column_by_name("txn")?.as_struct();
        let apps = cast(transactions.column_by_name("appId")?, &DataType::Utf8).ok()?;
        let versions = cast(transactions.column_by_name("version")?, &DataType::Int64).ok()?;
        let (apps, versions) = (apps.as_string::<i32>(), versions.as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            if transactions.is_valid(row) && apps.is_valid(row) && versions.is_valid(row) {
                let position = u64::try_from(versions.value(row)).ok()?;
                positions.insert(apps.value(row).to_owned(), position);
            }
        }
    }
    Some(positions)
}
