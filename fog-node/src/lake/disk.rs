//! What a lake brings to the disk: files, folders, and entries of a log that others wrote.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LakeError;

/// Brings a file or a folder to the disk. A table is given it, so that a test can look on.
pub(super) type ToDisk = Arc<dyn Fn(&Path) -> std::io::Result<()> + Send + Sync>;

/// The system's own way.
pub(super) fn to_disk() -> ToDisk {
    Arc::new(|path| std::fs::File::open(path)?.sync_all())
}

/// The most entries at the end of a log that may not be on the disk yet: each writer brings to the disk what it has read
/// before it writes on.
const MOST_UNSYNCED: usize = 16;

/// Brings entries of a log to the disk that another process wrote: it may have been killed before it could, and what they
/// say is told to edges. Before the last entry each was synced by whoever wrote the next; one that is gone is in a checkpoint.
pub(super) async fn sync_entries(
    to_disk: &ToDisk,
    folder: &Path,
    versions: RangeInclusive<u64>,
) -> Result<(), LakeError> {
    let log = folder.join("_delta_log");
    let entries = versions.rev().take(MOST_UNSYNCED).map(|version| log.join(format!("{version:020}.json")));
    let mut there: Vec<_> = entries.filter(|entry| entry.exists()).collect();
    if there.is_empty() {
        return Ok(());
    }
    there.push(log);
    sync(to_disk, there).await
}

/// Brings files and folders to the disk, in this order. A file system that knows no sync leaves us with what it has; any
/// other failure means that a power cut could take what an edge would be told is safe.
pub(super) async fn sync(to_disk: &ToDisk, paths: Vec<PathBuf>) -> Result<(), LakeError> {
    let to_disk = to_disk.clone();
    let syncing = tokio::task::spawn_blocking(move || {
        for path in paths {
            match to_disk(&path) {
                Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
                Err(source) => return Err(LakeError::NotSynced { path, source }),
                Ok(()) => {}
            }
        }
        Ok(())
    });
    syncing.await.unwrap_or(Err(LakeError::Stopping))
}
