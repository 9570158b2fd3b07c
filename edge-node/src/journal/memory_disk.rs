//! A disk in memory that can be full, refuse to sync, lose its power and rot.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::disk::{Disk, DiskFile};

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    lasting: Vec<u8>,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    lasting_names: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    room: Option<usize>,
    refuses_sync: bool,
    syncs: usize,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// From now on this many bytes can be written; none: as many as wanted.
    pub(super) fn set_room(&self, bytes: Option<usize>) {
        self.state().room = bytes;
    }

    /// Whether each sync of a file fails from now on; what it should have kept is lost, as on Linux.
    pub(super) fn refuse_sync(&self, refuses: bool) {
        self.state().refuses_sync = refuses;
    }

    /// How many times a file was synced.
    pub(super) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Everything that was not made to last is gone.
    pub(super) fn lose_power(&self) {
        let mut state = self.state();
        state.names = state.lasting_names.clone();
        state.inodes.iter_mut().for_each(|inode| inode.now = inode.lasting.clone());
        state.locks.clear();
    }

    /// The names of the files directly in a folder whose name holds `part`, in order.
    pub(super) fn files(&self, part: &str) -> Vec<PathBuf> {
        self.state().names.keys().filter(|path| path.to_string_lossy().contains(part)).cloned().collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].now.clone()
    }

    /// Puts a file there as it is, for good.
    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode { now: bytes.clone(), lasting: bytes });
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_path_buf(), inode);
        state.lasting_names.insert(path.to_path_buf(), inode);
    }

    pub(super) fn delete(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.lasting_names.remove(path);
    }

    /// A disk of its own with the same files.
    pub(super) fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            lasting_names: state.lasting_names.clone(),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(copy)))
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

struct Locked(MemoryDisk, PathBuf);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

impl Disk for MemoryDisk {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        if !self.state().locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked(self.clone(), path.to_path_buf())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, inode)| {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                (name, state.inodes[*inode].now.len() as u64)
            })
            .collect())
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        let bytes = &state.inodes[*state.names.get(path).ok_or_else(not_found)?].now;
        if bytes.len() as u64 > max_bytes {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(bytes.clone())
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_path_buf(), inode);
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(path).ok_or_else(not_found)?;
        let bytes = state.inodes[inode].now.len();
        state.room = state.room.map(|room| room + bytes);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.lasting_names = state.names.clone();
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

impl DiskFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.room = state.room.map(|room| room - fits);
        let offset = offset as usize;
        let file = &mut state.inodes[self.inode].now;
        file.resize(file.len().max(offset + fits), 0);
        file[offset..offset + fits].copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs += 1;
        if state.refuses_sync {
            return Err(io::Error::other("the device has failed"));
        }
        let inode = &mut state.inodes[self.inode];
        inode.lasting = inode.now.clone();
        Ok(())
    }
}
