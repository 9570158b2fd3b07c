//! A disk in memory that can be full, fail at any step, lose its power and rot. For tests: of the journal here, and of
//! whoever runs a journal on virtual time (feature `testing`).
//!
//! What it keeps over a loss of power is what was asked for: a file's bytes as of its last [`DiskFile::sync`], a folder's
//! names as of its last [`Disk::sync_dir`]. A real disk may keep more: [`MemoryDisk::lose_power_but`] keeps a part of the
//! rest, by chance.
//!
//! Each operation that would change the disk is a **step**, counted from 0; a test can have any of them fail.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

mod fault;
mod inode;

pub use fault::Fault;
use inode::Inode;

#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    lasting_names: BTreeMap<PathBuf, usize>,
    /// What was done to names since their folder was synced.
    changes: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    room: Option<usize>,
    steps: usize,
    fault: Option<(usize, Fault, bool)>,
    off: bool,
    unreadable: Option<String>,
    skipped_syncs: Option<String>,
    skips_dir_syncs: bool,
    failing_dir_syncs: Option<Fault>,
    syncs: usize,
}

impl State {
    /// Counts a step; what goes wrong with it, if something does.
    fn step(&mut self) -> Option<Fault> {
        if self.off {
            return Some(Fault::PowerCut);
        }
        let step = self.steps;
        self.steps += 1;
        let (at, fault, lasting) = self.fault?;
        if step < at || (step > at && !lasting) {
            return None;
        }
        self.off = fault == Fault::PowerCut;
        Some(fault)
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if self.off {
            return Err(Fault::PowerCut.error());
        }
        let broken = self.unreadable.as_ref().is_some_and(|part| path.to_string_lossy().contains(part));
        if broken { Err(Fault::Failing.error()) } else { Ok(()) }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(not_found)
    }

    /// The file of this name goes, if there is one: its bytes are room again.
    fn give_back(&mut self, path: &Path) {
        let bytes = self.names.get(path).map_or(0, |inode| self.inodes[*inode].now.len());
        self.room = self.room.map(|room| room + bytes);
    }

    fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
        match change {
            Change::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Change::Unlink(path) => {
                names.remove(path);
            }
            Change::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.names, &change);
        self.changes.push(change);
    }

    /// Writes bytes into a file as far as nothing goes wrong; how many.
    fn write(
        &mut self,
        inode: usize,
        offset: u64,
        bytes: &[u8],
        fault: Option<Fault>,
    ) -> (usize, io::Result<()>) {
        let (offset, len) = (offset as usize, self.inodes[inode].now.len());
        // What stands there already takes no more room.
        let room = self.room.unwrap_or(usize::MAX).saturating_add(len.saturating_sub(offset));
        let fits = match fault {
            None => room.min(bytes.len()),
            Some(Fault::Full | Fault::Failing | Fault::Killed) => room.min(bytes.len() / 2),
            Some(Fault::ReadOnly | Fault::PowerCut) => 0,
        };
        self.room = self.room.map(|room| room.saturating_sub((offset + fits).saturating_sub(len)));
        if fits > 0 {
            self.inodes[inode].write(offset, &bytes[..fits]);
        }
        let result = match fault {
            Some(fault) => Err(fault.error()),
            None if fits < bytes.len() => Err(Fault::Full.error()),
            None => Ok(()),
        };
        (fits, result)
    }

    /// Whether the syncs of a file are said to be done and aren't.
    fn skips(&self, path: &Path) -> bool {
        self.skipped_syncs.as_ref().is_some_and(|part| path.to_string_lossy().contains(part))
    }

    fn power_is_back(&mut self) {
        self.names = self.lasting_names.clone();
        self.inodes.iter_mut().for_each(Inode::lose_power);
        self.changes.clear();
        self.locks.clear();
        self.off = false;
        self.fault = None;
        self.failing_dir_syncs = None;
    }
}

impl Change {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this many bytes can be written; none: as many as wanted.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.state().room = bytes;
    }

    /// The step with this number fails; with `lasting` all after it too, until [`MemoryDisk::heal`].
    pub fn fail_at(&self, step: usize, fault: Fault, lasting: bool) {
        self.state().fault = Some((step, fault, lasting));
    }

    /// Each step from now on fails.
    pub fn fail(&self, fault: Fault) {
        let step = self.steps();
        self.fail_at(step, fault, true);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fault, state.room, state.unreadable) = (None, None, None);
        state.failing_dir_syncs = None;
    }

    /// How many steps were asked for so far.
    pub fn steps(&self) -> usize {
        self.state().steps
    }

    /// Files whose path holds `part` can't be read from now on.
    pub fn unreadable(&self, part: &str) {
        self.state().unreadable = Some(part.to_owned());
    }

    /// Syncs of files whose path holds `part` are said to be done and aren't: a disk that lies, or a program without
    /// that sync.
    pub fn skip_syncs(&self, part: &str) {
        self.state().skipped_syncs = Some(part.to_owned());
    }

    /// Syncs of folders are said to be done and aren't.
    pub fn skip_dir_syncs(&self, skips: bool) {
        self.state().skips_dir_syncs = skips;
    }

    /// Syncs of folders fail in this way, and nothing else does, until [`MemoryDisk::heal`].
    pub fn fail_dir_syncs(&self, fault: Fault) {
        self.state().failing_dir_syncs = Some(fault);
    }

    /// How many times a file was synced.
    pub fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// The power goes and comes back: everything that was not made to last is gone, and no fault is set any more.
    pub fn lose_power(&self) {
        self.state().power_is_back();
    }

    /// As [`MemoryDisk::lose_power`], but of what was not made to last each change of a name and a part of each file's new
    /// bytes are kept, by chance: `chance(n)` gives a number below `n`. A file's part is its new bytes up to one of them,
    /// or with the bytes from there on zero, as a file system leaves it that grows a file before it writes it. What was there
    /// before and was to be written over is never zero.
    pub fn lose_power_but(&self, mut chance: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        let State { inodes, lasting_names, changes, .. } = &mut *state;
        for change in std::mem::take(changes) {
            if chance(2) == 0 {
                State::apply(lasting_names, &change);
            }
        }
        for inode in inodes.iter_mut().filter(|inode| inode.now != inode.lasting) {
            let same = inode.now.iter().zip(&inode.lasting).take_while(|(a, b)| a == b).count();
            let end = inode.end_of_new();
            let kept = same + chance(end - same + 1);
            let mut bytes = inode.now[..kept].to_vec();
            let beyond = inode.lasting.get(kept..).unwrap_or_default();
            bytes.extend_from_slice(beyond);
            if chance(3) == 0 && bytes.len() < inode.now.len() {
                bytes.resize(inode.now.len(), 0);
            }
            inode.lasting = bytes;
        }
        state.power_is_back();
    }

    /// The paths of the files whose path holds `part`, in order.
    pub fn files(&self, part: &str) -> Vec<PathBuf> {
        self.state().names.keys().filter(|path| path.to_string_lossy().contains(part)).cloned().collect()
    }

    /// What a file holds.
    ///
    /// # Panics
    /// When there is none of that path.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].now.clone()
    }

    /// Puts a file there as it is, for good.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode::of(bytes));
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_path_buf(), inode);
        state.lasting_names.insert(path.to_path_buf(), inode);
    }

    /// Changes a file's bytes where they are, for good: the file stays the same file.
    ///
    /// # Panics
    /// When there is none of that path.
    pub fn rot(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.names[path];
        state.inodes[inode] = Inode::of(bytes);
    }

    /// Removes a file for good.
    pub fn delete(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.lasting_names.remove(path);
    }

    /// A disk of its own, the same block for block: its files are the same files.
    pub fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.locks.clear();
        Self(Arc::new(Mutex::new(state)))
    }

    /// A disk of its own with copies of the files, as a backup that is restored gives them.
    pub fn restored(&self) -> Self {
        let copy = Self::default();
        let state = self.state();
        // Other files than these have the numbers of theirs.
        copy.state().inodes = vec![Inode::default(); state.inodes.len()];
        state.names.iter().for_each(|(path, inode)| copy.put(path, state.inodes[*inode].now.clone()));
        drop(state);
        copy
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
        state.readable(dir)?;
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, inode)| {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                (name, state.inodes[*inode].now.len() as u64)
            })
            .collect())
    }

    fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        let below =
            |path: &PathBuf| path.parent()?.strip_prefix(dir).ok()?.iter().next().map(OsStr::to_owned);
        let names: BTreeSet<_> = self.state().names.keys().filter_map(below).collect();
        Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn read(&self, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        let inode = state.inode(path)?;
        state.readable(path)?;
        let bytes = &state.inodes[inode].now;
        if bytes.len() as u64 > max_bytes {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(bytes.clone())
        }
    }

    fn read_begin(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path, u64::MAX)?;
        bytes.truncate(max_bytes);
        Ok(bytes)
    }

    fn file_id(&self, path: &Path) -> io::Result<u128> {
        self.state().inode(path).map(|inode| inode as u128)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        if let Some(fault) = state.step() {
            return Err(fault.error());
        }
        state.give_back(path);
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.change(Change::Link(path.to_path_buf(), inode));
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_path_buf(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let inode = state.inode(path)?;
        if state.off {
            return Err(Fault::PowerCut.error());
        }
        drop(state);
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_path_buf(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        if let Some(fault) = state.step() {
            return Err(fault.error());
        }
        state.give_back(to);
        state.change(Change::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.inode(path)?;
        if let Some(fault) = state.step().filter(|fault| *fault != Fault::Full) {
            return Err(fault.error());
        }
        state.give_back(path);
        state.change(Change::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let inode = self.state().inode(path)?;
        let bytes = self.state().inodes[inode].now.clone();
        let mut file = MemoryFile { disk: self.clone(), path: path.to_path_buf(), inode };
        file.write_at(0, &bytes)?;
        file.sync()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(fault) = state.step().filter(|fault| *fault != Fault::Full) {
            return Err(fault.error());
        }
        if let Some(fault) = state.failing_dir_syncs {
            return Err(fault.error());
        }
        if state.skips_dir_syncs {
            return Ok(());
        }
        let State { changes, lasting_names, .. } = &mut *state;
        changes.extract_if(.., |change| change.is_in(dir)).for_each(|c| State::apply(lasting_names, &c));
        Ok(())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    inode: usize,
}

impl DiskFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step();
        state.write(self.inode, offset, bytes, fault).1
    }

    fn write_lasting(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs += 1;
        let fault = state.step();
        // The power goes between the write and its end: none of it lasts for sure.
        let cut = fault == Some(Fault::PowerCut);
        let (fits, result) = state.write(self.inode, offset, bytes, fault.filter(|_| !cut));
        if cut {
            return Err(Fault::PowerCut.error());
        }
        if fault == Some(Fault::Failing) {
            state.inodes[self.inode].fail_sync();
        } else if !state.skips(&self.path) {
            let (offset, inode) = (offset as usize, &mut state.inodes[self.inode]);
            inode.lasting.resize(inode.lasting.len().max(offset + fits), 0);
            inode.lasting[offset..offset + fits].copy_from_slice(&bytes[..fits]);
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs += 1;
        if let Some(fault) = state.step().filter(|fault| *fault != Fault::Full) {
            if fault == Fault::Failing {
                state.inodes[self.inode].fail_sync();
            }
            return Err(fault.error());
        }
        if !state.skips(&self.path) {
            state.inodes[self.inode].sync();
        }
        Ok(())
    }
}
