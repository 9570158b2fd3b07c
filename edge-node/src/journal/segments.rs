//! The sealed segments on disk: which there are, reading them, and freeing them.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use wattle_columns::{Segment, SegmentError};
use wattle_wire::uplink::SegmentHeader;
use wattle_wire::{EdgeId, Micros};

use super::disk::Disk;
use super::error::{JournalError, io};
use super::log::{Place, remove, rewrite_if_there};
use super::recovery::left_over;
use super::seal::{SealedRef, name, parse_name};
use super::stamp;

/// How much of a segment the byte budget has left. Known only once it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// All of it.
    All,
    /// No readings.
    Events,
    /// Nothing but gaps.
    Gaps,
}

/// A segment and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) segment: SealedRef,
    pub(super) oldest_at: Option<Micros>,
    pub(super) left: Left,
}

/// A file that has the name of a segment and isn't the one.
pub(super) struct Unfit {
    pub(super) name: String,
    pub(super) reason: String,
    /// Whether it may have been ours.
    pub(super) is_damaged: bool,
}

/// What stands in the place of a segment already.
enum Cover {
    Nothing,
    /// A segment that is sound.
    Sound,
    /// One that can't be read now.
    Unknown,
}

const DAMAGED: &str = "its checksum doesn't fit";
/// Longer than the begin of any segment up to the end of its header.
const BEGIN_BYTES: usize = 512;

/// The segments of one journal, contiguous, oldest first.
#[derive(Default)]
pub(super) struct Segments {
    pub(super) list: VecDeque<Sealed>,
    bytes: u64,
}

impl Segments {
    /// Finds the segments after `committed` in a folder's listing, and the files that are named like one and are none
    /// of ours. What is committed is removed; what a longer one covers is left of a rewriting that was cut, and is removed
    /// too, once that longer one is known to be sound. Before that, the position and the names that say so are made to last: a
    /// process that was killed may have left them in the system's memory.
    ///
    /// Of each file only the begin is read, of one that covers others all.
    pub(super) fn open(
        place: &Place,
        edge: &EdgeId,
        listing: &[(String, u64)],
        committed: u64,
    ) -> (Self, Vec<Unfit>) {
        let mut found: Vec<_> =
            listing.iter().filter_map(|(name, len)| Some((parse_name(name)?, name, *len))).collect();
        found.sort_by_key(|((from, to), ..)| (*from, std::cmp::Reverse(*to)));
        let mut segments = Self::default();
        let (mut unfit, mut needless) = (Vec::new(), Vec::new());
        for ((from, to), name, bytes) in found {
            let path = place.dir.join(name);
            let header = SegmentHeader { edge: edge.clone(), incarnation: place.incarnation, from, to };
            let segment = SealedRef { header, path, bytes };
            if let Some((reason, is_damaged)) = why_not(place, &segment) {
                unfit.push(Unfit { name: name.clone(), reason, is_damaged });
            } else if to <= committed {
                needless.push(segment.path);
            } else {
                match segments.cover(place, to, &mut unfit) {
                    Cover::Nothing => segments.push(segment, None),
                    Cover::Sound => needless.push(segment.path),
                    Cover::Unknown => {}
                }
            }
        }
        let committed = || rewrite_if_there(&*place.disk, &place.dir.join(stamp::COMMITTED)).is_ok();
        if !needless.is_empty() && committed() && place.disk.sync_dir(&place.dir).is_ok() {
            needless.iter().for_each(|path| left_over(&*place.disk, path));
        }
        (segments, unfit)
    }

    /// Whether the last segment reaches `to`. One that does and is damaged is none any more.
    fn cover(&mut self, place: &Place, to: u64, unfit: &mut Vec<Unfit>) -> Cover {
        while let Some(last) = self.list.back().filter(|last| last.segment.header.to >= to) {
            match read(place, &last.segment, false) {
                Ok(Some(_)) => return Cover::Sound,
                // It may be read another time; until then neither is given up.
                Err(_) => return Cover::Unknown,
                Ok(None) => {}
            }
            let header = &last.segment.header;
            let (name, reason) = (name(header.from, header.to), DAMAGED.to_owned());
            unfit.push(Unfit { name, reason, is_damaged: true });
            self.bytes -= last.segment.bytes;
            self.list.pop_back();
        }
        Cover::Nothing
    }

    /// Takes up a new segment after the last.
    pub(super) fn push(&mut self, segment: SealedRef, oldest_at: Option<Micros>) {
        self.bytes += segment.bytes;
        self.list.push_back(Sealed { segment, oldest_at, left: Left::All });
    }

    /// Puts segments in the place of `count` others from `index` on, in the books.
    pub(super) fn replace(&mut self, index: usize, count: usize, with: Vec<Sealed>) {
        let mut tail = self.list.split_off(index);
        let rest = tail.split_off(count);
        self.bytes -= tail.iter().map(|old| old.segment.bytes).sum::<u64>();
        self.bytes += with.iter().map(|new| new.segment.bytes).sum::<u64>();
        self.list.extend(with);
        self.list.extend(rest);
    }

    /// What they take on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last sequence that is sealed.
    pub(super) fn last(&self) -> Option<u64> {
        self.list.back().map(|sealed| sealed.segment.header.to)
    }

    /// The index of the first segment with entries after `sequence`.
    pub(super) fn index_after(&self, sequence: u64) -> Option<usize> {
        let index = self.list.partition_point(|sealed| sealed.segment.header.to <= sequence);
        (index < self.list.len()).then_some(index)
    }

    /// The ranges that are missing before and between the segments after `committed`.
    pub(super) fn holes(&self, committed: u64) -> Vec<(usize, u64, u64)> {
        let mut next = committed + 1;
        let mut holes = Vec::new();
        for (index, sealed) in self.list.iter().enumerate() {
            let header = &sealed.segment.header;
            if header.from > next {
                holes.push((index, next, header.from - 1));
            }
            next = header.to + 1;
        }
        holes
    }

    /// Finds out when the first entry was taken, where an opening has read no more of its segment than whose it is. One that can't
    /// be read counts from `otherwise` on.
    pub(super) fn look_at_oldest(&mut self, place: &Place, otherwise: Micros) {
        let Some(first) = self.list.front_mut().filter(|first| first.oldest_at.is_none()) else { return };
        let bytes = read(place, &first.segment, true).ok().flatten();
        let records = bytes.and_then(|bytes| Segment::decode(&bytes).ok()?.records().ok());
        let oldest = records.and_then(|records| records.first().map(|record| record.at_us));
        first.oldest_at = oldest.or(Some(otherwise));
    }

    /// Removes the segments that end at or before `committed`.
    pub(super) fn free(&mut self, place: &Place, committed: u64) -> Result<(), JournalError> {
        while let Some(sealed) = self.list.front().filter(|s| s.segment.header.to <= committed) {
            remove(&*place.disk, &sealed.segment.path)?;
            self.bytes -= sealed.segment.bytes;
            self.list.pop_front();
        }
        Ok(())
    }
}

/// Reads a segment's bytes; nothing when they are not those of that segment any more. With `lenient` that they can't be read
/// is no error either.
pub(super) fn read(place: &Place, sealed: &SealedRef, lenient: bool) -> Result<Option<Bytes>, JournalError> {
    match place.disk.read(&sealed.path, wattle_columns::MAX_SEGMENT_BYTES as u64) {
        Ok(bytes) if is_sound(&bytes, &sealed.header) => Ok(Some(bytes.into())),
        Ok(_) => Ok(None),
        Err(error)
            if lenient
                || matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData) =>
        {
            Ok(None)
        }
        Err(error) => Err(io("read", &sealed.path)(error)),
    }
}

/// Whether bytes are the segment that this header names: its checksum over all of it, and the header in it.
fn is_sound(bytes: &[u8], header: &SegmentHeader) -> bool {
    is_whole(bytes) && Segment::header_of(bytes).is_ok_and(|found| found == *header)
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return false };
    crc32fast::hash(body) == u32::from_le_bytes(*crc)
}

/// What the begin of a segment's file says of it.
pub(super) fn header(disk: &dyn Disk, path: &Path) -> std::io::Result<Result<SegmentHeader, SegmentError>> {
    Ok(Segment::header_of(&disk.read_begin(path, BEGIN_BYTES)?))
}

/// Why a file is not the segment that its name says, and whether it is damaged; nothing when its header says the same, or
/// can't be read now.
fn why_not(place: &Place, segment: &SealedRef) -> Option<(String, bool)> {
    let found = header(&*place.disk, &segment.path).ok()?;
    let reason = match found {
        Ok(found) if found == segment.header => return None,
        Ok(SegmentHeader { edge, incarnation, from, to }) => {
            format!("it has the entries {from} to {to} of edge {edge}, journal {incarnation}")
        }
        Err(error) => error.to_string(),
    };
    // What is damaged there says nothing that counts.
    let bytes = place.disk.read(&segment.path, wattle_columns::MAX_SEGMENT_BYTES as u64);
    match bytes.map(|bytes| is_whole(&bytes)) {
        Ok(true) => Some((reason, false)),
        Ok(false) => Some((DAMAGED.to_owned(), true)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Some((error.to_string(), true)),
        Err(_) => None,
    }
}
