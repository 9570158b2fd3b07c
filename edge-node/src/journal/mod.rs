//! The journal: what an edge has taken, on its own disk, until the lake has it. Blocking; one thread owns it.
//!
//! # What it promises
//! - Sequences begin at 1 and have no hole, over every restart, loss of power, damage and drop: what is no more is a
//!   [`Row::Gap`] in its place.
//! - What [`Journal::sync`] returned is on the disk, as far as the [`SyncPolicy`] says.
//! - Memory, files and bytes are bounded: see [`Options`].
//! - Damage is skipped, counted and kept aside, and stops nothing. A full disk is a state: it passes.
//!
//! # Files, all integers little-endian
//! ```text
//! lock                          held while a process has the journal open
//! reserve                       64 KiB of nothing, given up when the disk is full and a position can't be written in place
//! identity, checkpoint          see `stamp`
//! committed, handed             see `position`
//! log-<first>.wlog              rows, see below
//! segment-<from>-<to>.wseg      sealed rows, see the crate wattle-columns
//! aside/<n>-<name>              what could not be read, the newest 16
//! restored                      while the folder is known to be a copy and its new life isn't whole, see `copies`
//! before-<incarnation>/         a journal of which this folder was a copy, see `copies`
//! *.tmp                         not whole yet; removed when the journal is opened
//!
//! log file:  "WLOG"  format u8 = 2  row version u8  incarnation u128  first sequence u64  crc u32
//!            then frames
//! frame:     mark u8  row version u8  len u32  crc u32 over mark, version, len and payload  payload: len bytes
//!            mark 0xFF: a `wattle_wire::row::Record` in postcard
//!            mark 0xC1: the end of a write; last sequence u64
//! ```
//! The checksum of a frame starts from the checksum of the incarnation, so rows of another journal never fit. Format 1,
//! which is still read, has no ends of writes.
//!
//! # Rules
//! - **Append** puts a frame into a buffer. When that is full, the row is refused with [`JournalError::Full`], and a
//!   sync makes room; when the log is above the budget, with [`JournalError::LogFull`], and only sealing makes room.
//! - **Sync** writes the buffer with one write that lasts when it returns. At its end stands which row was the last: so damage
//!   to a row is told from a write that was cut. After an error nothing of it counts: the next sync writes all of it again. A log file is closed when it is large or its first row is old, and then
//!   never changes.
//! - **Seal** makes segments of each closed file, of 32,768 rows at most: each written under another name, synced, renamed,
//!   folder synced. While segments wait for the lake, files stay open longer, up to a minute, so that a backlog is of few files.
//! - **Hand out** first writes how far the uplink has got entries: the lake has none behind. One that says so has them of
//!   another journal of the same name, of which this is a copy, and frees nothing here.
//! - **Free** first writes how far the lake is, then removes the segments behind. Doing it twice does nothing. Both positions
//!   are written in place, for which a full disk has room; where it hasn't, the file `reserve` goes first, and is made again afterwards.
//! - **Checkpoint** replaces the core's last state. A log file goes when its rows are sealed *and* covered by the
//!   checkpoint; so the checkpoint and all rows after it are there after every restart, sent and freed or not. What a
//!   replay of the last minutes needs stays longer (`kept`). What was found when the journal was opened is made to last before
//!   anything goes, is handed out or acknowledged on its word: a process that was killed may have left it in the system's memory.
//! - **Recovery** passes over what isn't a sound frame, up to the next that is. Bytes at the end of a file that are
//!   less than a frame are a cut write: their rows were never acknowledged. The next row always begins a new file. A
//!   reader that misses numbers makes a gap of them, and so does a missing or damaged segment that the log can't
//!   give again. Opening needs a folder that can be listed and locked, and nothing else: what it can't write or move on a full or
//!   broken disk is done later. A file that can't be read counts as damaged when the journal is opened; afterwards
//!   only after eight tries.
//! - **Full disk**: log that is kept for a replay only goes at once. Nothing else goes, since everything else is a row that the
//!   lake doesn't have: rows wait until there is room.
//! - **Budget**: while log and segments are above it, first goes log that is kept for a replay only, as far as it is above a
//!   quarter of the budget; then the readings of the oldest segment that has some; then the oldest segments as a
//!   whole; then the rest of that log. Log that the checkpoint doesn't cover is never dropped: without it the core would take
//!   again what it has. Nor are rows that aren't sealed: when they alone reach the budget, because nothing can be
//!   sealed, new rows are refused; and when all log reaches it while a checkpoint can't be written or nothing be removed.

mod aside;
mod budget;
mod copies;
mod disk;
mod error;
mod frame;
mod handed;
mod kept;
mod log;
#[cfg(any(test, feature = "testing"))]
pub mod memory_disk;
mod options;
mod position;
mod reader;
mod recovery;
mod rows;
mod seal;
mod segments;
mod stamp;
mod tail;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Instant;

use wattle_wire::row::Row;
use wattle_wire::uplink::Incarnation;
use wattle_wire::{Micros, Millis};

pub use copies::{former, in_order, is_former};
pub(crate) use disk::replace;
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::JournalError;
pub use frame::MAX_RECORD_BYTES;
pub use options::{Options, Stats, SyncPolicy};
pub use reader::Reader;
pub use recovery::{Recovery, Repaired};
pub use rows::Rows;
pub use seal::{SealJob, SealedRef, Sealing};
pub use view::{Entries, LogView, View};

use log::{Log, Place};
use position::Position;
use segments::Segments;

/// The longest that a row waits to be sealed while the lake is out of reach.
const MAX_SEAL_AFTER_MS: i64 = 60_000;

/// How often reading a file may fail before it counts as damaged.
const PATIENCE: u32 = 8;

/// How often the same thing was tried.
#[derive(Debug, Default)]
struct Tries {
    what: u64,
    times: u32,
}

impl Tries {
    /// Counts one more try of the thing with this number; whether patience is over.
    fn again(&mut self, what: u64) -> bool {
        if self.what != what {
            *self = Self { what, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        self.times > PATIENCE
    }

    fn succeeded(&mut self) {
        self.times = 0;
    }
}

/// The rows of one edge on its disk.
pub struct Journal {
    options: Options,
    place: Place,
    log: Log,
    segments: Segments,
    committed: Position,
    checkpoint: u64,
    synced_at: Instant,
    opened_at: Micros,
    now: Micros,
    sealed_bytes: u64,
    dropped: u64,
    damaged: u64,
    over_budget: bool,
    /// Whether the log alone is above the budget, because rows can't be sealed, or what is sealed can't be let go.
    log_full: bool,
    /// Whether the last try to make room, or to write a checkpoint, has failed.
    no_room_made: bool,
    no_checkpoint: bool,
    kept: kept::Kept,
    /// Whether the file `identity` is written.
    named: bool,
    /// Whether there are holes between the segments.
    unfilled: bool,
    sealing_tries: Tries,
    reading_tries: Tries,
    /// The last entry that may have been handed to the uplink: the lake can't have one after it.
    handed: Position,
    _lock: Box<dyn std::any::Any + Send>,
}

impl Journal {
    /// Opens the journal in `options.dir`, or makes one, and repairs what has to be.
    ///
    /// # Errors
    /// When the folder can't be used, is in use, or is another edge's. Damage is none.
    pub fn open(options: Options, now: Micros) -> Result<(Self, Recovery), JournalError> {
        Self::open_on(Arc::new(RealDisk), options, now)
    }

    /// As [`Journal::open`], on a disk of another kind.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        now: Micros,
    ) -> Result<(Self, Recovery), JournalError> {
        recovery::open(disk, options, now)
    }

    /// The life of this journal.
    pub fn incarnation(&self) -> Incarnation {
        self.place.incarnation
    }

    /// Takes a row into the buffer and returns its sequence. It is durable after a later [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError::Full`] when the buffer is full, [`JournalError::LogFull`] when the log is, with rows that could not
    /// be sealed or let go yet, [`JournalError::RecordTooLarge`], and [`JournalError::GapAppended`]. The row was not taken, and no
    /// sequence was used up.
    pub fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError> {
        if matches!(row, Row::Gap(_)) {
            return Err(JournalError::GapAppended);
        }
        if self.log_full {
            return Err(JournalError::LogFull {
                bytes: self.log.bytes(),
                budget_bytes: self.options.budget_bytes,
            });
        }
        let keyframe_of = kept::Kept::keyframe_of(&row);
        let sequence = self.log.append(at, row, self.options.buffer_bytes)?;
        if let Some(site) = keyframe_of {
            self.kept.note(site, sequence);
        }
        Ok(sequence)
    }

    /// Writes the buffer and returns the last sequence that is durable, as the [`SyncPolicy`] says; 0 for none.
    ///
    /// # Errors
    /// When the disk is full or fails. Nothing is lost: the buffer is kept, and the next call tries again.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        let lasting = match self.options.sync {
            SyncPolicy::Batch => true,
            SyncPolicy::Interval(length) => self.interval_is_over(length),
            SyncPolicy::Off => false,
        };
        self.keep_identity()?;
        self.write(lasting)?;
        if lasting {
            self.synced_at = Instant::now();
        }
        if self.log.open_file().is_some_and(|(bytes, _)| bytes >= self.options.log_bytes()) {
            self.log.close()?;
        }
        self.note_room();
        Ok(self.log.written)
    }

    /// Whether what was acknowledged under the policy `interval` has waited for the disk for as long as that says, as the last
    /// rows before a silence do: then [`Journal::sync`] is due.
    pub fn is_sync_due(&self) -> bool {
        let SyncPolicy::Interval(length) = self.options.sync else { return false };
        self.log.synced < self.log.written && self.interval_is_over(length)
    }

    fn interval_is_over(&self, length: Millis) -> bool {
        self.synced_at.elapsed().as_millis() as i64 >= length.0
    }

    /// Writes the buffer; on a full disk also in the room of log that makes way.
    fn write(&mut self, lasting: bool) -> Result<(), JournalError> {
        match self.log.write(lasting) {
            Err(error) if self.makes_way(&error) => self.log.write(lasting),
            result => result,
        }
    }

    /// Writes who the journal is, if that could not be done before.
    fn keep_identity(&mut self) -> Result<(), JournalError> {
        let Place { disk, dir, incarnation } = &self.place;
        if !self.named {
            stamp::write_identity(&**disk, dir, &self.options.edge, *incarnation)?;
            self.named = true;
        }
        Ok(())
    }

    /// Seals all rows that are due, on the caller's thread; returns how many segments were written. It is
    /// [`Journal::seal_job`], [`SealJob::run`] and [`Journal::sealed`] until nothing is due.
    ///
    /// # Errors
    /// As those have. What is not sealed stays in the log for the next call.
    pub fn seal(&mut self, now: Micros) -> Result<usize, JournalError> {
        let mut segments = 0;
        while let Some(job) = self.seal_job(now)? {
            let sealing = job.run().inspect_err(|error| self.sealing_failed(error))?;
            segments += sealing.segments.len();
            self.sealed(sealing, now)?;
        }
        Ok(segments)
    }

    /// Closes the log file if its rows are old enough, and returns the next closed file's sealing. One job at a time.
    ///
    /// # Errors
    /// When the log can't be made to last.
    pub fn seal_job(&mut self, now: Micros) -> Result<Option<SealJob>, JournalError> {
        self.now = self.now.max(now);
        self.segments.look_at_oldest(&self.place, self.opened_at);
        let after = Micros::from(self.seal_after());
        // What is in a segment is in the log too as long as the checkpoint needs it, whenever the power goes.
        self.log.keep_found()?;
        if self.log.open_file().is_some_and(|(_, oldest_at)| now - oldest_at >= after) {
            self.write(true)?;
            self.log.close()?;
        }
        let from = self.sealed_to() + 1;
        let Some(file) = self.log.closed().iter().find(|file| file.last >= from).cloned() else {
            return Ok(None);
        };
        let lenient = self.sealing_tries.again(from);
        let last = file.last;
        Ok(Some(self.job(vec![file], from, last, lenient)))
    }

    /// Takes up the segments of a job that has run, frees the log behind them, and keeps the byte budget.
    ///
    /// # Errors
    /// When a file can't be removed or rewritten; the segments are taken up all the same.
    pub fn sealed(&mut self, sealing: Sealing, now: Micros) -> Result<(), JournalError> {
        self.now = self.now.max(now);
        for (segment, oldest_at) in sealing.segments {
            if segment.header.from == self.sealed_to() + 1 {
                self.sealed_bytes += segment.bytes;
                self.segments.push(segment, oldest_at);
            }
        }
        self.make_room()
    }

    /// A job could not be run: on a full disk log makes way for the next try.
    pub fn sealing_failed(&mut self, error: &JournalError) {
        self.makes_way(error);
    }

    /// Frees what may go, and keeps the byte budget; each is tried whatever becomes of the other.
    ///
    /// # Errors
    /// When a file can't be removed or rewritten.
    pub fn make_room(&mut self) -> Result<(), JournalError> {
        let released = self.release();
        let made = released.and(self.keep_budget(self.now));
        self.no_room_made = made.is_err();
        self.note_room();
        made
    }

    /// Whether the log may hold more than it should, since room could not be made or a checkpoint not be written: then
    /// [`Journal::checkpoint`] and [`Journal::make_room`] are to be tried again.
    pub fn is_strained(&self) -> bool {
        self.no_room_made || self.no_checkpoint
    }

    /// Replaces the core's checkpoint by its state after the entry `sequence`. All that was appended is made to last
    /// first: of some devices the state may know of more than the rows up to there.
    ///
    /// # Errors
    /// [`JournalError::CheckpointAhead`] when there is no such entry yet; or when the disk fails: then the checkpoint
    /// before it still holds.
    pub fn checkpoint(&mut self, sequence: u64, state: &[u8]) -> Result<(), JournalError> {
        let last = self.log.next - 1;
        if sequence > last {
            return Err(JournalError::CheckpointAhead { sequence, last });
        }
        let Place { disk, dir, incarnation } = self.place.clone();
        let written = match self.log.synced < last {
            true => self.write(true),
            false => Ok(()),
        };
        let write = || stamp::write_position(&*disk, &dir, stamp::CHECKPOINT, incarnation, sequence, state);
        let written = written.and_then(|()| match write() {
            Err(error) if self.makes_way(&error) => write(),
            result => result,
        });
        self.no_checkpoint = written.is_err();
        self.note_room();
        written?;
        self.checkpoint = sequence;
        self.release()
    }

    /// Declares the journal's folder to be a copy, as of a restored backup: the next opening begins a new life.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn declare_restored(&self) -> Result<(), JournalError> {
        copies::declare(&*self.place.disk, &self.place.dir)
    }

    /// How it stands.
    pub fn stats(&self) -> Stats {
        let bytes = self.bytes();
        let sealed = self.segments.list.front().map(|sealed| sealed.oldest_at);
        Stats {
            next_sequence: self.log.next,
            durable: self.log.written,
            sealed_to: self.sealed_to(),
            committed: self.committed.at,
            depth: self.log.next - 1 - self.committed.at,
            bytes,
            buffered_bytes: self.log.pending_bytes(),
            oldest_at: sealed.unwrap_or_else(|| self.log.oldest_after(self.sealed_to())),
            dropped: self.dropped,
            damaged: self.damaged,
            segments: self.segments.list.len(),
            seconds_left: self.seconds_left(bytes),
        }
    }

    fn seconds_left(&self, bytes: u64) -> Option<u64> {
        let elapsed_us = u128::try_from((self.now - self.opened_at).0).ok()?;
        let room = u128::from(self.options.budget_bytes.saturating_sub(bytes));
        let seconds = (room * elapsed_us / 1_000_000).checked_div(u128::from(self.sealed_bytes))?;
        u64::try_from(seconds).ok()
    }

    /// What the log takes on disk up to a sequence.
    fn log_bytes_to(&self, sequence: u64) -> u64 {
        self.log.closed().iter().filter(|file| file.last <= sequence).map(|file| file.bytes).sum()
    }

    /// The last sequence that nothing but a replay needs the log of: it is sealed, and the checkpoint knows of it.
    fn covered_to(&self) -> u64 {
        self.checkpoint.min(self.sealed_to())
    }

    fn bytes(&self) -> u64 {
        self.log.bytes() + self.segments.bytes()
    }

    fn sealed_to(&self) -> u64 {
        self.segments.last().unwrap_or(0).max(self.committed.at)
    }

    fn seal_after(&self) -> Millis {
        let waiting = self.segments.list.len() as i64;
        let longest = self.options.seal_after_ms.0.max(MAX_SEAL_AFTER_MS);
        Millis(self.options.seal_after_ms.0.saturating_mul(1 + waiting).min(longest))
    }

    fn job(&self, files: Vec<log::LogFile>, from: u64, to: u64, lenient: bool) -> SealJob {
        let (place, edge) = (self.place.clone(), self.options.edge.clone());
        SealJob { place, edge, files, from, to, now: self.now, lenient }
    }

    fn note_room(&mut self) {
        let counted = if self.is_strained() { 0 } else { self.log_bytes_to(self.sealed_to()) };
        self.log_full = self.log.bytes() - counted > self.options.budget_bytes;
    }

    fn release(&mut self) -> Result<(), JournalError> {
        let released = self.log.release(self.covered_to().min(self.kept.may_go()));
        self.note_room();
        released
    }
}
