//! The lowest layer: bytes, varints and blocks, written and read within bounds.

use zstd::bulk::{Compressor, Decompressor};

use crate::SegmentError;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const REPEATED: u8 = 2;
/// Of 1 to 22. Above it a segment takes longer than it gets smaller; measured.
const LEVEL: i32 = 6;
const SHORT: SegmentError = SegmentError::Damaged("a column ends too early");

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes.
pub(super) struct Packer {
    bytes: Vec<u8>,
    compressor: Compressor<'static>,
}

impl Packer {
    pub(super) fn new() -> Result<Self, SegmentError> {
        Ok(Self { bytes: Vec::new(), compressor: Compressor::new(LEVEL).map_err(SegmentError::Zstd)? })
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Bytes whose number the reader knows, as small as they get.
    pub(super) fn block(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        if let Some(first) = bytes.first().filter(|first| bytes.iter().all(|byte| byte == *first)) {
            self.raw(&[REPEATED, *first]);
            return Ok(());
        }
        let packed = self.compressor.compress(bytes).map_err(SegmentError::Zstd)?;
        if packed.len() < bytes.len() {
            self.u8(ZSTD);
            self.varint(packed.len() as u64);
            self.raw(&packed);
        } else {
            self.u8(PLAIN);
            self.raw(bytes);
        }
        Ok(())
    }
}

/// Reads, and makes no more of what it reads than it was allowed.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    room: usize,
    decompressor: Decompressor<'static>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], room: usize) -> Result<Self, SegmentError> {
        Ok(Self { rest: bytes, room, decompressor: Decompressor::new().map_err(SegmentError::Zstd)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes bytes of memory from what is allowed.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), SegmentError> {
        const LARGE: SegmentError = SegmentError::Damaged("a table comes to more than is read");
        self.room = self.room.checked_sub(bytes).ok_or(LARGE)?;
        Ok(())
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SegmentError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, SegmentError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64, SegmentError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(SegmentError::Damaged("a number doesn't end"))
    }

    /// A number of things, each of which takes memory: not more than is allowed.
    pub(super) fn count(&mut self) -> Result<usize, SegmentError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.room { Err(SegmentError::Damaged("a count is too large")) } else { Ok(count) }
    }

    /// A block of so many bytes.
    pub(super) fn block(&mut self, len: usize) -> Result<Vec<u8>, SegmentError> {
        self.reserve(len)?;
        match self.u8()? {
            PLAIN => Ok(self.take(len)?.to_vec()),
            REPEATED => Ok(vec![self.u8()?; len]),
            ZSTD => {
                let packed_len = self.count()?;
                let packed = self.take(packed_len)?;
                let bytes = self.decompressor.decompress(packed, len).map_err(SegmentError::Zstd)?;
                if bytes.len() == len { Ok(bytes) } else { Err(SHORT) }
            }
            _ => Err(SegmentError::Damaged("a block is of no kind that is known")),
        }
    }
}
