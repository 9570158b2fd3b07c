//! The row log: the file that is written, the files before it, and the bytes that wait for the next write.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wattle_wire::Micros;
use wattle_wire::row::{Record, Row};
use wattle_wire::uplink::Incarnation;

use super::aside;
use super::disk::{Disk, DiskFile};
use super::error::{JournalError, io};
use super::frame::{self, Framer};

/// Where the files are and whose they are; shared by everything that reads them.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) incarnation: Incarnation,
}

/// A log file that is written no more, and what it holds.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) oldest_at: Micros,
}

/// The name of the log file whose first record has this sequence.
pub(super) fn name(first: u64) -> String {
    format!("log-{first:020}.wlog")
}

/// The first sequence of a log file, from its name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    name.strip_prefix("log-")?.strip_suffix(".wlog")?.parse().ok()
}

struct OpenFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    first: u64,
    /// The bytes that are known to be written; under the policy `batch` also to last.
    len: u64,
    /// Whether a sync of it has failed: what it has may be lost by then, whatever the next one says.
    failed: bool,
    oldest_at: Micros,
}

/// The row log of one journal.
pub(super) struct Log {
    place: Place,
    framer: Framer,
    closed: VecDeque<LogFile>,
    open: Option<OpenFile>,
    /// The first sequence of the file that was created last, whole or not.
    created: Option<u64>,
    pending: Vec<u8>,
    pending_at: Micros,
    /// The sequence that the next row gets.
    pub(super) next: u64,
    /// The last sequence that the operating system has.
    pub(super) written: u64,
    /// The last sequence that survives a loss of power.
    pub(super) synced: u64,
    /// The file that was written last when the process before this one ended, and the last sequence then. A kill leaves
    /// in the system's memory what was written and not synced yet.
    found: Option<(PathBuf, u64)>,
    /// Positions that were found, which are written in place.
    found_positions: Vec<PathBuf>,
    /// Whether names in the folder may not last yet: of what was found, or of a new log file.
    unsure_names: bool,
}

impl Log {
    /// The log after recovery: all files closed, the next row in a new one.
    pub(super) fn new(
        place: Place,
        closed: VecDeque<LogFile>,
        next: u64,
        found_positions: Vec<PathBuf>,
    ) -> Self {
        let framer = Framer::new(frame::seed(place.incarnation));
        let last = next - 1;
        let (pending, pending_at) = (Vec::new(), Micros::ZERO);
        let (open, created) = (None, None);
        let found = closed.back().map(|file| (file.path.clone(), last));
        let synced = closed.back().map_or(last, |file| file.first - 1);
        Self {
            place,
            framer,
            closed,
            open,
            created,
            pending,
            pending_at,
            next,
            written: last,
            synced,
            found,
            found_positions,
            unsure_names: true,
        }
    }

    /// Frames a row into the buffer, unless the buffer would grow above `max_bytes`.
    pub(super) fn append(&mut self, at: Micros, row: Row, max_bytes: usize) -> Result<u64, JournalError> {
        let len = self.pending.len();
        let sequence = self.next;
        let framed = self.framer.push(&mut self.pending, &Record { sequence, at_us: at, row });
        if framed.is_err() || self.pending.len() > max_bytes {
            self.pending.truncate(len);
            framed?;
            return Err(JournalError::Full { bytes: len });
        }
        if len == 0 {
            self.pending_at = at;
        }
        self.next += 1;
        Ok(sequence)
    }

    /// Writes what waits, in one write. With `lasting` it also survives a loss of power.
    ///
    /// Then a process that is killed leaves no row that doesn't last, nor a file whose name doesn't: so who copies its folder
    /// has no row under a number that the original may lose and give to another.
    ///
    /// After an error nothing of it counts as written: the next call writes all of it again at the same place, so that
    /// a sync that has failed is never trusted to have kept anything.
    pub(super) fn write(&mut self, lasting: bool) -> Result<(), JournalError> {
        if lasting {
            self.keep_found_bytes()?;
        }
        if self.written + 1 == self.next && (!lasting || self.synced == self.written) {
            return if lasting { self.keep_names() } else { Ok(()) };
        }
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let len = self.pending.len();
        if len > 0 {
            self.framer.end(&mut self.pending, self.next - 1);
        }
        if let Err(error) = self.write_pending(lasting) {
            self.pending.truncate(len);
            return Err(error);
        }
        self.pending.clear();
        self.written = self.next - 1;
        if lasting {
            self.synced = self.written;
        }
        Ok(())
    }

    fn write_pending(&mut self, lasting: bool) -> Result<(), JournalError> {
        if lasting {
            self.keep_names()?;
        }
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let bytes = match open.len {
            0 => Cow::Owned([&frame::header(self.place.incarnation, open.first), &self.pending[..]].concat()),
            _ => Cow::Borrowed(&self.pending[..]),
        };
        if lasting && self.synced == self.written {
            open.file.write_lasting(open.len, &bytes).map_err(io("written", &open.path))?;
        } else {
            open.file.write_at(open.len, &bytes).map_err(io("written", &open.path))?;
            if lasting {
                let failed = std::mem::replace(&mut open.failed, true);
                let kept = if failed { self.place.disk.rewrite(&open.path) } else { open.file.sync() };
                kept.map_err(io("synced", &open.path))?;
                open.failed = false;
            }
        }
        open.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes last what was found when the journal was opened, names too: it is in the machines' memory by now, acknowledged
    /// when it comes again, and about to be sealed.
    pub(super) fn keep_found(&mut self) -> Result<(), JournalError> {
        self.keep_found_bytes()?;
        self.keep_names()
    }

    fn keep_found_bytes(&mut self) -> Result<(), JournalError> {
        let disk = &*self.place.disk;
        if let Some((path, last)) = &self.found {
            rewrite_if_there(disk, path)?;
            self.synced = self.synced.max(*last);
            self.found = None;
        }
        while let Some(path) = self.found_positions.last() {
            rewrite_if_there(disk, path)?;
            self.found_positions.pop();
        }
        Ok(())
    }

    fn keep_names(&mut self) -> Result<(), JournalError> {
        if self.unsure_names {
            self.place.disk.sync_dir(&self.place.dir).map_err(io("synced", &self.place.dir))?;
            self.unsure_names = false;
        }
        Ok(())
    }

    fn create(&mut self) -> Result<OpenFile, JournalError> {
        let first = self.written + 1;
        let path = self.place.dir.join(name(first));
        if self.created != Some(first) && self.place.disk.file_id(&path).is_ok() {
            // Left by a recovery that found nothing of ours in it and could not move it.
            aside::move_file(&self.place, &name(first))?;
        }
        self.created = Some(first);
        self.unsure_names = true;
        let file = self.place.disk.create(&path).map_err(io("created", &path))?;
        Ok(OpenFile { file, path, first, len: 0, failed: false, oldest_at: self.pending_at })
    }

    /// Closes the file that is written, after making it last; the next row begins another.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.write(true)?;
        if let Some(OpenFile { path, first, len, oldest_at, .. }) = self.open.take() {
            self.closed.push_back(LogFile { path, first, last: self.written, bytes: len, oldest_at });
        }
        Ok(())
    }

    /// The size of the file that is written and the moment of its first row.
    pub(super) fn open_file(&self) -> Option<(u64, Micros)> {
        self.open.as_ref().map(|open| (open.len, open.oldest_at))
    }

    /// The bytes that wait for the disk.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The files that are written no more, oldest first.
    pub(super) fn closed(&self) -> &VecDeque<LogFile> {
        &self.closed
    }

    /// What the log takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|file| file.bytes).sum();
        closed + self.open.as_ref().map_or(0, |open| open.len)
    }

    /// The moment of the oldest row after `sequence`, to the file.
    pub(super) fn oldest_after(&self, sequence: u64) -> Option<Micros> {
        let closed = self.closed.iter().find(|file| file.last > sequence).map(|file| file.oldest_at);
        closed
            .or(self.open.as_ref().map(|open| open.oldest_at))
            .or((!self.pending.is_empty()).then_some(self.pending_at))
    }

    /// Removes the closed files that hold nothing after `sequence`.
    pub(super) fn release(&mut self, sequence: u64) -> Result<(), JournalError> {
        while self.closed.front().is_some_and(|file| file.last <= sequence) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Removes the oldest closed file. It goes on the word of segments and a checkpoint: these last before, whoever wrote them.
    pub(super) fn drop_oldest(&mut self) -> Result<(), JournalError> {
        self.keep_found()?;
        let Some(file) = self.closed.front() else { return Ok(()) };
        remove(&*self.place.disk, &file.path)?;
        self.closed.pop_front();
        Ok(())
    }
}

/// Makes a file last that was found; one that is gone, as what is sealed and freed, is no error.
pub(super) fn rewrite_if_there(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    match disk.rewrite(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(io("synced", path)),
    }
}

/// Removes a file; one that is gone already is no error.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("removed", path)(error)),
        _ => Ok(()),
    }
}
