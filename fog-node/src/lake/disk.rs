//! What a lake brings to the disk: files, folders, and entries of a log that others wrote; and what time it is there.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

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

/// Says of a file or a folder that it was changed now, and gives that moment: by whoever stamps files there, whose clock may
/// be another than the node's own. It takes no room.
pub(super) fn touch(path: &Path) -> std::io::Result<SystemTime> {
    let file = std::fs::File::open(path)?;
    // Both: to set one of the two takes whoever owns it, and not just whoever may write there.
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    futimens(&file, &Timestamps { last_access: now, last_modification: now })?;
    file.metadata()?.modified()
}

/// Looks whether a data file is as long as when it was written: one that is empty or gone would else pass for one without
/// rows.
pub(super) fn is_whole(path: &Path, bytes: u64) -> std::io::Result<()> {
    let found = std::fs::metadata(path)?.len();
    if found == bytes {
        return Ok(());
    }
    Err(std::io::Error::other(format!("it has {found} bytes and was written with {bytes}")))
}
