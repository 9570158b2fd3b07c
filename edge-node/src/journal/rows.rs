//! Rows read back from log files, without a hole: where rows are missing stands a gap.

use std::collections::VecDeque;

use wattle_wire::Micros;
use wattle_wire::row::{Gap, GapReason, Record, Row};

use super::error::{JournalError, io};
use super::frame::{Scan, last_of};
use super::log::{LogFile, Place};

/// The longest log file that is read; none that we write comes near it.
pub(super) const MAX_LOG_BYTES: u64 = 128 << 20;

/// The rows of a range in order, read one file at a time. Numbers that no file has any more come as one [`Row::Gap`]
/// with the reason [`GapReason::Damage`].
pub struct Rows {
    place: Place,
    files: VecDeque<LogFile>,
    scan: Option<Scan>,
    held: Option<Record>,
    expected: u64,
    to: u64,
    at: Micros,
    lenient: bool,
}

impl Rows {
    /// The rows `from..=to` of these files; a gap with no row around it is of the moment `at`.
    pub(super) fn new(
        place: Place,
        files: impl IntoIterator<Item = LogFile>,
        from: u64,
        to: u64,
        at: Micros,
    ) -> Self {
        let files = files.into_iter().filter(|file| file.last >= from && file.first <= to).collect();
        Self { place, files, scan: None, held: None, expected: from, to, at, lenient: false }
    }

    /// The same, but a file that can't be read is taken for one that is missing.
    pub(super) fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// The next record of the files that isn't before what is expected.
    fn next_found(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            if let Some(record) = self.scan.as_mut().and_then(Iterator::next) {
                if record.sequence >= self.expected {
                    return Ok(Some(record));
                }
                continue;
            }
            let Some(file) = self.files.pop_front() else { return Ok(None) };
            self.scan = match self.place.disk.read(&file.path, MAX_LOG_BYTES) {
                Ok(bytes) => Some(Scan::new(bytes, self.place.incarnation, file.first)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) if self.lenient => {
                    tracing::error!(%error, path = %file.path.display(), "log file can't be read: a gap in its place");
                    None
                }
                Err(error) => return Err(io("read", &file.path)(error)),
            };
        }
    }

    fn gap(&mut self, to: u64, at: Micros) -> Record {
        let from = std::mem::replace(&mut self.expected, to + 1);
        Record { sequence: from, at_us: at, row: Row::Gap(Gap { from, to, reason: GapReason::Damage }) }
    }

    fn step(&mut self) -> Result<Option<Record>, JournalError> {
        if self.expected > self.to {
            return Ok(None);
        }
        let found = match self.held.take() {
            Some(record) => Some(record),
            None => self.next_found()?.filter(|record| record.sequence <= self.to),
        };
        Ok(Some(match found {
            None => self.gap(self.to, self.at),
            Some(record) if record.sequence > self.expected => {
                let gap = self.gap(record.sequence - 1, record.at_us);
                self.held = Some(record);
                gap
            }
            Some(record) => {
                self.expected = last_of(&record) + 1;
                self.at = record.at_us;
                record
            }
        }))
    }
}

impl Iterator for Rows {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
