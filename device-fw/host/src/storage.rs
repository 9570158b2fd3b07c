//! Storage as `embedded-svc` has it: over files, each replaced as a whole, or in memory.
//!
//! A file is written beside its place, flushed to the disk, renamed over it, and the folder is flushed: after a cut
//! at any moment either the old content is there or the new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use embedded_svc::storage::{RawStorage, StorageBase};

/// Entries as files of one folder.
#[derive(Debug)]
pub struct FileStorage {
    folder: PathBuf,
}

impl FileStorage {
    /// Uses a folder, which is made where it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }
}

impl StorageBase for FileStorage {
    type Error = io::Error;

    fn contains(&self, name: &str) -> io::Result<bool> {
        self.folder.join(name).try_exists()
    }

    fn remove(&mut self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.folder.join(name)) {
            Ok(()) => File::open(&self.folder)?.sync_all().map(|()| true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl RawStorage for FileStorage {
    fn len(&self, name: &str) -> io::Result<Option<usize>> {
        match fs::metadata(self.folder.join(name)) {
            Ok(metadata) => Ok(Some(usize::try_from(metadata.len()).unwrap_or(usize::MAX))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn get_raw<'a>(&self, name: &str, buf: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => copy(&bytes, buf).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn set_raw(&mut self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        let existed = self.contains(name)?;
        let beside = self.folder.join(format!("{name}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.folder.join(name))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(existed)
    }
}

/// Entries in memory: gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    entries: BTreeMap<String, Vec<u8>>,
}

impl StorageBase for MemoryStorage {
    type Error = io::Error;

    fn contains(&self, name: &str) -> io::Result<bool> {
        Ok(self.entries.contains_key(name))
    }

    fn remove(&mut self, name: &str) -> io::Result<bool> {
        Ok(self.entries.remove(name).is_some())
    }
}

impl RawStorage for MemoryStorage {
    fn len(&self, name: &str) -> io::Result<Option<usize>> {
        Ok(self.entries.get(name).map(Vec::len))
    }

    fn get_raw<'a>(&self, name: &str, buf: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        self.entries.get(name).map(|bytes| copy(bytes, buf)).transpose()
    }

    fn set_raw(&mut self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        Ok(self.entries.insert(name.to_owned(), bytes.to_vec()).is_some())
    }
}

fn copy<'a>(bytes: &[u8], buf: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let place = buf.get_mut(..bytes.len()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("an entry has {} bytes, more than expected", bytes.len()),
        )
    })?;
    place.copy_from_slice(bytes);
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(storage: &mut impl RawStorage<Error = io::Error>) {
        let mut buf = [0; 8];
        assert_eq!(storage.get_raw("state", &mut buf).expect("readable"), None);
        assert!(!storage.set_raw("state", b"one").expect("writable"));
        assert!(storage.set_raw("state", b"two!").expect("writable"));
        assert_eq!(storage.get_raw("state", &mut buf).expect("readable"), Some(&b"two!"[..]));
        assert_eq!(storage.len("state").expect("readable"), Some(4));
        assert!(storage.get_raw("state", &mut [0; 3]).is_err(), "an entry that doesn't fit is no entry");
        assert!(storage.remove("state").expect("writable"));
        assert!(!storage.contains("state").expect("readable"));
    }

    #[test]
    fn what_is_stored_is_found_again_in_memory_and_in_files() {
        let folder = tempfile::tempdir().expect("temporary folder");
        check(&mut MemoryStorage::default());
        check(&mut FileStorage::open(folder.path().join("a/b")).expect("makes the folder"));
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_old_entry() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut storage = FileStorage::open(folder.path()).expect("opens");
        storage.set_raw("state", b"whole").expect("writable");
        fs::write(folder.path().join("state.new"), b"ha").expect("writable");
        let mut buf = [0; 8];
        assert_eq!(storage.get_raw("state", &mut buf).expect("readable"), Some(&b"whole"[..]));
        storage.set_raw("state", b"next").expect("the remains are no hindrance");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("file"), b"").expect("writable");
        assert!(FileStorage::open(folder.path().join("file/state")).is_err());
    }
}
