//! The small files: who the journal is, how far the lake is, and the core's last checkpoint.
//!
//! ```text
//! magic 4 bytes   format u8 = 1   len u32   body   crc u32 over all before it
//! identity    "WJID"  body: incarnation u128, edge (UTF-8)
//! committed   "WCOM"  body: incarnation u128, sequence u64
//! checkpoint  "WCHK"  body: incarnation u128, sequence u64, the core's bytes
//! ```

use std::path::Path;

use wattle_wire::EdgeId;
use wattle_wire::uplink::Incarnation;

use super::disk::{Disk, replace};
use super::error::{JournalError, io};

pub(super) const IDENTITY: &str = "identity";
pub(super) const COMMITTED: &str = "committed";
pub(super) const CHECKPOINT: &str = "checkpoint";

const FORMAT: u8 = 1;
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
        _ => b"WCHK",
    }
}

fn write(disk: &dyn Disk, dir: &Path, name: &str, body: &[&[u8]]) -> Result<(), JournalError> {
    let len = body.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).map_err(|_| JournalError::RecordTooLarge)?;
    let mut bytes = magic(name).to_vec();
    bytes.push(FORMAT);
    bytes.extend_from_slice(&len.to_le_bytes());
    body.iter().for_each(|part| bytes.extend_from_slice(part));
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    replace(disk, dir, name, &bytes)
}

fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Found<Vec<u8>>, JournalError> {
    let path = dir.join(name);
    let bytes = match disk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(io("read", &path)(error)),
    };
    Ok(match body(&bytes, magic(name)) {
        Ok(body) => Found::Sound(body.to_vec()),
        Err(reason) => Found::Bad(reason),
    })
}

fn body<'a>(bytes: &'a [u8], magic: &[u8; 4]) -> Result<&'a [u8], String> {
    let (head, crc) = bytes.split_last_chunk::<4>().ok_or("it ends too early")?;
    if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
        return Err("its checksum doesn't fit".to_owned());
    }
    let rest = head.strip_prefix(magic).ok_or("it is no such file")?;
    let (format, rest) = rest.split_first().ok_or("it ends too early")?;
    if *format != FORMAT {
        return Err(format!("it has format {format}, and this version reads {FORMAT}"));
    }
    let (len, body) = rest.split_first_chunk::<4>().ok_or("it ends too early")?;
    if u32::from_le_bytes(*len) as usize != body.len() {
        return Err("its length doesn't fit".to_owned());
    }
    Ok(body)
}

pub(super) fn write_identity(
    disk: &dyn Disk,
    dir: &Path,
    edge: &EdgeId,
    incarnation: Incarnation,
) -> Result<(), JournalError> {
    write(disk, dir, IDENTITY, &[&incarnation.0.to_le_bytes(), edge.as_str().as_bytes()])
}

pub(super) fn read_identity(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Found<(Incarnation, EdgeId)>, JournalError> {
    let body = match read(disk, dir, IDENTITY)? {
        Found::Sound(body) => body,
        Found::Nothing => return Ok(Found::Nothing),
        Found::Bad(reason) => return Ok(Found::Bad(reason)),
    };
    let parsed = body.split_first_chunk::<16>().and_then(|(number, edge)| {
        let edge = EdgeId::new(std::str::from_utf8(edge).ok()?).ok()?;
        Some((Incarnation(u128::from_le_bytes(*number)), edge))
    });
    Ok(parsed.map_or(Found::Bad("it names no edge".to_owned()), Found::Sound))
}

/// Writes a position: `committed` without bytes, or `checkpoint` with the core's.
pub(super) fn write_position(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    incarnation: Incarnation,
    sequence: u64,
    bytes: &[u8],
) -> Result<(), JournalError> {
    write(disk, dir, name, &[&incarnation.0.to_le_bytes(), &sequence.to_le_bytes(), bytes])
}

/// Reads a position and the bytes after it; that of another journal is bad.
pub(super) fn read_position(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    incarnation: Incarnation,
) -> Result<Found<(u64, Vec<u8>)>, JournalError> {
    let body = match read(disk, dir, name)? {
        Found::Sound(body) => body,
        Found::Nothing => return Ok(Found::Nothing),
        Found::Bad(reason) => return Ok(Found::Bad(reason)),
    };
    let parsed = body.split_first_chunk::<16>().and_then(|(number, rest)| {
        let (sequence, bytes) = rest.split_first_chunk::<8>()?;
        let ours = u128::from_le_bytes(*number) == incarnation.0;
        ours.then(|| (u64::from_le_bytes(*sequence), bytes.to_vec()))
    });
    Ok(parsed.map_or(Found::Bad("it is of another journal".to_owned()), Found::Sound))
}
