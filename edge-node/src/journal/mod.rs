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
//! reserve                       64 KiB of nothing, given up when the disk is full
//! identity, committed, checkpoint   see `stamp`
//! log-<first>.wlog              rows, see below
//! segment-<from>-<to>.wseg      sealed rows, see the crate wattle-columns
//! aside/<n>-<name>              what could not be read, the newest 16
//! *.tmp                         not whole yet; removed when the journal is opened
//!
//! log file:  "WLOG"  format u8 = 1  row version u8  incarnation u128  first sequence u64  crc u32
//!            then frames
//! frame:     mark u8 = 0xFF  row version u8  len u32  crc u32 over mark, version, len and payload
//!            payload: len bytes, a `wattle_wire::row::Record` in postcard
//! ```
//! The checksum of a frame starts from the checksum of the incarnation, so rows of another journal never fit.
//!
//! # Rules
//! - **Append** puts a frame into a buffer. When that is full, the row is refused with [`JournalError::Full`], and a
//!   sync makes room; when the log is above the budget, with [`JournalError::LogFull`], and only sealing makes room.
//! - **Sync** writes the buffer with one write and one `fdatasync`. After an error nothing of it counts: the next
//!   sync writes all of it again. A log file is closed when it is large or its first row is old, and then
//!   never changes.
//! - **Seal** makes a segment of each closed file: written under another name, synced, renamed, folder synced. While
//!   segments wait for the lake, files stay open longer, up to a minute, so that a backlog is of few files.
//! - **Free** first writes how far the lake is, then removes the segments behind. Doing it twice does nothing. On a full
//!   disk the file `reserve` goes first, so that there is room for the position; it is made again afterwards.
//! - **Checkpoint** replaces the core's last state. A log file goes when its rows are sealed *and* covered by the
//!   checkpoint; so the checkpoint and all rows after it are there after every restart, sent and freed or not. What a
//!   replay of the last minutes needs stays longer (`kept`).
//! - **Recovery** passes over what isn't a sound frame, up to the next that is. Bytes at the end of a file that are
//!   less than a frame are a cut write: their rows were never acknowledged. The next row always begins a new file. A
//!   reader that misses numbers makes a gap of them, and so does a missing or damaged segment that the log can't
//!   give again.
//! - **Budget**: while log and segments are above it, first goes log that is kept for the core's recovery only, as far
//!   as it is above a quarter of the budget; then the readings of the oldest segment that has some; then the oldest
//!   segments as a whole. Rows that aren't sealed yet are never dropped: when they alone reach the budget, because
//!   nothing can be sealed, new rows are refused.

mod aside;
mod budget;
mod disk;
mod error;
mod frame;
mod kept;
mod log;
mod reader;
mod recovery;
mod rows;
mod seal;
mod segments;
mod stamp;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use wattle_wire::row::Row;
use wattle_wire::uplink::{Incarnation, SegmentHeader};
use wattle_wire::{EdgeId, Micros, Millis};

pub use error::JournalError;
pub use frame::MAX_RECORD_BYTES;
pub use reader::Reader;
pub use recovery::{Recovery, Repaired};
pub use rows::Rows;
pub use seal::{SealJob, SealedRef, Sealing};

use log::{Log, Place};
use segments::Segments;

/// How much larger rows are in the log than sealed; measured, to the whole number below.
const LOG_PER_SEALED: u64 = 4;

/// What is given up when the disk is full, so that the lake's position can be written and segments freed.
const RESERVE: &str = "reserve";
/// Its length: a few blocks of any file system, for the position, its name and the folder.
const RESERVE_BYTES: usize = 64 << 10;

/// The longest that a row waits to be sealed while the lake is out of reach.
const MAX_SEAL_AFTER_MS: i64 = 60_000;

/// What [`Journal::sync`] makes of rows before it calls them durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Each call waits for the disk: what it returns survives a loss of power.
    Batch,
    /// The disk is waited for at most once in this time: a loss of power may cost the rows since, a kill none.
    Interval(Millis),
    /// The disk is waited for only when a log file is closed: a loss of power may cost a few seconds of rows.
    Off,
}

impl SyncPolicy {
    /// How configuration and status write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Interval(_) => "interval",
            Self::Off => "off",
        }
    }
}

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder, for it alone; made if it isn't there.
    pub dir: PathBuf,
    /// Whose journal it is.
    pub edge: EdgeId,
    /// The most that log and segments may take on disk, bytes. Default 1 GiB.
    pub budget_bytes: u64,
    /// The size of a sealed segment under full load, bytes, 1 to 8 MiB. Default 2 MiB.
    pub segment_bytes: u64,
    /// The age at which rows are sealed while the lake keeps up. Default 3 s.
    pub seal_after_ms: Millis,
    /// What durable means. Default [`SyncPolicy::Batch`].
    pub sync: SyncPolicy,
    /// The most that waits in memory for the disk, bytes; above it rows are refused. Default 8 MiB.
    pub buffer_bytes: usize,
}

impl Options {
    /// The defaults for a folder and an edge.
    pub fn new(dir: impl Into<PathBuf>, edge: EdgeId) -> Self {
        Self {
            dir: dir.into(),
            edge,
            budget_bytes: 1 << 30,
            segment_bytes: 2 << 20,
            seal_after_ms: Millis(3_000),
            sync: SyncPolicy::Batch,
            buffer_bytes: 8 << 20,
        }
    }

    fn log_bytes(&self) -> u64 {
        self.segment_bytes.clamp(1 << 10, 8 << 20) * LOG_PER_SEALED
    }
}

/// How a journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The sequence that the next row gets.
    pub next_sequence: u64,
    /// The last sequence that is durable as the policy says; 0 for none.
    pub durable: u64,
    /// The last sequence that is sealed; 0 for none.
    pub sealed_to: u64,
    /// The last sequence that the lake has; 0 for none.
    pub committed: u64,
    /// How many entries the lake doesn't have yet.
    pub depth: u64,
    /// What log and segments take on disk, bytes.
    pub bytes: u64,
    /// What waits in memory for the disk, bytes.
    pub buffered_bytes: usize,
    /// When the oldest entry that the lake doesn't have was taken, to the segment; none when it has all, or when
    /// the segment is from before a restart.
    pub oldest_at: Option<Micros>,
    /// How many entries went under the byte budget since the journal was opened.
    pub dropped: u64,
    /// How many entries were found damaged since the journal was opened, its opening included.
    pub damaged: u64,
    /// How many sealed segments wait for the lake.
    pub segments: usize,
    /// How many seconds of rows still fit into the budget, at the rate since the journal was opened.
    pub seconds_left: Option<u64>,
    /// Whether the core should make a checkpoint now: the log after the last one is large.
    pub checkpoint_due: bool,
}

/// The rows of one edge on its disk.
pub struct Journal {
    options: Options,
    place: Place,
    log: Log,
    segments: Segments,
    committed: u64,
    checkpoint: u64,
    synced_at: Instant,
    opened_at: Micros,
    now: Micros,
    sealed_bytes: u64,
    dropped: u64,
    damaged: u64,
    over_budget: bool,
    /// Whether the log alone is above the budget, because rows can't be sealed.
    log_full: bool,
    kept: kept::Kept,
    _lock: Box<dyn std::any::Any + Send>,
}

impl Journal {
    /// Opens the journal in `options.dir`, or makes one, and repairs what has to be.
    ///
    /// # Errors
    /// When the folder can't be used, is in use, or is another edge's. Damage is none.
    pub fn open(options: Options, now: Micros) -> Result<(Self, Recovery), JournalError> {
        recovery::open(std::sync::Arc::new(disk::RealDisk), options, now)
    }

    /// The life of this journal.
    pub fn incarnation(&self) -> Incarnation {
        self.place.incarnation
    }

    /// Takes a row into the buffer and returns its sequence. It is durable after a later [`Journal::sync`].
    ///
    /// # Errors
    /// [`JournalError::Full`] when the buffer is full, [`JournalError::LogFull`] when the log is, with rows that could not
    /// be sealed yet, [`JournalError::RecordTooLarge`], and [`JournalError::GapAppended`]. The row was not taken, and no
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
            SyncPolicy::Interval(length) => self.synced_at.elapsed().as_millis() as i64 >= length.0,
            SyncPolicy::Off => false,
        };
        self.log.write(lasting)?;
        if lasting {
            self.synced_at = Instant::now();
        }
        if self.log.open_file().is_some_and(|(bytes, _)| bytes >= self.options.log_bytes()) {
            self.log.close()?;
        }
        self.note_room();
        Ok(self.log.written)
    }

    /// Seals all rows that are due, on the caller's thread; returns how many segments were written. It is
    /// [`Journal::seal_job`], [`SealJob::run`] and [`Journal::sealed`] until nothing is due.
    ///
    /// # Errors
    /// As those have. What is not sealed stays in the log for the next call.
    pub fn seal(&mut self, now: Micros) -> Result<usize, JournalError> {
        let mut segments = 0;
        while let Some(job) = self.seal_job(now)? {
            let sealing = job.run()?;
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
        let after = Micros::from(self.seal_after());
        if self.log.open_file().is_some_and(|(_, oldest_at)| now - oldest_at >= after) {
            self.log.close()?;
        }
        let from = self.sealed_to() + 1;
        let file = self.log.closed().iter().find(|file| file.last >= from);
        Ok(file.map(|file| self.job(vec![file.clone()], from, file.last)))
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
        self.release()?;
        let kept = self.keep_budget(self.now);
        self.note_room();
        kept
    }

    /// The first segment with entries after `sequence` (none: the first of all), for the uplink.
    pub fn segment_after(&self, sequence: Option<u64>) -> Option<SealedRef> {
        let index = self.segments.index_after(sequence.unwrap_or(0))?;
        Some(self.segments.list[index].segment.clone())
    }

    /// As [`Journal::segment_after`], with its bytes. A segment that is damaged is set aside and made again from the
    /// log; what the log has no more becomes a gap.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read_after(
        &mut self,
        sequence: Option<u64>,
    ) -> Result<Option<(SegmentHeader, Bytes)>, JournalError> {
        for mended in [false, true] {
            let Some(index) = self.segments.index_after(sequence.unwrap_or(0)) else { return Ok(None) };
            let sealed = self.segments.list[index].segment.clone();
            match segments::read(&self.place, &sealed)? {
                Some(bytes) => return Ok(Some((sealed.header, bytes))),
                None if !mended => self.mend(index)?,
                None => {
                    tracing::error!(path = %sealed.path.display(), "segment can't be read back after mending")
                }
            }
        }
        Ok(None)
    }

    /// Notes how far the lake is, and removes the segments behind. A position that isn't new changes nothing.
    ///
    /// # Errors
    /// [`JournalError::Ahead`] when the lake has entries that this journal never had; or when the disk fails.
    pub fn free(&mut self, committed: u64) -> Result<(), JournalError> {
        let last = self.log.next - 1;
        if committed > last {
            return Err(JournalError::Ahead { committed, last });
        }
        if committed > self.committed {
            self.write_committed(committed)?;
            self.committed = committed;
        }
        self.segments.free(&self.place, self.committed)?;
        self.release()?;
        self.keep_reserve();
        Ok(())
    }

    /// Writes how far the lake is; on a full disk in the room of the reserve.
    fn write_committed(&self, committed: u64) -> Result<(), JournalError> {
        let Place { disk, dir, incarnation } = &self.place;
        let write = || stamp::write_position(&**disk, dir, stamp::COMMITTED, *incarnation, committed, &[]);
        match write() {
            Err(JournalError::DiskFull { .. }) if disk.remove(&dir.join(RESERVE)).is_ok() => write(),
            result => result,
        }
    }

    /// Makes the reserve if it isn't there. Without room for it the journal goes on; the next [`Journal::free`] tries
    /// again.
    fn keep_reserve(&mut self) {
        let Place { disk, dir, .. } = &self.place;
        let there = disk.read(&dir.join(RESERVE), RESERVE_BYTES as u64);
        if there.is_ok_and(|bytes| bytes.len() == RESERVE_BYTES) {
            return;
        }
        if let Err(error) = disk::replace(&**disk, dir, RESERVE, &[0xA5; RESERVE_BYTES]) {
            tracing::debug!(%error, "no room for the journal's reserve yet");
        }
    }

    /// Replaces the core's checkpoint by its state after the entry `sequence`. Entries up to there are made to last
    /// first.
    ///
    /// # Errors
    /// [`JournalError::CheckpointAhead`] when there is no such entry yet; or when the disk fails: then the checkpoint
    /// before it still holds.
    pub fn checkpoint(&mut self, sequence: u64, state: &[u8]) -> Result<(), JournalError> {
        let last = self.log.next - 1;
        if sequence > last {
            return Err(JournalError::CheckpointAhead { sequence, last });
        }
        if sequence > self.log.synced {
            self.log.write(true)?;
        }
        let Place { disk, dir, incarnation } = &self.place;
        stamp::write_position(&**disk, dir, stamp::CHECKPOINT, *incarnation, sequence, state)?;
        self.checkpoint = sequence;
        self.release()
    }

    /// How it stands.
    pub fn stats(&self) -> Stats {
        let bytes = self.bytes();
        let sealed = self.segments.list.front().map(|sealed| sealed.oldest_at);
        Stats {
            next_sequence: self.log.next,
            durable: self.log.written,
            sealed_to: self.sealed_to(),
            committed: self.committed,
            depth: self.log.next - 1 - self.committed,
            bytes,
            buffered_bytes: self.log.pending_bytes(),
            oldest_at: sealed.unwrap_or_else(|| self.log.oldest_after(self.sealed_to())),
            dropped: self.dropped,
            damaged: self.damaged,
            segments: self.segments.list.len(),
            seconds_left: self.seconds_left(bytes),
            checkpoint_due: self.replay_bytes() > self.options.budget_bytes / 8,
        }
    }

    fn seconds_left(&self, bytes: u64) -> Option<u64> {
        let elapsed_us = u128::try_from((self.now - self.opened_at).0).ok()?;
        let room = u128::from(self.options.budget_bytes.saturating_sub(bytes));
        let seconds = (room * elapsed_us / 1_000_000).checked_div(u128::from(self.sealed_bytes))?;
        u64::try_from(seconds).ok()
    }

    /// What the log takes on disk beyond what waits to be sealed: it is kept for the core's recovery only.
    fn replay_bytes(&self) -> u64 {
        let sealed_to = self.sealed_to();
        let sealed = self.log.closed().iter().filter(|file| file.last <= sealed_to);
        sealed.map(|file| file.bytes).sum()
    }

    fn bytes(&self) -> u64 {
        self.log.bytes() + self.segments.bytes()
    }

    fn sealed_to(&self) -> u64 {
        self.segments.last().unwrap_or(0).max(self.committed)
    }

    fn seal_after(&self) -> Millis {
        let waiting = self.segments.list.len() as i64;
        let longest = self.options.seal_after_ms.0.max(MAX_SEAL_AFTER_MS);
        Millis(self.options.seal_after_ms.0.saturating_mul(1 + waiting).min(longest))
    }

    fn job(&self, files: Vec<log::LogFile>, from: u64, to: u64) -> SealJob {
        SealJob { place: self.place.clone(), edge: self.options.edge.clone(), files, from, to, now: self.now }
    }

    fn note_room(&mut self) {
        self.log_full = self.log.bytes() > self.options.budget_bytes;
    }

    fn release(&mut self) -> Result<(), JournalError> {
        let covered = self.checkpoint.min(self.sealed_to());
        let released = self.log.release(covered.min(self.kept.may_go()));
        self.note_room();
        released
    }
}
