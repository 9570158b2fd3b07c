//! The few things that a journal asks of a disk, so that tests can fill it, break it and cut its power: see
//! `memory_disk`.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::error::{JournalError, io};

/// A folder's worth of files. A change of a name lasts only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync {
    /// Makes the folder and those above it.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Keeps other processes out for as long as the result lives; `WouldBlock` when one is in.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>>;
    /// The files in a folder with their lengths, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// The folders in a folder, in no order.
    fn folders(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A whole file; `InvalidData` when it is longer than `max_bytes`.
    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>>;
    /// The first bytes of a file, at most so many.
    fn read_begin(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>>;
    /// What tells a file from a copy of it, however alike: it stays when the file gets another name or other bytes.
    fn file_id(&self, path: &Path) -> io::Result<u128>;
    /// A new file, empty even when the name was taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, to write in it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the bytes of a file last that another process wrote, or of which a sync has failed. They are written once more:
    /// a system that could not write them takes them for written all the same, and no sync says so twice.
    fn rewrite(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder last.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Writes all bytes at an offset.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes all bytes at an offset, and these last. What is there of them when the process is killed in the middle lasts
    /// too.
    fn write_lasting(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written last.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk of the machine.
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let file = match OpenOptions::new().create(true).truncate(false).write(true).open(path) {
            // One that is there is locked as well by who only reads it.
            Err(error) if matches!(error.kind(), ReadOnlyFilesystem | PermissionDenied) => File::open(path)?,
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(folders)
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let len = fs::metadata(path)?.len();
        if len > max_bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has {len} bytes")));
        }
        fs::read(path)
    }

    fn read_begin(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(max_bytes);
        File::open(path)?.take(max_bytes as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn file_id(&self, path: &Path) -> io::Result<u128> {
        let metadata = fs::metadata(path)?;
        // Where the file system keeps no moment of birth, the number has to do.
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok((u128::from(metadata.ino()) << 64) | (born.map_or(0, |at| at.as_nanos()) & u128::from(u64::MAX)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let (bytes, file) = (fs::read(path)?, OpenOptions::new().write(true).open(path)?);
        match file.write_all_at(&bytes, 0) {
            // Full, and a file system that writes nothing in place: the sync has to do.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => file.sync_all(),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_lasting(&mut self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match pwritev2(&*self, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => (offset, bytes) = (offset + written as u64, &bytes[written..]),
                Err(Errno::INTR) => {}
                // An old kernel, or a file system without it.
                Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    self.write_all_at(bytes, offset)?;
                    return self.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Ends the name of a file that isn't whole yet; the next opening removes those that were left.
pub(super) const UNFINISHED: &str = ".tmp";

/// Puts a whole file under `name`: after this it is there with these bytes, before it as it was, and nothing
/// between, whenever the power goes.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    put(disk, dir, name, |_| bytes.to_vec())?;
    disk.sync_dir(dir).map_err(io("synced", dir))
}

/// As [`replace`], but what was there before may come back until the folder is synced; and the bytes may depend on the
/// [`Disk::file_id`] of the file.
pub(super) fn put(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: impl FnOnce(u128) -> Vec<u8>,
) -> Result<(), JournalError> {
    let (path, unfinished) = (dir.join(name), dir.join(format!("{name}{UNFINISHED}")));
    let written = disk.create(&unfinished).and_then(|mut file| {
        file.write_at(0, &bytes(disk.file_id(&unfinished)?))?;
        file.sync()
    });
    if let Err(error) = written {
        // What can't be removed now is removed at the next opening.
        let _ = disk.remove(&unfinished);
        return Err(io("written", &path)(error));
    }
    disk.rename(&unfinished, &path).map_err(io("renamed", &path))
}
