//! The small files: who the journal is, how far the lake is, what it can have, and the core's last checkpoint.
//!
//! ```text
//! magic 4 bytes   format u8   len u32   body   crc u32 over all before it
//! identity    "WJID"  format 2  body: incarnation u128, id of this file u128, edge (UTF-8)
//!                     format 1  body: incarnation u128, edge; read only
//! committed   "WCOM"  format 2  body: incarnation u128, sequence u64; in one of two slots, see `position`
//!                     format 1  the same as the whole file; read only
//! handed      "WHND"  as committed
//! restored    "WRST"  format 1  body: incarnation u128, sequence u64, incarnation of the new life u128, id of this file u128,
//!                               which older versions leave out; see `copies`
//! checkpoint  "WCHK"  format 1  body: incarnation u128, sequence u64, the core's bytes
//! ```
//!
//! The id of the file `identity` ([`Disk::file_id`]) stands in it, so that a copy of the folder is told from the folder.

use std::path::Path;

use wattle_wire::EdgeId;
use wattle_wire::uplink::Incarnation;

use super::disk::{Disk, put, replace};
use super::error::JournalError;
use super::position;

pub(super) const IDENTITY: &str = "identity";
pub(super) const COMMITTED: &str = "committed";
pub(super) const CHECKPOINT: &str = "checkpoint";
/// The last entry that may have been handed to the uplink.
pub(super) const HANDED: &str = "handed";
/// Says that the folder is a copy, and how far its new life has come.
pub(super) const RESTORED: &str = "restored";

const FORMAT: u8 = 1;
const IDENTITY_FORMAT: u8 = 2;
const SLOT_FORMAT: u8 = 2;
const MAX_BYTES: u64 = 256 << 20;

/// What became of a small file.
pub(super) enum Found<T> {
    /// It was never written.
    Nothing,
    /// It is as it was written.
    Sound(T),
    /// It is there and can't be used; the text says why.
    Bad(String),
}

fn magic(name: &str) -> &'static [u8; 4] {
    match name {
        IDENTITY => b"WJID",
        COMMITTED => b"WCOM",
        HANDED => b"WHND",
        RESTORED => b"WRST",
        _ => b"WCHK",
    }
}

fn framed(name: &str, format: u8, body: &[&[u8]]) -> Vec<u8> {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let mut bytes = magic(name).to_vec();
    bytes.push(format);
    // Longer ones are refused before.
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    body.iter().for_each(|part| bytes.extend_from_slice(part));
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Found<(u8, Vec<u8>)> {
    match disk.read(&dir.join(name), MAX_BYTES) {
        Ok(bytes) => {
            let (stamp, newest) = stamp_in(name, &bytes);
            match body(stamp, magic(name), newest) {
                Ok((format, body)) => Found::Sound((format, body.to_vec())),
                Err(reason) => Found::Bad(reason),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Bad(error.to_string()),
    }
}

/// The stamp in a file, and the newest format that it may have: all of the file, but of a position the slot that holds.
fn stamp_in<'a>(name: &str, bytes: &'a [u8]) -> (&'a [u8], u8) {
    match name {
        IDENTITY => (bytes, IDENTITY_FORMAT),
        COMMITTED | HANDED => match position::slot_in(name, bytes) {
            Some(slot) => (slot, SLOT_FORMAT),
            None => (bytes, FORMAT),
        },
        _ => (bytes, FORMAT),
    }
}

/// The stamp of a position, for a slot.
pub(super) fn position(name: &str, incarnation: Incarnation, sequence: u64) -> Vec<u8> {
    framed(name, SLOT_FORMAT, &[&incarnation.0.to_le_bytes(), &sequence.to_le_bytes()])
}

/// The number in the stamp of a position, if that is sound.
pub(super) fn number_in(name: &str, stamp: &[u8]) -> Option<u64> {
    let (_, body) = body(stamp, magic(name), SLOT_FORMAT).ok()?;
    body.get(16..)?.first_chunk::<8>().map(|number| u64::from_le_bytes(*number))
}

fn body<'a>(bytes: &'a [u8], magic: &[u8; 4], newest: u8) -> Result<(u8, &'a [u8]), String> {
    let (head, crc) = bytes.split_last_chunk::<4>().ok_or("it ends too early")?;
    if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
        return Err("its checksum doesn't fit".to_owned());
    }
    let rest = head.strip_prefix(magic).ok_or("it is no such file")?;
    let (format, rest) = rest.split_first().ok_or("it ends too early")?;
    if !(1..=newest).contains(format) {
        return Err(format!("it has format {format}, and this version reads up to {newest}"));
    }
    let (len, body) = rest.split_first_chunk::<4>().ok_or("it ends too early")?;
    if u32::from_le_bytes(*len) as usize != body.len() {
        return Err("its length doesn't fit".to_owned());
    }
    Ok((*format, body))
}

/// Writes who the journal is. It lasts once the folder is synced.
pub(super) fn write_identity(
    disk: &dyn Disk,
    dir: &Path,
    edge: &EdgeId,
    incarnation: Incarnation,
) -> Result<(), JournalError> {
    put(disk, dir, IDENTITY, |id| {
        let (number, id) = (incarnation.0.to_le_bytes(), id.to_le_bytes());
        framed(IDENTITY, IDENTITY_FORMAT, &[&number, &id, edge.as_str().as_bytes()])
    })
}

/// Who a journal is.
pub(super) struct Identity {
    pub(super) incarnation: Incarnation,
    pub(super) edge: EdgeId,
    /// The id of the file that it was written into; none in format 1.
    pub(super) file: Option<u128>,
}

pub(super) fn read_identity(disk: &dyn Disk, dir: &Path) -> Found<Identity> {
    let (format, body) = match read(disk, dir, IDENTITY) {
        Found::Sound(found) => found,
        Found::Nothing => return Found::Nothing,
        Found::Bad(reason) => return Found::Bad(reason),
    };
    identity(format, &body).map_or(Found::Bad("it names no edge".to_owned()), Found::Sound)
}

fn identity(format: u8, body: &[u8]) -> Option<Identity> {
    let (number, mut rest) = body.split_first_chunk::<16>()?;
    let mut file = None;
    if format > 1 {
        let (id, edge) = rest.split_first_chunk::<16>()?;
        (file, rest) = (Some(u128::from_le_bytes(*id)), edge);
    }
    let edge = EdgeId::new(std::str::from_utf8(rest).ok()?).ok()?;
    Some(Identity { incarnation: Incarnation(u128::from_le_bytes(*number)), edge, file })
}

/// Writes a position as a whole file: `checkpoint` with the core's bytes.
pub(super) fn write_position(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    incarnation: Incarnation,
    sequence: u64,
    bytes: &[u8],
) -> Result<(), JournalError> {
    if bytes.len() as u64 > MAX_BYTES - 64 {
        return Err(JournalError::RecordTooLarge);
    }
    let (number, sequence) = (incarnation.0.to_le_bytes(), sequence.to_le_bytes());
    replace(disk, dir, name, &framed(name, FORMAT, &[&number, &sequence, bytes]))
}

/// What the file `restored` says: which life ends after which number, and which begins.
pub(super) struct Restored {
    pub(super) former: Incarnation,
    pub(super) cut: u64,
    pub(super) new: Incarnation,
    /// The id of the file that it was written into; older versions don't say it.
    pub(super) file: Option<u128>,
}

/// Writes what a change of lives is. It lasts once the folder is synced.
pub(super) fn write_restored(
    disk: &dyn Disk,
    dir: &Path,
    former: Incarnation,
    cut: u64,
    new: Incarnation,
) -> Result<(), JournalError> {
    let (former, cut, new) = (former.0.to_le_bytes(), cut.to_le_bytes(), new.0.to_le_bytes());
    put(disk, dir, RESTORED, |id| framed(RESTORED, FORMAT, &[&former, &cut, &new, &id.to_le_bytes()]))
}

pub(super) fn read_restored(disk: &dyn Disk, dir: &Path) -> Found<Restored> {
    let (former, cut, bytes) = match read_any_position(disk, dir, RESTORED) {
        Found::Sound(found) => found,
        Found::Nothing => return Found::Nothing,
        Found::Bad(reason) => return Found::Bad(reason),
    };
    let Some((new, rest)) = bytes.split_first_chunk::<16>() else {
        return Found::Bad("it names no new life".to_owned());
    };
    let file = rest.first_chunk::<16>().map(|id| u128::from_le_bytes(*id));
    Found::Sound(Restored { former, cut, new: Incarnation(u128::from_le_bytes(*new)), file })
}

/// Reads a position, of whatever journal, and the bytes after it.
fn read_any_position(disk: &dyn Disk, dir: &Path, name: &str) -> Found<(Incarnation, u64, Vec<u8>)> {
    let body = match read(disk, dir, name) {
        Found::Sound((_, body)) => body,
        Found::Nothing => return Found::Nothing,
        Found::Bad(reason) => return Found::Bad(reason),
    };
    let parsed = body.split_first_chunk::<16>().and_then(|(number, rest)| {
        let (sequence, bytes) = rest.split_first_chunk::<8>()?;
        Some((Incarnation(u128::from_le_bytes(*number)), u64::from_le_bytes(*sequence), bytes.to_vec()))
    });
    parsed.map_or(Found::Bad("it ends too early".to_owned()), Found::Sound)
}

/// Reads a position and the bytes after it; that of another journal is bad.
pub(super) fn read_position(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    incarnation: Incarnation,
) -> Found<(u64, Vec<u8>)> {
    match read_any_position(disk, dir, name) {
        Found::Sound((found, sequence, bytes)) if found == incarnation => Found::Sound((sequence, bytes)),
        Found::Sound(_) => Found::Bad("it is of another journal".to_owned()),
        Found::Nothing => Found::Nothing,
        Found::Bad(reason) => Found::Bad(reason),
    }
}
