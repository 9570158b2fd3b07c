//! Away with the data files that no version needs any more.
//!
//! Whoever sweeps and whoever writes may each be stopped between any two steps and for any time, so neither trusts what it
//! has seen before:
//! - Whoever means to name files in an entry touches each, then looks whether it is there ([`Table::claim`]), and writes the
//!   entry. Where one is gone the rows are written anew.
//! - Whoever sweeps lists what nobody has touched for [`RETENTION`], then reads the log, and leaves what that names. Each file
//!   that is left it first gives another name, so that nobody finds it, and looks at it once more: one that was touched
//!   meanwhile gets its name back. A name that a sweep has changed when it was cut off is given back by the next.
//! - How old a file is the file system says, of the file and of now: what a node's own clock says doesn't count.
//!
//! What a version has given up is kept for as long, for queries that have begun. No entry is written: the library's own way
//! writes two, makes checkpoints at some of them without bringing them to the disk, and drops older entries for these.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deltalake::DeltaTable;
use deltalake::kernel::Add;
use futures::TryStreamExt as _;

use super::disk::touch;
use super::error::Failures;
use super::table::{RETENTION, Table, table_error};
use super::{Lake, LakeError, compact};

/// What the name of a data file ends in while it is decided whether it goes.
const ASIDE: &str = ".swept";

/// The data files that nobody has touched since a moment.
#[derive(Debug)]
pub(super) struct Untouched {
    pub(super) files: Vec<String>,
    pub(super) since: SystemTime,
}

impl Lake {
    /// Deletes the files that have been in no version for the last two hours. Gives their number. What can't be swept keeps
    /// nothing else from it.
    ///
    /// # Errors
    /// When a table can't be read or a file can't be deleted.
    pub async fn sweep(&self) -> Result<usize, LakeError> {
        self.sweep_after(RETENTION).await
    }

    /// The same of files that are kept for another time.
    pub(super) async fn sweep_after(&self, kept: Duration) -> Result<usize, LakeError> {
        let mut unreadable = self.compacting.lock().await;
        let (mut deleted, mut failures) = (0, Failures::default());
        for table in self.tables() {
            compact::try_again(table, &mut unreadable).await;
            deleted += failures.note(table.sweep(kept).await).unwrap_or_default();
        }
        failures.or(deleted)
    }
}

impl Table {
    async fn sweep(&self, kept: Duration) -> Result<usize, LakeError> {
        self.remove_unnamed(self.untouched(kept).await?).await
    }

    /// The data files that nobody has touched for some time, in the table or not.
    pub(super) async fn untouched(&self, kept: Duration) -> Result<Untouched, LakeError> {
        self.on_disk(move |folder| untouched(folder, kept)).await
    }

    /// Deletes those that no version needs, and gives their number.
    pub(super) async fn remove_unnamed(&self, found: Untouched) -> Result<usize, LakeError> {
        // It is read after they were found: what was named by then is in it.
        let snapshot = self.reload().await?;
        let needed = self.needed(&snapshot, found.since).await?;
        let Untouched { mut files, since } = found;
        files.retain(|file| !needed.contains(file));
        if files.is_empty() {
            return Ok(0);
        }
        let (deleted, failed) = self.on_disk(move |folder| Ok(remove_all(folder, &files, since))).await?;
        metrics::counter!("wattle_fog_files_deleted_total").increment(deleted as u64);
        self.sync_files(&[]).await?;
        match failed {
            None => Ok(deleted),
            Some(source) => Err(LakeError::Folder { path: self.folder().to_owned(), source }),
        }
    }

    /// The names of the files that a version has, and of those that were given up after a moment.
    async fn needed(&self, snapshot: &DeltaTable, since: SystemTime) -> Result<BTreeSet<String>, LakeError> {
        let reading = |source| table_error(self.name(), "read", source);
        let mut needed = BTreeSet::new();
        let mut active = snapshot.get_active_add_actions_by_predicate(None);
        while let Some(file) = active.try_next().await.map_err(reading)? {
            needed.insert(file_name(&file.path()));
        }
        let (log, since) = (snapshot.log_store(), millis(since));
        let mut given_up = snapshot.snapshot().map_err(reading)?.all_tombstones(log.as_ref());
        while let Some(file) = given_up.try_next().await.map_err(reading)? {
            if file.deletion_timestamp().is_some_and(|at| at > since) {
                needed.insert(file_name(&file.path()));
            }
        }
        Ok(needed)
    }

    /// Keeps data files that no entry names yet from being swept for as long as files are kept. False when one is gone: the node
    /// was stopped for longer than that, and nothing may name it.
    pub(super) fn claim(&self, adds: &[Add]) -> Result<bool, LakeError> {
        for add in adds {
            let path = self.folder().join(&add.path);
            match touch(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(source) => return Err(LakeError::Folder { path, source }),
                // It may have been out of sight already, for a sweep that had looked at it before.
                Ok(_) if !path.exists() => return Ok(false),
                Ok(_) => {}
            }
        }
        Ok(true)
    }

    /// What time it is for the table's files, as a log tells it.
    pub(super) fn now_ms(&self) -> Result<i64, LakeError> {
        let now = touch(self.folder());
        now.map(millis).map_err(|source| LakeError::Folder { path: self.folder().to_owned(), source })
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, LakeError> {
        let folder = self.folder().to_owned();
        let working = tokio::task::spawn_blocking(move || {
            work(&folder).map_err(|source| LakeError::Folder { path: folder, source })
        });
        working.await.unwrap_or(Err(LakeError::Stopping))
    }
}

fn untouched(folder: &Path, kept: Duration) -> io::Result<Untouched> {
    let since = touch(folder)?.checked_sub(kept).unwrap_or(UNIX_EPOCH);
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let Ok(mut name) = file?.file_name().into_string() else { continue };
        if let Some(own) = name.strip_suffix(ASIDE) {
            let own = own.to_owned();
            there(fs::rename(folder.join(&name), folder.join(&own)))?;
            name = own;
        }
        if is_data(&name)
            && let Some(found) = there(fs::metadata(folder.join(&name)))?
            && found.modified()? <= since
        {
            files.push(name);
        }
    }
    Ok(Untouched { files, since })
}

/// Whether a name is that of a data file, or of one whose writing was cut off.
fn is_data(name: &str) -> bool {
    let whole = name.rsplit_once('#').map_or(name, |(whole, _)| whole);
    whole.ends_with(".parquet") && !name.starts_with(['_', '.'])
}

/// Removes what nobody has touched since. Gives how many that were, and the first failure.
fn remove_all(folder: &Path, files: &[String], since: SystemTime) -> (usize, Option<io::Error>) {
    let (mut removed, mut failed) = (0, None);
    for file in files {
        match remove(folder, file, since) {
            Ok(gone) => removed += usize::from(gone),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    (removed, failed)
}

fn remove(folder: &Path, file: &str, since: SystemTime) -> io::Result<bool> {
    let (path, aside) = (folder.join(file), folder.join(format!("{file}{ASIDE}")));
    if there(fs::rename(&path, &aside))?.is_none() {
        return Ok(false);
    }
    let Some(found) = there(fs::metadata(&aside))? else { return Ok(false) };
    if found.modified()? > since {
        there(fs::rename(&aside, &path))?;
        return Ok(false);
    }
    Ok(there(fs::remove_file(&aside))?.is_some())
}

/// Nothing where a file isn't there (any more): another node sweeps too.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_files_are_ever_swept() {
        for name in ["part-00001-a.zstd.parquet", "part-00001-a.zstd.parquet#3"] {
            assert!(is_data(name), "{name}");
        }
        for name in
            ["_delta_log", "_part.parquet", ".parquet", "part.parquet.crc", "notes.txt", "vectors.bin#1"]
        {
            assert!(!is_data(name), "{name}");
        }
    }

    #[test]
    fn a_file_that_was_touched_after_it_was_found_keeps_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part-1.parquet");
        fs::write(&path, "rows").expect("a file");
        let found = untouched(folder.path(), Duration::ZERO).expect("found");
        assert_eq!(found.files, ["part-1.parquet"]);
        let later = found.since + Duration::from_secs(1);
        fs::File::options().write(true).open(&path).expect("a file").set_modified(later).expect("touched");
        let (removed, failed) = remove_all(folder.path(), &found.files, found.since);
        assert!(removed == 0 && failed.is_none() && path.exists());
        let (removed, failed) = remove_all(folder.path(), &found.files, later);
        assert!(removed == 1 && failed.is_none());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn what_a_sweep_that_was_cut_off_has_put_aside_gets_its_name_back() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("part-1.parquet.swept"), "rows").expect("a file");
        let found = untouched(folder.path(), RETENTION).expect("found");
        assert!(found.files.is_empty(), "it is young");
        assert!(folder.path().join("part-1.parquet").exists());
    }
}
