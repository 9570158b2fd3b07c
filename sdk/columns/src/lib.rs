//! Wire rows as Arrow batches: the columns of each raw table, and the sealed segment that carries them up.
//!
//! - [`schema`]: the columns of `readings`, `events` and `decisions`. A released column never changes its
//!   meaning or type.
//! - [`SegmentBuilder`]: contiguous journal records in, one [`Segment`] out; [`gap_rows`] and [`told_gaps`] for gaps alone.
//! - [`read`]: columns back to records, from a segment or a lake.
//! - [`Segment::halves`]: a segment in two, where one is too large for what carries it.
//! - [`Segment::encode`] and [`Segment::decode`]: the bytes on disk and on the way up, the same for each way.
//!
//! Bytes of an encoded segment, all integers little-endian:
//!
//! ```text
//! "WSEG"  format u8 = 2  header_len u32  header (postcard, SegmentHeader)
//! three times (readings, events, decisions): len u32  packed columns, see `packed`
//! crc u32  over all that stands before it
//! ```
//!
//! Format 1, which is still read, has an Arrow IPC stream with zstd in the place of packed columns.
//!
//! Invariants: a segment's records are contiguous, `from..=to`; a length that is read is checked against what is
//! there before anything is kept. This crate reads no file and no socket.

mod builder;
mod gap;
mod packed;
pub mod read;
pub mod schema;
mod segment;
mod split;

pub use builder::{SegmentBuilder, gap_rows};
pub use gap::{ToldGap, told_gaps};
pub use segment::{MAX_SEGMENT_BYTES, Segment, SegmentError};
