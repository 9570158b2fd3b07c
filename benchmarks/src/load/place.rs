//! A folder on a real disk, for the time of one measurement.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A folder beside the programs, in the build's target folder: what is synced there reaches a disk, which it wouldn't
/// in a folder that lives in memory.
pub struct Place(TempDir);

impl Place {
    /// A new one; it goes when this is dropped.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new() -> Result<Self> {
        let folder = programs()?.join("bench");
        std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        Ok(Self(TempDir::new_in(folder)?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file in it.
    ///
    /// # Errors
    /// When it can't.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }
}

/// How long it takes to append 64 KiB to a file and have them on the disk, again and again.
///
/// # Errors
/// When the disk can't be written.
pub fn sync_times() -> Result<Vec<Duration>> {
    const TIMES: usize = 50;
    let place = Place::new()?;
    let mut file = File::create(place.path().join("synced"))?;
    let bytes = vec![1; 64 << 10];
    let mut once = || {
        let started = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(started.elapsed())
    };
    (0..TIMES).map(|_| once()).collect()
}

/// Where the programs were built.
///
/// # Errors
/// When the system can't say.
pub fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program lives in a folder")?.to_owned())
}
