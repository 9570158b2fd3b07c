//! Reads a journal's entries from its folder while a node may be running on it: nothing is locked, repaired or written.
//!
//! Entries come in order from whichever file has them, the row log before a sealed segment. Where none has, stands a
//! [`Row::Gap`]. Files that a node seals or frees meanwhile are looked for anew; what it has freed before it was read is such a gap.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wattle_columns::Segment;
use wattle_wire::row::{Gap, GapReason, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{EdgeId, Micros};

use super::disk::{Disk, RealDisk};
use super::error::{JournalError, io};
use super::frame::{Scan, last_of};
use super::log;
use super::rows::MAX_LOG_BYTES;
use super::seal;
use super::stamp::{self, Found};

/// The entries of a journal, oldest first.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    edge: EdgeId,
    incarnation: Incarnation,
    /// The sequence that comes next; none before the first.
    next: Option<u64>,
    ready: std::vec::IntoIter<Record>,
    /// A record behind a gap.
    held: Option<Record>,
    /// The moment of the last record; none before the first.
    at: Option<Micros>,
    /// Files that were read.
    spent: Vec<PathBuf>,
    /// The first sequence of the log file that was being written when the reader was opened: it is the last to be read.
    last: u64,
}

/// A file and the first sequence that it may hold.
struct Part {
    from: u64,
    path: PathBuf,
    is_log: bool,
}

impl Reader {
    /// Reads the journal in this folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::on(Arc::new(RealDisk), dir)
    }

    fn on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
        let nothing = |text: &str| {
            let error = std::io::Error::new(std::io::ErrorKind::NotFound, text.to_owned());
            io("read", &dir.join(stamp::IDENTITY))(error)
        };
        let (incarnation, edge) = match stamp::read_identity(&*disk, dir) {
            Found::Sound(found) => (found.incarnation, found.edge),
            Found::Nothing => return Err(nothing("there is no journal in this folder")),
            Found::Bad(reason) => return Err(nothing(&reason)),
        };
        let (ready, spent) = (Vec::new().into_iter(), Vec::new());
        let listing = disk.list(dir).map_err(io("listed", dir))?;
        let firsts = listing.iter().filter_map(|(name, _)| log::parse_name(name));
        let last = firsts.max().unwrap_or(u64::MAX);
        let dir = dir.to_owned();
        let (next, held, at) = (None, None, None);
        Ok(Self { disk, dir, edge, incarnation, next, ready, held, at, spent, last })
    }

    /// Whose journal it is, and which life of it.
    pub fn owner(&self) -> (&EdgeId, Incarnation) {
        (&self.edge, self.incarnation)
    }

    fn parts(&self) -> Result<Vec<Part>, JournalError> {
        let listing = self.disk.list(&self.dir).map_err(io("listed", &self.dir))?;
        let part = |name: &String| {
            let path = self.dir.join(name);
            match (log::parse_name(name), seal::parse_name(name)) {
                (Some(from), _) => Some(Part { from, path, is_log: true }),
                // What stands before the next sequence was read or dropped.
                (None, Some((from, to))) if self.next.is_none_or(|next| to >= next) => {
                    Some(Part { from, path, is_log: false })
                }
                _ => None,
            }
        };
        let mut parts: Vec<Part> = listing.iter().filter_map(|(name, _)| part(name)).collect();
        parts.retain(|part| part.from <= self.last && !self.spent.contains(&part.path));
        parts.sort_by_key(|part| (part.from, part.is_log));
        Ok(parts)
    }

    /// The records of the next file that has some from `next` on; none when there is no such file.
    fn load(&mut self) -> Result<Option<Vec<Record>>, JournalError> {
        loop {
            let mut parts = self.parts()?;
            // What the oldest file had and is damaged is a gap too.
            let next = match (self.next, parts.first()) {
                (Some(next), _) => next,
                (None, Some(oldest)) => *self.next.insert(oldest.from),
                (None, None) => return Ok(None),
            };
            let started = parts.iter().rposition(|part| part.is_log && part.from <= next);
            let holds = parts.iter().rposition(|part| !part.is_log && part.from <= next);
            let Some(index) = started.or(holds).or((!parts.is_empty()).then_some(0)) else { return Ok(None) };
            let part = parts.swap_remove(index);
            let records = match self.disk.read(&part.path, MAX_LOG_BYTES) {
                Ok(bytes) => self.records(&part, bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(io("read", &part.path)(error)),
            };
            self.spent.push(part.path);
            let fresh: Vec<Record> = records.into_iter().filter(|record| last_of(record) >= next).collect();
            if !fresh.is_empty() {
                return Ok(Some(fresh));
            }
        }
    }

    /// What can be read of a file; of a damaged segment nothing.
    fn records(&self, part: &Part, bytes: Vec<u8>) -> Vec<Record> {
        if part.is_log {
            return Scan::new(bytes, self.incarnation, part.from).collect();
        }
        let segment = Segment::decode(&bytes).ok().filter(|segment| {
            segment.header.incarnation == self.incarnation && segment.header.edge == self.edge
        });
        segment.and_then(|segment| segment.records().ok()).unwrap_or_default()
    }

    fn step(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            let found = match self.held.take().or_else(|| self.ready.next()) {
                Some(record) => record,
                None => match self.load()? {
                    Some(records) => {
                        self.ready = records.into_iter();
                        continue;
                    }
                    None => return Ok(None),
                },
            };
            let next = self.next.unwrap_or(found.sequence);
            if last_of(&found) < next {
                continue;
            }
            if found.sequence > next {
                let gap = Gap { from: next, to: found.sequence - 1, reason: GapReason::Damage };
                let at_us = self.at.unwrap_or(found.at_us);
                self.next = Some(found.sequence);
                self.held = Some(found);
                return Ok(Some(Record { sequence: gap.from, at_us, row: Row::Gap(gap) }));
            }
            self.next = Some(last_of(&found) + 1);
            self.at = Some(found.at_us);
            return Ok(Some(found));
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
