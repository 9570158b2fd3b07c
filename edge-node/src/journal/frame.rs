//! The bytes of a log file: a header, then one frame per record. See the module above for the layout.

use std::ops::Range;

use wattle_wire::row::{ROW_VERSION, Record, Row};
use wattle_wire::uplink::Incarnation;

use super::error::JournalError;

/// The largest record that is written or read, bytes.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 4] = b"WLOG";
const FORMAT: u8 = 1;
/// Begins each frame. It never occurs in UTF-8, so no text in a record can pass for the begin of a frame.
const MARK: u8 = 0xFF;
/// Mark, version, length, checksum.
const FRAME_BYTES: usize = 10;

/// Length of a log file's header, bytes.
pub(super) const HEADER_BYTES: usize = 34;

/// The header of a log file whose first record has this sequence.
pub(super) fn header(incarnation: Incarnation, first: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[FORMAT, ROW_VERSION]);
    bytes.extend_from_slice(&incarnation.0.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the begin of a log file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It belongs to this journal.
    Ours,
    /// Its header is damaged; its frames may still be ours, and only ours fit their checksums.
    Damaged,
    /// It is sound, and of another journal or a newer format.
    Foreign(String),
}

/// Reads the begin of a log file.
pub(super) fn check_header(bytes: &[u8], incarnation: Incarnation) -> Header {
    match sound_header(bytes) {
        None => Header::Damaged,
        Some((FORMAT, ROW_VERSION, found)) if found == incarnation => Header::Ours,
        Some((FORMAT, ROW_VERSION, found)) => Header::Foreign(format!("it is of journal {found}")),
        Some((format, version, _)) => Header::Foreign(format!(
            "it has format {format}.{version}, and this version reads {FORMAT}.{ROW_VERSION}"
        )),
    }
}

/// The journal that a log file of our format names, when its header is sound.
pub(super) fn sound_incarnation(bytes: &[u8]) -> Option<Incarnation> {
    let (format, version, incarnation) = sound_header(bytes)?;
    ((format, version) == (FORMAT, ROW_VERSION)).then_some(incarnation)
}

fn sound_header(bytes: &[u8]) -> Option<(u8, u8, Incarnation)> {
    let (head, crc) = bytes.get(..HEADER_BYTES)?.split_last_chunk::<4>()?;
    if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = head.strip_prefix(MAGIC)?;
    let number = u128::from_le_bytes(rest.get(2..18)?.try_into().ok()?);
    Some((rest[0], rest[1], Incarnation(number)))
}

/// What every checksum of this journal starts from, so that another journal's bytes never fit.
pub(super) fn seed(incarnation: Incarnation) -> u32 {
    crc32fast::hash(&incarnation.0.to_le_bytes())
}

fn checksum(seed: u32, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes frames; it keeps the room for the largest record.
pub(super) struct Framer {
    seed: u32,
    room: Vec<u8>,
}

impl Framer {
    pub(super) fn new(seed: u32) -> Self {
        Self { seed, room: vec![0; MAX_RECORD_BYTES] }
    }

    /// Appends the frame of `record` to `bytes`.
    pub(super) fn push(&mut self, bytes: &mut Vec<u8>, record: &Record) -> Result<(), JournalError> {
        let payload = postcard::to_slice(record, &mut self.room).map_err(|_| JournalError::RecordTooLarge)?;
        let len = u32::try_from(payload.len()).map_err(|_| JournalError::RecordTooLarge)?;
        let mut head = [MARK, ROW_VERSION, 0, 0, 0, 0];
        head[2..].copy_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&checksum(self.seed, &head, payload).to_le_bytes());
        bytes.extend_from_slice(payload);
        Ok(())
    }
}

/// The length of the frame that `bytes` begin with, if they can be the begin of one.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..FRAME_BYTES)?;
    let len = u32::from_le_bytes(head[2..6].try_into().ok()?) as usize;
    (head[0] == MARK && head[1] == ROW_VERSION && len <= MAX_RECORD_BYTES).then_some(FRAME_BYTES + len)
}

/// The record that `bytes` begin with and the length of its frame.
fn decode(bytes: &[u8], seed: u32) -> Option<(Record, usize)> {
    let len = frame_len(bytes)?;
    let payload = bytes.get(FRAME_BYTES..len)?;
    let crc = u32::from_le_bytes(bytes[6..FRAME_BYTES].try_into().ok()?);
    if checksum(seed, &bytes[..6], payload) != crc {
        return None;
    }
    let (record, rest) = postcard::take_from_bytes::<Record>(payload).ok()?;
    rest.is_empty().then_some((record, len))
}

/// The last sequence that a record stands for.
pub(super) fn last_of(record: &Record) -> u64 {
    if let Row::Gap(gap) = &record.row { gap.to } else { record.sequence }
}

/// The records of a log file in order. Bytes that are no frame are passed over up to the next frame that is sound;
/// the caller sees the hole in the sequences.
pub(super) struct Scan {
    bytes: Vec<u8>,
    at: usize,
    seed: u32,
    /// The sequence after the last record that was found, damaged ones at the end counted.
    pub(super) next: u64,
    /// The ranges of bytes that were passed over.
    pub(super) damage: Vec<Range<usize>>,
    /// The bytes at the end that are the begin of a frame and no more.
    pub(super) torn: usize,
}

impl Scan {
    pub(super) fn new(bytes: Vec<u8>, incarnation: Incarnation, first: u64) -> Self {
        let sound = check_header(&bytes, incarnation) == Header::Ours;
        let at = if sound { HEADER_BYTES } else { 0 };
        Self { bytes, at, seed: seed(incarnation), next: first, damage: Vec::new(), torn: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When the first record was taken, if the file begins with a sound one.
    pub(super) fn next_record_at(&self) -> Option<wattle_wire::Micros> {
        self.sound_at(self.at).map(|(record, _)| record.at_us)
    }

    /// The next sound record from `at`. A sequence that lies further ahead than there are bytes is none of ours.
    fn sound_at(&self, at: usize) -> Option<(Record, usize)> {
        let (record, len) = decode(&self.bytes[at..], self.seed)?;
        let ahead = record.sequence.checked_sub(self.next)?;
        (ahead <= self.bytes.len() as u64).then_some((record, len))
    }

    /// Goes to the next sound frame, or to the end.
    fn pass_over(&mut self) {
        let from = self.at;
        let found =
            (from + 1..self.bytes.len()).find(|at| self.bytes[*at] == MARK && self.sound_at(*at).is_some());
        self.at = found.unwrap_or(self.bytes.len());
        if found.is_some() {
            return self.damage.push(from..self.at);
        }
        match whole_frames(&self.bytes[from..]) {
            0 => self.torn = self.at - from,
            frames => {
                self.next += frames;
                self.damage.push(from..self.at);
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.at < self.bytes.len() {
            if let Some((record, len)) = self.sound_at(self.at) {
                self.at += len;
                self.next = last_of(&record) + 1;
                return Some(record);
            }
            self.pass_over();
        }
        None
    }
}

/// How many frames, by their lengths, stand whole at the begin of bytes whose checksums don't fit. A write that was
/// cut leaves none; each one that is whole is taken for a record that has been there, and its number is not
/// given out again.
fn whole_frames(bytes: &[u8]) -> u64 {
    let (mut at, mut frames) = (0, 0);
    while let Some(len) = frame_len(&bytes[at..]) {
        if bytes.len() - at < len {
            break;
        }
        at += len;
        frames += 1;
    }
    frames
}
