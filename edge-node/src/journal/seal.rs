//! Rows into segments: work on files that change no more, so that it may be done on a thread of its own.

use std::path::PathBuf;

use wattle_columns::SegmentBuilder;
use wattle_wire::uplink::SegmentHeader;
use wattle_wire::{EdgeId, Micros};

use super::disk::replace;
use super::error::JournalError;
use super::log::{LogFile, Place};
use super::rows::Rows;
use super::segments::{Left, Sealed};

/// The largest segment that is written as one, bytes; rows that come to more are halved.
pub(super) const MAX_SEALED_BYTES: usize = 16 << 20;
/// The most rows of a segment, as their columns lie in memory until it is written: about 400 bytes a row.
pub(super) const MAX_ROWS: u64 = 32_768;

/// A sealed segment on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRef {
    /// Whose entries, and which.
    pub header: SegmentHeader,
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
}

/// The name of a segment's file.
pub(super) fn name(from: u64, to: u64) -> String {
    format!("segment-{from:020}-{to:020}.wseg")
}

/// The range of a segment, from the name of its file.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (from, to) = name.strip_prefix("segment-")?.strip_suffix(".wseg")?.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (0 < from && from <= to && to < u64::MAX).then_some((from, to))
}

/// The sealing of a range of rows. It owns what it needs: [`SealJob::run`] may be called on any thread while the
/// journal goes on, and its result is handed to [`Journal::sealed`](super::Journal::sealed).
pub struct SealJob {
    pub(super) place: Place,
    pub(super) edge: EdgeId,
    pub(super) files: Vec<LogFile>,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) now: Micros,
    /// Whether a file that can't be read counts as missing.
    pub(super) lenient: bool,
}

/// What a [`SealJob`] has written.
pub struct Sealing {
    pub(super) segments: Vec<(SealedRef, Option<Micros>)>,
}

impl Sealing {
    pub(super) fn into_books(self) -> Vec<Sealed> {
        let sealed = |(segment, oldest_at)| Sealed { segment, oldest_at, left: Left::All };
        self.segments.into_iter().map(sealed).collect()
    }
}

impl SealJob {
    /// Reads the rows, writes their segments, and makes them last.
    ///
    /// # Errors
    /// When a file can't be read or written; what was written so far is taken up by the next opening.
    pub fn run(self) -> Result<Sealing, JournalError> {
        let mut segments = Vec::new();
        self.seal(self.from, self.to, &mut segments)?;
        Ok(Sealing { segments })
    }

    fn seal(
        &self,
        from: u64,
        to: u64,
        done: &mut Vec<(SealedRef, Option<Micros>)>,
    ) -> Result<(), JournalError> {
        let mut builder = SegmentBuilder::new(self.edge.clone(), self.place.incarnation);
        let mut oldest_at = None;
        let rows = Rows::new(self.place.clone(), self.files.iter().cloned(), from, to, self.now);
        for record in if self.lenient { rows.lenient() } else { rows } {
            let record = record?;
            oldest_at.get_or_insert(record.at_us);
            builder.push(&record)?;
            if builder.len() >= MAX_ROWS {
                self.finish(&mut builder, oldest_at.take(), done)?;
            }
        }
        self.finish(&mut builder, oldest_at, done)
    }

    /// Writes what has gathered as one segment; where that would be too large, as several.
    fn finish(
        &self,
        builder: &mut SegmentBuilder,
        oldest_at: Option<Micros>,
        done: &mut Vec<(SealedRef, Option<Micros>)>,
    ) -> Result<(), JournalError> {
        let Some(segment) = builder.finish() else { return Ok(()) };
        let (encoded, header) = (segment.encode(), segment.header);
        let (from, to) = (header.from, header.to);
        match encoded {
            Ok(bytes) if bytes.len() <= MAX_SEALED_BYTES || from == to => {
                done.push((write(&self.place, header, &bytes)?, oldest_at));
                Ok(())
            }
            Err(error) if from == to => Err(error.into()),
            _ => {
                let middle = from + (to - from) / 2;
                self.seal(from, middle, done)?;
                self.seal(middle + 1, to, done)
            }
        }
    }
}

/// Puts an encoded segment into its file.
pub(super) fn write(place: &Place, header: SegmentHeader, bytes: &[u8]) -> Result<SealedRef, JournalError> {
    let name = name(header.from, header.to);
    replace(&*place.disk, &place.dir, &name, bytes)?;
    Ok(SealedRef { header, path: place.dir.join(name), bytes: bytes.len() as u64 })
}
