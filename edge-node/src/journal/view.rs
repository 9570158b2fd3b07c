//! A journal's folder as it stands, read without changing anything: also while a node runs on it.
//!
//! A running node writes, seals and frees meanwhile. A file that has gone since the folder was listed is left out, and
//! what is cut at the end of the newest log file is a write under way.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::uplink::{Incarnation, SegmentHeader};
use wattle_wire::{EdgeId, Micros};

use super::copies::is_former;
use super::disk::{Disk, RealDisk};
use super::error::{JournalError, io};
use super::frame::{self, Header, Scan};
use super::log::{self, LogFile, Place};
use super::rows::{MAX_LOG_BYTES, Rows};
use super::seal::{self, SealedRef};
use super::segments;
use super::stamp::{self, Found};

/// The most rows that are made one segment of what isn't sealed yet.
const CHUNK: u64 = 10_000;
/// Files that are not rows.
const OTHERS: [&str; 5] = ["lock", "reserve", stamp::IDENTITY, stamp::COMMITTED, stamp::HANDED];

/// A journal's folder.
pub struct View {
    /// Where it is.
    pub dir: PathBuf,
    /// Whose it is.
    pub edge: EdgeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Whether a process has it open.
    pub in_use: bool,
    /// The last sequence that the lake is known to have; 0 for none.
    pub committed: u64,
    /// The last sequence that the checkpoint covers, and its length in bytes; none without one.
    pub checkpoint: Option<(u64, usize)>,
    /// The log files, oldest first.
    pub logs: Vec<LogView>,
    /// The sealed segments, oldest first.
    pub segments: Vec<SealedRef>,
    /// What is wrong, as far as it was looked at: a file's name and what is wrong with it.
    pub problems: Vec<(String, String)>,
    /// How many files are kept aside.
    pub aside: usize,
    disk: Arc<dyn Disk>,
}

/// A log file.
#[derive(Debug, Clone)]
pub struct LogView {
    /// Its name.
    pub name: String,
    /// The first sequence, from its name.
    pub first: u64,
    /// The last sequence that it tells of; `first - 1` for none.
    pub last: u64,
    /// How many records are sound.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// The bytes at its end that are a write which was cut, or is under way.
    pub torn_bytes: u64,
    oldest_at: Micros,
}

impl View {
    /// Looks at a folder: all log files are read to their ends, segments are listed.
    ///
    /// # Errors
    /// When it can't be listed, or is no journal's.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let listing = disk.list(dir).map_err(io("listed", dir))?;
        let mut problems = Vec::new();
        let identity = match stamp::read_identity(&*disk, dir) {
            Found::Sound(identity) => identity,
            Found::Nothing => return Err(JournalError::NoJournal { dir: dir.into() }),
            Found::Bad(reason) => return Err(JournalError::NoIdentity { dir: dir.into(), reason }),
        };
        let place = Place { disk: disk.clone(), dir: dir.into(), incarnation: identity.incarnation };
        let mut position = |name: &str| match stamp::read_position(&*disk, dir, name, identity.incarnation) {
            Found::Sound(found) => Some(found),
            Found::Nothing => None,
            Found::Bad(reason) => {
                problems.push((name.to_owned(), reason));
                None
            }
        };
        let committed = position(stamp::COMMITTED).map_or(0, |(sequence, _)| sequence);
        let checkpoint = position(stamp::CHECKPOINT).map(|(sequence, bytes)| (sequence, bytes.len()));
        let mut view = Self {
            dir: dir.into(),
            edge: identity.edge,
            incarnation: identity.incarnation,
            in_use: in_use(&dir.join("lock")),
            committed,
            checkpoint,
            logs: Vec::new(),
            segments: Vec::new(),
            problems,
            aside: disk.list(&dir.join("aside")).map_or(0, |files| files.len()),
            disk,
        };
        let mut names: Vec<_> = listing.into_iter().collect();
        names.sort();
        for (name, bytes) in names {
            view.file(&place, &name, bytes);
        }
        Ok(view)
    }

    fn file(&mut self, place: &Place, name: &str, bytes: u64) {
        if let Some(first) = log::parse_name(name) {
            self.log(place, name, first);
        } else if let Some((from, to)) = seal::parse_name(name) {
            let header = SegmentHeader { edge: self.edge.clone(), incarnation: self.incarnation, from, to };
            self.segments.push(SealedRef { header, path: self.dir.join(name), bytes });
        } else if name == stamp::RESTORED {
            // In the folder of a former life it stays, and says which one came after.
            if is_former(&self.dir) {
                return;
            }
            self.problems
                .push((name.into(), "the folder is a copy: the next start gives it its new life".into()));
        } else if !OTHERS.contains(&name) && name != stamp::CHECKPOINT {
            self.problems.push((name.into(), "no file of a journal".into()));
        }
    }

    fn log(&mut self, place: &Place, name: &str, first: u64) {
        let bytes = match self.disk.read(&self.dir.join(name), MAX_LOG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.problems.push((name.into(), error.to_string())),
        };
        match frame::check_header(&bytes, place.incarnation, first) {
            Header::Ours => {}
            // It comes with the first rows; a file without has none.
            _ if frame::header(place.incarnation, first).starts_with(&bytes)
                && bytes.len() < frame::HEADER_BYTES =>
            {
                return;
            }
            Header::Damaged => self.problems.push((name.into(), "its header is damaged".into())),
            Header::Foreign(reason) => return self.problems.push((name.into(), reason)),
        }
        let len = bytes.len() as u64;
        let mut scan = Scan::new(bytes, place.incarnation, first);
        let oldest_at = scan.next_record_at().unwrap_or_default();
        let (mut expected, mut records, mut missing) = (first, 0, 0);
        for record in scan.by_ref() {
            missing += record.sequence - expected;
            expected = frame::last_of(&record) + 1;
            records += 1;
        }
        missing += scan.next - expected;
        if !scan.damage.is_empty() || missing > 0 {
            let places = scan.damage.len();
            self.problems.push((name.into(), format!("{missing} records are damaged, in {places} places")));
        }
        let torn_bytes = scan.torn as u64;
        let last = scan.next.saturating_sub(1);
        self.logs.push(LogView {
            name: name.into(),
            first,
            last,
            records,
            bytes: len,
            torn_bytes,
            oldest_at,
        });
    }

    /// The last sequence that was given out, as far as the folder tells.
    pub fn last(&self) -> u64 {
        let logged = self.logs.iter().map(|log| log.last).max().unwrap_or_default();
        let sealed = self.segments.iter().map(|sealed| sealed.header.to).max().unwrap_or_default();
        [logged, sealed, self.committed, self.checkpoint.map_or(0, |(covered, _)| covered)]
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// What log files and segments take on disk.
    pub fn bytes(&self) -> u64 {
        let logs: u64 = self.logs.iter().map(|log| log.bytes).sum();
        logs + self.segments.iter().map(|sealed| sealed.bytes).sum::<u64>()
    }

    /// Reads every segment; what is wrong with one, or missing between two, is added to the problems.
    pub fn verify_segments(&mut self) {
        let mut next = self.committed + 1;
        for sealed in self.segments.clone() {
            let name = seal::name(sealed.header.from, sealed.header.to);
            if sealed.header.from > next && !self.is_logged(next, sealed.header.from - 1) {
                self.problems.push((
                    name.clone(),
                    format!("entries {next} to {} before it are missing", sealed.header.from - 1),
                ));
            }
            if sealed.header.to < next && sealed.header.from > self.committed {
                self.problems.push((name.clone(), "another segment holds its entries too".into()));
            }
            next = next.max(sealed.header.to + 1);
            match self.read(&sealed) {
                Ok(Some(_)) => {}
                Ok(None) if self.in_use && !sealed.path.exists() => {}
                Ok(None) => self.problems.push((name, "it is damaged".into())),
                Err(error) => self.problems.push((name, error.to_string())),
            }
        }
        let logged_from = self.logs.iter().map(|log| log.first).find(|first| *first > next);
        if let Some(first) = logged_from.filter(|first| !self.is_logged(next, first - 1)) {
            self.problems
                .push((log::name(first), format!("entries {next} to {} before it are missing", first - 1)));
        }
    }

    fn is_logged(&self, from: u64, to: u64) -> bool {
        let mut next = from;
        for log in self.logs.iter().filter(|log| log.last >= from) {
            if log.first <= next {
                next = next.max(log.last + 1);
            }
        }
        next > to
    }

    /// A segment; nothing when it is damaged or gone.
    fn read(&self, sealed: &SealedRef) -> Result<Option<Segment>, JournalError> {
        let bytes = segments::read(&self.place(), sealed, false)?;
        Ok(bytes.and_then(|bytes| Segment::decode(&bytes).ok()))
    }

    fn place(&self) -> Place {
        Place { disk: self.disk.clone(), dir: self.dir.clone(), incarnation: self.incarnation }
    }

    /// The first sequence that is still there; one above the last when nothing is.
    pub fn first(&self) -> u64 {
        let logged = self.logs.iter().filter(|log| log.last >= log.first).map(|log| log.first);
        let sealed = self.segments.iter().map(|sealed| sealed.header.from);
        logged.chain(sealed).min().unwrap_or(self.last() + 1)
    }

    /// The entries `from..=to` as segments, in order, from sealed ones and from the log; at the ends some entries more. What
    /// is missing stands in them as gaps, except what the lake has.
    pub fn entries(&self, from: u64, to: u64) -> Entries<'_> {
        Entries { view: self, next: from.max(self.first()), to: to.min(self.last()) }
    }

    /// The next entries from `next` on, and where the ones after them begin.
    fn entries_at(&self, next: u64, to: u64) -> Result<(Option<Segment>, u64), JournalError> {
        let holding = self.segments.iter().find(|s| (s.header.from..=s.header.to).contains(&next));
        if let Some(sealed) = holding
            && let Some(segment) = self.read(sealed)?
        {
            return Ok((Some(segment), sealed.header.to + 1));
        }
        let until = match holding {
            Some(damaged) => damaged.header.to,
            None => self.segments.iter().map(|s| s.header.from - 1).find(|end| *end >= next).unwrap_or(to),
        };
        let until = until.min(next + CHUNK - 1).min(to.max(next));
        let is_freed = until <= self.committed && !self.is_logged(next, until);
        let segment = if is_freed { None } else { self.logged(next, until)? };
        Ok((segment, until + 1))
    }

    fn logged(&self, from: u64, to: u64) -> Result<Option<Segment>, JournalError> {
        let files = self.logs.iter().filter(|log| log.last >= log.first).map(|log| LogFile {
            path: self.dir.join(&log.name),
            first: log.first,
            last: log.last,
            bytes: log.bytes,
            oldest_at: log.oldest_at,
        });
        let mut builder = SegmentBuilder::new(self.edge.clone(), self.incarnation);
        for record in Rows::new(self.place(), files, from, to, Micros::ZERO).lenient() {
            builder.push(&record?)?;
        }
        Ok(builder.finish())
    }
}

/// See [`View::entries`].
pub struct Entries<'a> {
    view: &'a View,
    next: u64,
    to: u64,
}

impl Iterator for Entries<'_> {
    type Item = Result<Segment, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next <= self.to {
            match self.view.entries_at(self.next, self.to) {
                Ok((segment, next)) => {
                    self.next = next;
                    if let Some(segment) = segment {
                        return Some(Ok(segment));
                    }
                }
                Err(error) => {
                    self.next = u64::MAX;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Whether a process holds the lock.
fn in_use(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
