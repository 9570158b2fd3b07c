//! The sealed segment and its bytes; see the crate's header for the layout.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use wattle_wire::uplink::SegmentHeader;

use crate::{packed, schema};

/// The largest encoded segment that is read at all, bytes.
pub const MAX_SEGMENT_BYTES: usize = 32 << 20;

const MAGIC: &[u8; 4] = b"WSEG";
/// Tables as Arrow IPC streams; read only.
const IPC: u8 = 1;
/// Tables as packed columns.
const PACKED: u8 = 2;
/// Longer than any header can be: two names, a number of 128 bits and two of 64.
const MAX_HEADER_BYTES: usize = 256;

/// How much larger rows that differ are in memory than encoded, at most.
const EXPANSION: usize = 16;
/// What a value takes in memory, and what a row's texts take together: names, an incarnation.
const COLUMN_BYTES: usize = 8;
const TEXT_BYTES: usize = 96;

/// Contiguous entries of one journal as columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Whose entries, and which.
    pub header: SegmentHeader,
    /// The measurements among them; columns as in [`schema::readings`].
    pub readings: RecordBatch,
    /// The events and gaps among them; columns as in [`schema::events`].
    pub events: RecordBatch,
    /// The decisions among them; columns as in [`schema::decisions`].
    pub decisions: RecordBatch,
}

/// Why records don't make a segment, or bytes are none.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A record that doesn't follow the one before it.
    #[error("record {found} stands where {expected} is expected")]
    Hole {
        /// The sequence that would have followed.
        expected: u64,
        /// The sequence that came.
        found: u64,
    },
    /// More bytes than [`MAX_SEGMENT_BYTES`].
    #[error("segment has {0} bytes; at most {MAX_SEGMENT_BYTES} are read")]
    TooLarge(usize),
    /// The bytes begin otherwise than a segment.
    #[error("these bytes are no Wattle segment")]
    Foreign,
    /// A format that this version doesn't know.
    #[error("segment format {0} is newer than this program, which reads up to {PACKED}; update it")]
    Format(u8),
    /// The checksum doesn't fit, or a part ends too early.
    #[error("segment is damaged: {0}")]
    Damaged(&'static str),
    /// The columns are not those of its table.
    #[error("segment's {0} have other columns than this version knows")]
    Columns(&'static str),
    /// Arrow could not write or read the columns.
    #[error("segment's columns can't be written or read")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A block could not be compressed or read.
    #[error("segment's columns can't be compressed or read")]
    Zstd(#[source] std::io::Error),
}

impl Segment {
    /// The bytes of this segment.
    ///
    /// # Errors
    /// When Arrow can't write a batch, or they come to more than [`MAX_SEGMENT_BYTES`].
    pub fn encode(&self) -> Result<Vec<u8>, SegmentError> {
        let header = postcard::to_allocvec(&self.header).expect("a header fits in memory");
        let mut bytes = Vec::with_capacity(1 << 16);
        bytes.extend_from_slice(MAGIC);
        bytes.push(PACKED);
        push_part(&mut bytes, &header)?;
        for batch in [&self.readings, &self.events, &self.decisions] {
            push_part(&mut bytes, &packed::encode(batch)?)?;
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        if bytes.len() > MAX_SEGMENT_BYTES { Err(SegmentError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads a segment back.
    ///
    /// # Errors
    /// When the bytes are too many, foreign, of another format, damaged, or have other columns.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let mut parts = Parts::open(bytes)?;
        let header = parts.header()?;
        let readings = parts.batch("readings", &schema::readings())?;
        let events = parts.batch("events", &schema::events())?;
        let decisions = parts.batch("decisions", &schema::decisions())?;
        Ok(Self { header, readings, events, decisions })
    }

    /// Reads only what stands in front; the checksum is not looked at.
    ///
    /// # Errors
    /// When the bytes are foreign, of another format, or end too early.
    pub fn header_of(bytes: &[u8]) -> Result<SegmentHeader, SegmentError> {
        let (format, rest) = after_magic(bytes)?;
        Parts { format, rest }.header()
    }

    /// About how many bytes the columns of an encoded segment will take in memory, before anything of it is decoded: by its
    /// numbers of rows, or by the length of its bytes, whatever gives more. Rows that are all alike take hardly a byte when they
    /// are encoded. Nothing is checked; what can't be told is 0.
    pub fn memory_of(bytes: &[u8]) -> usize {
        rows_memory(bytes).unwrap_or_default().max(bytes.len().saturating_mul(EXPANSION))
    }

    /// How many bytes its columns take in memory.
    pub fn memory_bytes(&self) -> usize {
        let batches = [&self.readings, &self.events, &self.decisions];
        let columns = batches.into_iter().flat_map(RecordBatch::columns);
        columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
    }

    /// How many rows it has in all tables.
    pub fn rows(&self) -> usize {
        self.readings.num_rows() + self.events.num_rows() + self.decisions.num_rows()
    }
}

/// What the rows of an encoded segment will take; 0 in format 1, which doesn't say.
fn rows_memory(bytes: &[u8]) -> Result<usize, SegmentError> {
    let (format, rest) = after_magic(bytes)?;
    let mut parts = Parts { format, rest };
    parts.header()?;
    let mut sum = 0_usize;
    if format == PACKED {
        for schema in [schema::readings(), schema::events(), schema::decisions()] {
            let row = schema.fields().len() * COLUMN_BYTES + TEXT_BYTES;
            sum = sum.saturating_add(packed::rows_of(parts.part()?)?.saturating_mul(row));
        }
    }
    Ok(sum)
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) -> Result<(), SegmentError> {
    let len = u32::try_from(part.len()).map_err(|_| SegmentError::TooLarge(part.len()))?;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(part);
    Ok(())
}

fn after_magic(bytes: &[u8]) -> Result<(u8, &[u8]), SegmentError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SegmentError::Foreign)?;
    match rest.split_first() {
        Some((&format @ (IPC | PACKED), rest)) => Ok((format, rest)),
        Some((&other, _)) => Err(SegmentError::Format(other)),
        None => Err(SegmentError::Damaged("it ends before its format")),
    }
}

/// What is still to be read of a segment whose checksum fits.
struct Parts<'a> {
    format: u8,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        if bytes.len() > MAX_SEGMENT_BYTES {
            return Err(SegmentError::TooLarge(bytes.len()));
        }
        after_magic(bytes)?;
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(SegmentError::Damaged("it ends too early"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(SegmentError::Damaged("its checksum doesn't fit"));
        }
        let (format, rest) = after_magic(body)?;
        Ok(Self { format, rest })
    }

    fn part(&mut self) -> Result<&'a [u8], SegmentError> {
        const SHORT: SegmentError = SegmentError::Damaged("a part ends too early");
        let (len, rest) = self.rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(SHORT)?;
        self.rest = rest;
        Ok(part)
    }

    fn header(&mut self) -> Result<SegmentHeader, SegmentError> {
        let part = self.part()?;
        if part.len() > MAX_HEADER_BYTES {
            return Err(SegmentError::Damaged("its header is too long"));
        }
        let header: SegmentHeader =
            postcard::from_bytes(part).map_err(|_| SegmentError::Damaged("its header can't be read"))?;
        if header.to < header.from {
            return Err(SegmentError::Damaged("its range ends before it begins"));
        }
        Ok(header)
    }

    fn batch(&mut self, table: &'static str, expected: &SchemaRef) -> Result<RecordBatch, SegmentError> {
        let part = self.part()?;
        if self.format == PACKED {
            return packed::decode(part, expected, table);
        }
        let mut reader = StreamReader::try_new(part, None)?;
        if reader.schema().fields() != expected.fields() {
            return Err(SegmentError::Columns(table));
        }
        reader
            .next()
            .unwrap_or_else(|| Ok(RecordBatch::new_empty(expected.clone())))
            .map_err(SegmentError::Arrow)
    }
}
