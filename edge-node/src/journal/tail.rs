//! What a copy's former life has not handed out becomes the begin of its new life: the same rows under other numbers,
//! file by file. The number `cut + n` becomes `n`.
//!
//! Each new file is on the disk before the old one goes, and has the same name and bytes when it is written again: so a cut
//! anywhere costs nothing. What can't be read becomes a gap, or stays for the former life's opening to set aside.

use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::row::{Record, Row};
use wattle_wire::uplink::SegmentHeader;
use wattle_wire::{EdgeId, Micros};

use super::disk::replace;
use super::error::{JournalError, io};
use super::frame::{self, Framer, Header, Scan, last_of};
use super::log::{self, LogFile, Place, remove};
use super::rows::{MAX_LOG_BYTES, Rows};
use super::seal;
use super::segments;
use super::stamp::{self, Found};

/// The end of a life, and where it goes on.
pub(super) struct Tail {
    pub(super) former: Place,
    pub(super) new: Place,
    pub(super) edge: EdgeId,
    /// The last number that stays.
    pub(super) cut: u64,
    pub(super) now: Micros,
}

impl Tail {
    /// Moves everything after the cut.
    ///
    /// # Errors
    /// When the disk is full or fails; done again it goes on.
    pub(super) fn take_over(&self) -> Result<(), JournalError> {
        let Place { disk, dir, .. } = &self.former;
        let listing = disk.list(dir).map_err(io("listed", dir))?;
        let names = || listing.iter().map(|(name, _)| name.as_str());
        let logs: Vec<_> = names().filter_map(|name| self.log_file(name)).collect();
        for (from, to) in names().filter_map(seal::parse_name).filter(|(_, to)| *to > self.cut) {
            self.segment(from, to, &logs)?;
        }
        for file in logs.iter().filter(|file| file.last > self.cut) {
            self.log(file)?;
        }
        self.checkpoint()?;
        disk.sync_dir(dir).map_err(io("synced", dir))
    }

    /// A log file of the former life. One that can't be read or is another's stays where it is.
    fn log_file(&self, name: &str) -> Option<LogFile> {
        let Place { disk, dir, incarnation } = &self.former;
        let (first, path) = (log::parse_name(name)?, dir.join(name));
        let bytes = disk.read(&path, MAX_LOG_BYTES).ok()?;
        if matches!(frame::check_header(&bytes, *incarnation, first), Header::Foreign(_)) {
            return None;
        }
        let len = bytes.len() as u64;
        let mut scan = Scan::new(bytes, *incarnation, first);
        scan.by_ref().for_each(drop);
        let last = scan.next - 1;
        (last >= first).then_some(LogFile { path, first, last, bytes: len, oldest_at: self.now })
    }

    fn segment(&self, from: u64, to: u64, logs: &[LogFile]) -> Result<(), JournalError> {
        let Place { disk, dir, incarnation } = &self.former;
        let path = dir.join(seal::name(from, to));
        let header = SegmentHeader { edge: self.edge.clone(), incarnation: *incarnation, from, to };
        if segments::header(&**disk, &path).is_ok_and(|found| found.is_ok_and(|found| found != header)) {
            return Ok(());
        }
        let bytes = disk.read(&path, wattle_columns::MAX_SEGMENT_BYTES as u64);
        let found = bytes.ok().and_then(|bytes| Segment::decode(&bytes).ok());
        let found = found.filter(|segment| segment.header == header);
        let records = match found.and_then(|segment| segment.records().ok()) {
            Some(records) => records,
            None => {
                tracing::error!(path = %path.display(), "segment is damaged: its rows are taken from the log, or a gap");
                let rows = Rows::new(self.former.clone(), logs.iter().cloned(), from, to, self.now);
                rows.lenient().collect::<Result<_, _>>()?
            }
        };
        self.seal(&self.new, &part(&records, self.cut + 1, to, self.cut))?;
        self.seal(&self.former, &part(&records, from, self.cut, 0))?;
        remove(&**disk, &path)
    }

    /// Writes records, if there are any, as a segment of this life.
    fn seal(&self, place: &Place, records: &[Record]) -> Result<(), JournalError> {
        let mut builder = SegmentBuilder::new(self.edge.clone(), place.incarnation);
        records.iter().try_for_each(|record| builder.push(record))?;
        if let Some(segment) = builder.finish() {
            seal::write(place, segment.header.clone(), &segment.encode()?)?;
        }
        Ok(())
    }

    fn log(&self, file: &LogFile) -> Result<(), JournalError> {
        let Place { disk, incarnation, .. } = &self.former;
        let bytes = disk.read(&file.path, MAX_LOG_BYTES).map_err(io("read", &file.path))?;
        let records: Vec<_> = Scan::new(bytes, *incarnation, file.first).collect();
        let first = file.first.max(self.cut + 1);
        let moved = part(&records, first, file.last, self.cut);
        write_log(&self.new, first - self.cut, file.last - self.cut, &moved)?;
        if file.first > self.cut {
            return remove(&**disk, &file.path);
        }
        write_log(&self.former, file.first, self.cut, &part(&records, file.first, self.cut, 0))
    }

    /// The former life's checkpoint covers nothing that isn't there any more; what it knows beyond it knows all the same.
    fn checkpoint(&self) -> Result<(), JournalError> {
        let Place { disk, dir, incarnation } = &self.former;
        match stamp::read_position(&**disk, dir, stamp::CHECKPOINT, *incarnation) {
            Found::Sound((sequence, state)) if sequence > self.cut => {
                stamp::write_position(&**disk, dir, stamp::CHECKPOINT, *incarnation, self.cut, &state)
            }
            _ => Ok(()),
        }
    }
}

/// The records of a range, with numbers that are `less` less. A gap that reaches out of the range is cut.
fn part(records: &[Record], from: u64, to: u64, less: u64) -> Vec<Record> {
    let within = records.iter().filter(|record| record.sequence <= to && last_of(record) >= from);
    let moved = within.cloned().map(|mut record| {
        record.sequence = record.sequence.max(from) - less;
        if let Row::Gap(gap) = &mut record.row {
            (gap.from, gap.to) = (record.sequence, gap.to.min(to) - less);
        }
        record
    });
    moved.collect()
}

/// Writes a log file that tells of the numbers `first..=last`.
fn write_log(place: &Place, first: u64, last: u64, records: &[Record]) -> Result<(), JournalError> {
    let mut bytes = frame::header(place.incarnation, first);
    let mut framer = Framer::new(frame::seed(place.incarnation));
    records.iter().try_for_each(|record| framer.push(&mut bytes, record))?;
    framer.end(&mut bytes, last);
    // No number is read that lies further ahead than there are bytes; where next to nothing is left, zeros stand behind.
    let least = usize::try_from(last - first + 2).unwrap_or(usize::MAX).min(MAX_LOG_BYTES as usize);
    bytes.resize(bytes.len().max(least), 0);
    replace(&*place.disk, &place.dir, &log::name(first), &bytes)
}
