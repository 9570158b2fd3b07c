//! The journal's disk in memory, with one thing taken away that is relied on.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wattle_edge::journal::memory_disk::MemoryDisk;
use wattle_edge::journal::{Disk, DiskFile};

use crate::switch::Switch;

/// Begins the name of the folder of a former life.
const FORMER: &str = "before-";
/// Stands for a disk on which nothing was named yet.
const NOTHING: &str = "";

/// A disk that says of one kind of fsync that it is done, and doesn't do it; or one on which log files rot.
pub struct Lying {
    disk: MemoryDisk,
    /// The beginning of the names of files whose bytes are not made to last.
    bytes: Option<&'static str>,
    /// The beginnings of the names that are not made to last.
    names: &'static [&'static str],
    /// Whether what a process before this one wrote isn't made to last.
    found: bool,
    /// Whether a lasting write is a write and then a sync.
    in_two: bool,
    /// Whether log files are read back otherwise than they were written.
    rots: bool,
    /// What got a name last.
    named: Mutex<PathBuf>,
}

impl Lying {
    /// The disk without what `switch` takes away.
    pub fn over(disk: MemoryDisk, switch: Option<Switch>) -> Arc<dyn Disk> {
        let (bytes, names): (_, &[_]) = match switch {
            Some(Switch::LogBytes) => (Some("log-"), &[]),
            // Nothing was named in this process, or the last thing that an opening makes.
            Some(Switch::LogName) => (None, &["log-", NOTHING, "reserve"]),
            Some(Switch::SegmentBytes) => (Some("segment-"), &[]),
            Some(Switch::SegmentName) => (None, &["segment-"]),
            Some(Switch::CommittedBytes) => (Some("committed"), &[]),
            Some(Switch::HandedBytes) => (Some("handed"), &[]),
            Some(Switch::PositionName) => (None, &["committed", "handed"]),
            Some(Switch::RestoredBytes) => (Some("restored"), &[]),
            Some(Switch::FormerName) => (None, &[FORMER]),
            Some(Switch::CheckpointBytes) => (Some("checkpoint"), &[]),
            Some(Switch::CheckpointName) => (None, &["checkpoint"]),
            Some(Switch::IdentityBytes) => (Some("identity"), &[]),
            Some(Switch::IdentityName) => (None, &["identity"]),
            Some(Switch::FoundBytes | Switch::LogRead | Switch::LogAtOnce) => (None, &[]),
            _ => return Arc::new(disk),
        };
        let is = |other| switch == Some(other);
        let (found, in_two, rots) = (is(Switch::FoundBytes), is(Switch::LogAtOnce), is(Switch::LogRead));
        Arc::new(Self { disk, bytes, names, found, in_two, rots, named: Mutex::default() })
    }

    fn has_named(&self, path: &Path) {
        path.clone_into(&mut self.named.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn begins(path: &Path, with: Option<&str>) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    with.is_some_and(|with| name.starts_with(with))
}

/// Whether a name is one of these, or is in a folder of which that is so.
fn is_below(path: &Path, names: &[&str]) -> bool {
    let of_former = path.parent().filter(|dir| begins(dir, Some(FORMER)));
    names.iter().any(|name| match *name {
        NOTHING => path.as_os_str().is_empty(),
        name => begins(of_former.unwrap_or(path), Some(name)),
    })
}

impl Disk for Lying {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.make_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        self.disk.lock(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(dir)
    }

    fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.folders(dir)
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.disk.read(path, max_bytes)?;
        let middle = bytes.len() / 2;
        if self.rots && begins(path, Some("log-")) && middle > 0 {
            bytes[middle] ^= 1;
        }
        Ok(bytes)
    }

    fn read_begin(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        self.disk.read_begin(path, max_bytes)
    }

    fn file_id(&self, path: &Path) -> io::Result<u128> {
        self.disk.file_id(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        self.has_named(path);
        Ok(Box::new(LyingFile { file, lies: begins(path, self.bytes), in_two: self.in_two }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        Ok(Box::new(LyingFile { file, lies: begins(path, self.bytes), in_two: self.in_two }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)?;
        self.has_named(to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)?;
        if begins(path, Some("identity")) {
            self.has_named(path);
        }
        Ok(())
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        if self.found { Ok(()) } else { self.disk.rewrite(path) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let lies = is_below(&self.named.lock().unwrap_or_else(PoisonError::into_inner), self.names);
        if lies { Ok(()) } else { self.disk.sync_dir(dir) }
    }
}

struct LyingFile {
    file: Box<dyn DiskFile>,
    lies: bool,
    in_two: bool,
}

impl DiskFile for LyingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn write_lasting(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.lies && !self.in_two {
            return self.file.write_lasting(offset, bytes);
        }
        self.file.write_at(offset, bytes)?;
        self.sync()
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.lies { Ok(()) } else { self.file.sync() }
    }
}
