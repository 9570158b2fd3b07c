//! Opening a journal: who it is, what its files hold, where its numbers go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use wattle_wire::uplink::Incarnation;
use wattle_wire::{EdgeId, Micros};

use super::aside;
use super::copies;
use super::disk::{Disk, UNFINISHED};
use super::error::{JournalError, io};
use super::frame::{self, Header, Scan};
use super::kept::Kept;
use super::log::{self, Log, LogFile, Place, remove};
use super::position::Position;
use super::rows::{MAX_LOG_BYTES, Rows};
use super::seal;
use super::segments::{self, Segments, Unfit};
use super::stamp::{self, Found, Identity};
use super::{Journal, Options, Tries};

/// What opening a journal has found.
pub struct Recovery {
    /// The life of the journal.
    pub incarnation: Incarnation,
    /// The last sequence that was given out; 0 for none.
    pub last: u64,
    /// The last checkpoint: the sequence that it covers, and the core's bytes.
    pub checkpoint: Option<(u64, Vec<u8>)>,
    /// Every entry after the checkpoint in order, read from the disk as it is taken. Take them before the
    /// journal is appended to.
    pub rows: Rows,
    /// What was repaired.
    pub repaired: Repaired,
    /// The life of the journal of which this folder was a copy. What that had stands in a folder of its own now, see
    /// [`former`](super::former).
    pub restored_from: Option<Incarnation>,
}

/// What opening a journal had to repair; all zero and empty when it was closed well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The bytes of writes that were cut. Nothing that was acknowledged was in them.
    pub torn_bytes: u64,
    /// The places in log files that can't be read.
    pub damaged_places: u64,
    /// The files that were set aside, each with the reason.
    pub set_aside: Vec<String>,
    /// The ranges of missing segments, `from..=to`; made again from the log, or gaps.
    pub missing_segments: Vec<(u64, u64)>,
}

/// Opens the journal on a disk; see [`Journal::open`].
pub(super) fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    now: Micros,
) -> Result<(Journal, Recovery), JournalError> {
    let dir = options.dir.clone();
    disk.make_dir(&dir).map_err(io("made", &dir))?;
    let lock = lock(&*disk, &dir)?;
    let restored_from = copies::begin_anew_if_copied(&disk, &options, now)?;
    let mut listing = disk.list(&dir).map_err(io("listed", &dir))?;
    let unfinished = listing.extract_if(.., |(name, _)| name.ends_with(UNFINISHED));
    unfinished.for_each(|(name, _)| left_over(&*disk, &dir.join(name)));
    let mut opening = Opening::identify(disk, &options, &listing)?;
    let found_committed = opening.position(stamp::COMMITTED).map(|(sequence, _)| sequence);
    let committed = found_committed.unwrap_or(0);
    let checkpoint = opening.position(stamp::CHECKPOINT);
    let handed = opening.position(stamp::HANDED).map(|(sequence, _)| sequence);
    let files = opening.logs(&listing);
    let segments = opening.segments(&options.edge, &listing, committed);
    let Opening { place, named, at_least, repaired } = opening;

    let covered = checkpoint.as_ref().map_or(0, |(sequence, _)| *sequence);
    let logged = files.iter().map(|file| file.last).max().unwrap_or(0);
    let sealed = segments.last().unwrap_or(0);
    let known = [committed, covered, logged, at_least, sealed, handed.unwrap_or(0)];
    let last = known.into_iter().max().unwrap_or(0);
    let rows = Rows::new(place.clone(), files.clone(), covered + 1, last, now).lenient();
    let incarnation = place.incarnation;
    let kept = Kept::new(files.front().map_or(last + 1, |file| file.first), options.sites);
    let found = [(stamp::COMMITTED, found_committed), (stamp::HANDED, handed)];
    let found = found.into_iter().filter_map(|(name, at)| at.map(|_| dir.join(name))).collect();
    // A journal of an older version doesn't say it.
    let handed_out = handed.map_or(last, |handed| handed.max(committed));
    let mut journal = Journal {
        log: Log::new(place.clone(), files, last + 1, found),
        options,
        segments,
        committed: Position::new(&place, stamp::COMMITTED, committed, found_committed.is_some()),
        handed: Position::new(&place, stamp::HANDED, handed_out, handed.is_some()),
        place,
        checkpoint: covered,
        synced_at: Instant::now(),
        opened_at: now,
        now,
        sealed_bytes: 0,
        dropped: 0,
        damaged: repaired.damaged_places,
        over_budget: false,
        log_full: false,
        no_room_made: false,
        no_checkpoint: false,
        kept,
        named,
        unfilled: false,
        sealing_tries: Tries::default(),
        reading_tries: Tries::default(),
        _lock: lock,
    };
    let repaired = Repaired { missing_segments: journal.holes(), ..repaired };
    journal.unfilled = !repaired.missing_segments.is_empty();
    if let Err(error) = journal.fill_holes() {
        tracing::error!(%error, "missing segments can't be made again yet; the way up waits for them");
    }
    if repaired != Repaired::default() {
        tracing::warn!(?repaired, "journal was repaired while it was opened");
    }
    journal.segments.look_at_oldest(&journal.place, now);
    journal.keep_positions();
    journal.keep_reserve();
    Ok((journal, Recovery { incarnation, last, checkpoint, rows, repaired, restored_from }))
}

/// Removes a file that the journal needs no more; what can't be removed now goes at the next opening.
pub(super) fn left_over(disk: &dyn Disk, path: &std::path::Path) {
    if let Err(error) = remove(disk, path) {
        tracing::warn!(%error, "a file that is not needed any more stays");
    }
}

fn lock(disk: &dyn Disk, dir: &std::path::Path) -> Result<Box<dyn std::any::Any + Send>, JournalError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => JournalError::Locked { path },
        _ => io("locked", &path)(error),
    })
}

struct Opening {
    place: Place,
    /// Whether the file `identity` says who it is.
    named: bool,
    /// A sequence that has been given out, however little is left of it.
    at_least: u64,
    repaired: Repaired,
}

impl Opening {
    /// Finds out whose journal it is. One whose identity can't be read is known by its log files, or else by its
    /// segments; one that has none of them is new.
    fn identify(
        disk: Arc<dyn Disk>,
        options: &Options,
        listing: &[(String, u64)],
    ) -> Result<Self, JournalError> {
        let dir = options.dir.clone();
        let found = stamp::read_identity(&*disk, &dir);
        let known = match &found {
            Found::Sound(identity) => {
                check_edge(options, &identity.edge)?;
                Some(identity.incarnation)
            }
            _ => {
                let mut names = listing.iter().map(|(name, _)| name);
                let by_log = names.clone().find_map(|name| incarnation_of(&*disk, options, name));
                by_log.or_else(|| names.find_map(|name| life_of_segment(&*disk, options, name)))
            }
        };
        let given = options.life.unwrap_or_else(|| Incarnation(rand::random()));
        let incarnation = known.unwrap_or(given);
        let place = Place { disk, dir, incarnation };
        let mut opening = Self { place, named: true, at_least: 0, repaired: Repaired::default() };
        if let Found::Bad(reason) = &found {
            opening.set_aside(stamp::IDENTITY, reason);
        }
        if !matches!(found, Found::Sound(Identity { file: Some(_), .. })) {
            // Until it can be written, the log files name the journal.
            let Place { disk, dir, .. } = &opening.place;
            opening.named = stamp::write_identity(&**disk, dir, &options.edge, incarnation).is_ok();
        }
        Ok(opening)
    }

    /// Moves a file aside, and goes on when that fails: then it is found again at the next opening.
    fn set_aside(&mut self, name: &str, reason: &str) {
        tracing::error!(file = name, reason, "a file of the journal can't be read and is set aside");
        self.repaired.set_aside.push(format!("{name}: {reason}"));
        if let Err(error) = aside::move_file(&self.place, name) {
            tracing::error!(%error, "it stays where it is");
        }
    }

    fn position(&mut self, name: &str) -> Option<(u64, Vec<u8>)> {
        let Place { disk, dir, incarnation } = &self.place;
        match stamp::read_position(&**disk, dir, name, *incarnation) {
            Found::Sound(found) => Some(found),
            Found::Nothing => None,
            Found::Bad(reason) => {
                self.set_aside(name, &reason);
                None
            }
        }
    }

    /// The log files in order, each scanned to its end.
    fn logs(&mut self, listing: &[(String, u64)]) -> VecDeque<LogFile> {
        let mut found: Vec<_> =
            listing.iter().filter_map(|(name, _)| Some((log::parse_name(name)?, name))).collect();
        found.sort();
        found.into_iter().filter_map(|(first, name)| self.log_file(first, name)).collect()
    }

    fn log_file(&mut self, first: u64, name: &str) -> Option<LogFile> {
        let path = self.place.dir.join(name);
        let bytes = match self.place.disk.read(&path, MAX_LOG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                // It may hold rows of ours, one at least.
                self.at_least = self.at_least.max(first);
                self.repaired.damaged_places += 1;
                self.set_aside(name, &error.to_string());
                return None;
            }
        };
        if let Header::Foreign(reason) = frame::check_header(&bytes, self.place.incarnation, first) {
            self.set_aside(name, &reason);
            return None;
        }
        let len = bytes.len() as u64;
        let mut scan = Scan::new(bytes, self.place.incarnation, first);
        let oldest_at = scan.next_record_at();
        scan.by_ref().for_each(drop);
        self.note_damage(name, &scan);
        if scan.next == first {
            // Nothing was ever in it, or nothing that is ours: the next file may take its name.
            match frame::header(self.place.incarnation, first).starts_with(scan.bytes()) {
                true => left_over(&*self.place.disk, &path),
                false => self.set_aside(name, "it holds no whole record"),
            }
            return None;
        }
        let (last, oldest_at) = (scan.next - 1, oldest_at.unwrap_or_default());
        Some(LogFile { path, first, last, bytes: len, oldest_at })
    }

    /// The sealed segments that are ours; files that aren't, or are damaged where they say whose they are, go aside.
    fn segments(&mut self, edge: &EdgeId, listing: &[(String, u64)], committed: u64) -> Segments {
        let (segments, unfit) = Segments::open(&self.place, edge, listing, committed);
        for Unfit { name, reason, is_damaged } in unfit {
            self.repaired.damaged_places += u64::from(is_damaged);
            self.set_aside(&name, &reason);
        }
        segments
    }

    fn note_damage(&mut self, name: &str, scan: &Scan) {
        self.repaired.torn_bytes += scan.torn as u64;
        self.repaired.damaged_places += scan.damage.len() as u64;
        for range in &scan.damage {
            let copy = format!("{name}-at-{}", range.start);
            if let Err(error) = aside::keep_bytes(&self.place, &copy, &scan.bytes()[range.clone()]) {
                tracing::warn!(%error, "damaged bytes are not kept aside");
            }
        }
    }
}

fn check_edge(options: &Options, found: &EdgeId) -> Result<(), JournalError> {
    if *found == options.edge {
        return Ok(());
    }
    Err(JournalError::OtherEdge {
        dir: options.dir.clone(),
        found: found.clone(),
        expected: options.edge.clone(),
    })
}

fn incarnation_of(disk: &dyn Disk, options: &Options, name: &str) -> Option<Incarnation> {
    log::parse_name(name)?;
    let bytes = disk.read(&options.dir.join(name), MAX_LOG_BYTES).ok()?;
    frame::sound_incarnation(&bytes)
}

/// The life that a segment names which is the edge's by its own word.
fn life_of_segment(disk: &dyn Disk, options: &Options, name: &str) -> Option<Incarnation> {
    let range = seal::parse_name(name)?;
    let header = segments::header(disk, &options.dir.join(name)).ok()?.ok()?;
    ((header.from, header.to) == range && header.edge == options.edge).then_some(header.incarnation)
}

impl Journal {
    /// The ranges that are missing between segments.
    fn holes(&self) -> Vec<(u64, u64)> {
        self.segments.holes(self.committed.at).into_iter().map(|(_, from, to)| (from, to)).collect()
    }

    /// Fills the holes between segments from the log, or with gaps.
    pub(super) fn fill_holes(&mut self) -> Result<(), JournalError> {
        if self.unfilled {
            for (index, from, to) in self.segments.holes(self.committed.at).into_iter().rev() {
                self.reseal(index, 0, from, to)?;
            }
            self.unfilled = false;
        }
        Ok(())
    }

    /// Sets a damaged segment aside and makes it again from the log; what that has no more becomes a gap.
    pub(super) fn mend(&mut self, index: usize) -> Result<(), JournalError> {
        let segment = self.segments.list[index].segment.clone();
        let (from, to) = (segment.header.from, segment.header.to);
        tracing::error!(path = %segment.path.display(), "segment is damaged: made again from the log, or a gap");
        let aside = aside::move_file(&self.place, &super::seal::name(from, to))?;
        self.damaged += 1;
        match self.reseal(index, 1, from, to) {
            // What is damaged takes the room that the whole needs.
            Err(JournalError::DiskFull { .. }) => {
                remove(&*self.place.disk, &aside)?;
                self.reseal(index, 1, from, to)
            }
            made => made,
        }
    }

    fn reseal(&mut self, index: usize, count: usize, from: u64, to: u64) -> Result<(), JournalError> {
        let sealing = self.in_some_room(|journal| {
            let files = journal.log.closed().iter().cloned().collect();
            journal.job(files, from, to, true).run()
        })?;
        self.segments.replace(index, count, sealing.into_books());
        Ok(())
    }
}
