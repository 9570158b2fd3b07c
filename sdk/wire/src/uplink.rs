//! What an edge and a fog node say to each other around sealed segments, whichever way these travel.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::EdgeId;

/// The life of one journal: random, made with the journal and made anew when a copy of it is restored. Two
/// journals never share one, so positions can't be confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u128);

impl core::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The path of the Flight descriptor with which an edge opens its stream of segments (`DoExchange`).
///
/// The first message carries it, with a [`Hello`] as `app_metadata`; the answer is a [`Committed`] as
/// `app_metadata`. Each further message has a [`SegmentHeader`] as `app_metadata` and an encoded segment as
/// `data_body`, and is answered, in order, once it is in every raw table or refused. All of them are postcard.
pub const FLIGHT_PATH: [&str; 3] = ["wattle", "segments", "v1"];

/// The largest message of that stream: a segment of 32 MiB and what stands around it.
pub const MAX_MESSAGE_BYTES: usize = (32 << 20) + (64 << 10);

/// Who opens a stream of segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Whose.
    pub edge: EdgeId,
    /// In which life of its journal.
    pub incarnation: Incarnation,
}

/// What stands in front of a sealed segment: whose entries, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// Whose.
    pub edge: EdgeId,
    /// In which life of its journal.
    pub incarnation: Incarnation,
    /// The first sequence.
    pub from: u64,
    /// The last sequence, included.
    pub to: u64,
}

/// The fog node's answer: how far the lake has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Of which life of the journal.
    pub incarnation: Incarnation,
    /// Every entry up to this one is in every table; none when the lake has nothing of that life.
    pub sequence: Option<u64>,
    /// Why the last segment was refused; empty when it wasn't.
    pub refused: String,
}
