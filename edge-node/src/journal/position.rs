//! A position on the disk: how far entries were handed out, or how far the lake is.
//!
//! It is written in place, so that a full disk has room for it, and in turn into one of two slots, so that a write that is
//! cut leaves the one before. The slot with the higher number holds. All integers are little-endian:
//! ```text
//! slot 0 at 0, slot 1 at 4096, 8192 bytes in all
//! slot:  a stamp of format 2 (see `stamp`), then zeros; nothing but zeros before it was first written
//! ```
//! Format 1, which is still read, is the stamp alone, in a file that is replaced. It gets its slots when the journal is
//! opened, or with the next position when there is no room by then. A file system that writes nothing in place, as one that copies on
//! write, may need room all the same.

use std::io::ErrorKind;

use super::disk::replace;
use super::error::{JournalError, io};
use super::log::Place;
use super::stamp;

/// The length of a slot: no disk writes more at once.
const SLOT_BYTES: usize = 4096;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
/// The length of a stamp with a life and a number.
const STAMP_BYTES: usize = 37;

/// A position, and where it stands in its file.
pub(super) struct Position {
    name: &'static str,
    /// The number. It only ever grows.
    pub(super) at: u64,
    /// The slot that holds; none while the file has no slots.
    slot: Option<usize>,
}

impl Position {
    /// The position of this name, which is `at` by what the journal has found; `is_sound` if its file says so too.
    pub(super) fn new(place: &Place, name: &'static str, at: u64, is_sound: bool) -> Self {
        let bytes = place.disk.read(&place.dir.join(name), FILE_BYTES as u64).ok();
        let slot = bytes.filter(|_| is_sound).and_then(|bytes| holding(name, &bytes));
        Self { name, at, slot }
    }

    /// Whether it is written without taking room on the disk.
    pub(super) fn has_room(&self) -> bool {
        self.slot.is_some()
    }

    /// Makes `to` the position. After an error the one before holds, or this one.
    pub(super) fn write(&mut self, place: &Place, to: u64) -> Result<(), JournalError> {
        let written = match self.slot {
            Some(slot) => write_slot(place, self.name, 1 - slot, to)?.then_some(1 - slot),
            None => None,
        };
        if written.is_none() {
            // It is not there, or as an older version wrote it.
            self.slot = None;
            make(place, self.name, to)?;
        }
        self.slot = written.or(Some(0));
        self.at = to;
        Ok(())
    }
}

/// Writes the file anew.
pub(super) fn make(place: &Place, name: &str, at: u64) -> Result<(), JournalError> {
    let mut bytes = stamp::position(name, place.incarnation, at);
    bytes.resize(FILE_BYTES, 0);
    replace(&*place.disk, &place.dir, name, &bytes)
}

/// Writes one of the slots; false when the file is gone.
fn write_slot(place: &Place, name: &str, slot: usize, at: u64) -> Result<bool, JournalError> {
    let path = place.dir.join(name);
    let mut file = match place.disk.open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(io("opened", &path))?,
    };
    let stamp = stamp::position(name, place.incarnation, at);
    file.write_at((slot * SLOT_BYTES) as u64, &stamp).map_err(io("written", &path))?;
    file.sync().map_err(io("synced", &path))?;
    Ok(true)
}

/// The stamp of the slot that holds; none where no slot is sound, or the file has none.
pub(super) fn slot_in<'a>(name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    slot_of(bytes, holding(name, bytes)?)
}

/// The slot that holds.
fn holding(name: &str, bytes: &[u8]) -> Option<usize> {
    let numbers = [0, 1].map(|slot| stamp::number_in(name, slot_of(bytes, slot)?));
    match numbers {
        [None, None] => None,
        [first, second] => Some(usize::from(second > first)),
    }
}

fn slot_of(bytes: &[u8], slot: usize) -> Option<&[u8]> {
    let begin = slot * SLOT_BYTES;
    (bytes.len() == FILE_BYTES).then(|| bytes.get(begin..begin + STAMP_BYTES))?
}
