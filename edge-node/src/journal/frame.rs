//! The bytes of a log file: a header, then one frame per record and one per write. See the module above for the layout.

use std::ops::Range;

use wattle_wire::row::{ROW_VERSION, Record, Row};
use wattle_wire::uplink::Incarnation;

use super::error::JournalError;

/// The largest record that is written or read, bytes.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

const MAGIC: &[u8; 4] = b"WLOG";
/// What is written. Format 1, which is read too, has no frames that end a write.
const FORMAT: u8 = 2;
/// Begins the frame of a record. It never occurs in UTF-8, so no text in a record can pass for the begin of a frame.
const RECORD: u8 = 0xFF;
/// Begins the frame that ends a write. It never occurs in UTF-8 either, and no single bit makes one mark of the other.
const END: u8 = 0xC1;
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
pub(super) fn check_header(bytes: &[u8], incarnation: Incarnation, first: u64) -> Header {
    match sound_header(bytes) {
        None => Header::Damaged,
        Some((1..=FORMAT, ROW_VERSION, found, begins)) if found == incarnation => match begins == first {
            true => Header::Ours,
            false => Header::Foreign(format!("it begins with {begins} and is named as if with {first}")),
        },
        Some((1..=FORMAT, ROW_VERSION, found, _)) => Header::Foreign(format!("it is of journal {found}")),
        Some((format, version, ..)) => Header::Foreign(format!(
            "it has format {format}.{version}, and this version reads up to {FORMAT}.{ROW_VERSION}"
        )),
    }
}

/// The journal that a log file of our format names, when its header is sound.
pub(super) fn sound_incarnation(bytes: &[u8]) -> Option<Incarnation> {
    let (format, version, incarnation, _) = sound_header(bytes)?;
    ((1..=FORMAT).contains(&format) && version == ROW_VERSION).then_some(incarnation)
}

/// Format, version of rows, journal, and first sequence.
fn sound_header(bytes: &[u8]) -> Option<(u8, u8, Incarnation, u64)> {
    let (head, crc) = bytes.get(..HEADER_BYTES)?.split_last_chunk::<4>()?;
    if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = head.strip_prefix(MAGIC)?;
    let number = u128::from_le_bytes(rest.get(2..18)?.try_into().ok()?);
    let first = u64::from_le_bytes(rest.get(18..26)?.try_into().ok()?);
    Some((rest[0], rest[1], Incarnation(number), first))
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
        push_frame(bytes, RECORD, self.seed, payload);
        Ok(())
    }

    /// Appends the frame that ends a write, whose last record has this sequence.
    pub(super) fn end(&self, bytes: &mut Vec<u8>, last: u64) {
        push_frame(bytes, END, self.seed, &last.to_le_bytes());
    }
}

/// Appends a frame; its payload is at most [`MAX_RECORD_BYTES`] long.
fn push_frame(bytes: &mut Vec<u8>, mark: u8, seed: u32, payload: &[u8]) {
    let mut head = [mark, ROW_VERSION, 0, 0, 0, 0];
    head[2..].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&checksum(seed, &head, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// A sound frame.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack; a box would cost an allocation per row"
)]
enum Frame {
    Record(Record),
    /// The end of a write whose last record had this sequence.
    End(u64),
}

impl Frame {
    /// How far behind `next` lies what it tells of; none when it tells of something before.
    fn ahead_of(&self, next: u64) -> Option<u64> {
        match self {
            Self::Record(record) => record.sequence.checked_sub(next),
            Self::End(last) => last.checked_add(1)?.checked_sub(next),
        }
    }
}

/// The length of the frame that `bytes` begin with, if they can be the begin of one.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..FRAME_BYTES)?;
    let len = u32::from_le_bytes(head[2..6].try_into().ok()?) as usize;
    let marked = matches!(head[0], RECORD | END) && head[1] == ROW_VERSION;
    (marked && len <= MAX_RECORD_BYTES).then_some(FRAME_BYTES + len)
}

/// The frame that `bytes` begin with and its length.
fn decode(bytes: &[u8], seed: u32) -> Option<(Frame, usize)> {
    let len = frame_len(bytes)?;
    let payload = bytes.get(FRAME_BYTES..len)?;
    let crc = u32::from_le_bytes(bytes[6..FRAME_BYTES].try_into().ok()?);
    if checksum(seed, &bytes[..6], payload) != crc {
        return None;
    }
    if bytes[0] == END {
        return Some((Frame::End(u64::from_le_bytes(payload.try_into().ok()?)), len));
    }
    let (record, rest) = postcard::take_from_bytes::<Record>(payload).ok()?;
    rest.is_empty().then_some((Frame::Record(record), len))
}

/// The last sequence that a record stands for.
pub(super) fn last_of(record: &Record) -> u64 {
    if let Row::Gap(gap) = &record.row { gap.to } else { record.sequence }
}

/// The records of a log file in order. Bytes that are no frame are passed over up to the next frame that is sound;
/// the caller sees the hole in the sequences. The end of a write says which number was the last before it, so that a
/// damaged record at the end of what was written is missed too.
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
        let sound = check_header(&bytes, incarnation, first) == Header::Ours;
        let at = if sound { HEADER_BYTES } else { 0 };
        Self { bytes, at, seed: seed(incarnation), next: first, damage: Vec::new(), torn: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When the first record was taken, if the file begins with a sound one.
    pub(super) fn next_record_at(&self) -> Option<wattle_wire::Micros> {
        match self.sound_at(self.at)?.0 {
            Frame::Record(record) => Some(record.at_us),
            Frame::End(_) => None,
        }
    }

    /// The sound frame at `at`. A sequence that lies further ahead than there are bytes is none of ours.
    fn sound_at(&self, at: usize) -> Option<(Frame, usize)> {
        let (frame, len) = decode(&self.bytes[at..], self.seed)?;
        let ahead = frame.ahead_of(self.next)?;
        (ahead <= self.bytes.len() as u64).then_some((frame, len))
    }

    /// Goes to the next sound frame, or to the end.
    fn pass_over(&mut self) {
        let from = self.at;
        let marked = |at: &usize| matches!(self.bytes[*at], RECORD | END);
        let found = (from + 1..self.bytes.len()).find(|at| marked(at) && self.sound_at(*at).is_some());
        self.at = found.unwrap_or(self.bytes.len());
        if found.is_some() {
            return self.damage.push(from..self.at);
        }
        match whole_records(&self.bytes[from..]) {
            0 => self.torn = self.at - from,
            records => {
                self.next += records;
                self.damage.push(from..self.at);
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.at < self.bytes.len() {
            match self.sound_at(self.at) {
                Some((Frame::Record(record), len)) => {
                    self.at += len;
                    self.next = last_of(&record) + 1;
                    return Some(record);
                }
                Some((Frame::End(last), len)) => {
                    self.at += len;
                    self.next = last + 1;
                }
                None => self.pass_over(),
            }
        }
        None
    }
}

/// How many records, by the lengths of their frames, stand whole at the begin of bytes whose checksums don't fit. A write
/// that was cut leaves none; each one that is whole is taken for a record that has been there, and its number is
/// not given out again.
fn whole_records(bytes: &[u8]) -> u64 {
    let (mut at, mut records) = (0, 0);
    while let Some(len) = frame_len(&bytes[at..]) {
        if bytes.len() - at < len {
            break;
        }
        records += u64::from(bytes[at] == RECORD);
        at += len;
    }
    records
}
