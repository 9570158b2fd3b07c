//! What travels through Kafka between edges and fog nodes; `docs/kafka.md` is the contract.
//!
//! - **Segments**: one message per sealed segment. Key: the edge's name. Headers: [`EDGE_HEADER`],
//!   [`INCARNATION_HEADER`], [`FROM_HEADER`], [`TO_HEADER`], each as text. Value: the segment's bytes.
//! - **Positions**: a compacted topic. Key: [`position_key`]. Value: a [`Position`], a version byte before it.
//!
//! In both topics an edge's messages are in the partition that [`partition_of`] gives: an edge reads one partition to hear
//! of its positions, and its segments stay in order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::EdgeId;
use crate::uplink::Incarnation;

/// Whose segment it is.
pub const EDGE_HEADER: &str = "wattle-edge";
/// Of which life of the journal: 32 hexadecimal digits.
pub const INCARNATION_HEADER: &str = "wattle-incarnation";
/// The first sequence, decimal.
pub const FROM_HEADER: &str = "wattle-from";
/// The last sequence, decimal.
pub const TO_HEADER: &str = "wattle-to";

/// The version of [`Position`]'s bytes.
const POSITION_VERSION: u8 = 1;

/// How far the lake has got in one journal, as the topic of positions tells an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Every entry up to this one is in every table; none when the lake has nothing of that journal.
    pub sequence: Option<u64>,
    /// Whether the entries after it are missing in the topic, so that the edge has to send them again.
    pub needs: bool,
}

/// Why bytes are no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// Another version.
    #[error("position of version {0}; this program reads {POSITION_VERSION}")]
    Version(u8),
    /// Too short or otherwise unreadable.
    #[error("these bytes are no position")]
    Malformed,
}

impl Position {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![POSITION_VERSION];
        bytes.extend(postcard::to_allocvec(self).expect("numbers can be written"));
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When the bytes are of another version or no position.
    pub fn decode(bytes: &[u8]) -> Result<Self, PositionError> {
        match bytes.split_first() {
            Some((&POSITION_VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|_| PositionError::Malformed)
            }
            Some((&other, _)) => Err(PositionError::Version(other)),
            None => Err(PositionError::Malformed),
        }
    }
}

/// The key of a journal's positions: `<edge>/<incarnation>`.
pub fn position_key(edge: &EdgeId, incarnation: Incarnation) -> String {
    format!("{edge}/{incarnation}")
}

/// The partition of an edge among so many, as Kafka's own clients place a message with its name as key. At least one.
pub fn partition_of(edge: &EdgeId, partitions: u32) -> u32 {
    (murmur2(edge.as_str().as_bytes()) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2 with the seed of Kafka's clients (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Names have at most 64 bytes.
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's own test of the function.
    #[test]
    fn names_are_hashed_as_kafka_does_it() {
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn every_edge_has_a_partition_whatever_their_number() {
        for n in 0..100 {
            let edge = EdgeId::new(format!("edge-{n}")).expect("name");
            assert_eq!(partition_of(&edge, 0), 0);
            assert_eq!(partition_of(&edge, 1), 0);
            assert!(partition_of(&edge, 7) < 7);
        }
    }

    #[test]
    fn the_bytes_of_a_position_are_as_released() {
        for (sequence, needs, bytes) in [
            (None, false, &[1u8, 0, 0][..]),
            (Some(300), false, &[1, 1, 0xac, 2, 0]),
            (Some(300), true, &[1, 1, 0xac, 2, 1]),
        ] {
            let position = Position { sequence, needs };
            assert_eq!(position.encode(), bytes);
            assert_eq!(Position::decode(bytes), Ok(position));
        }
    }

    #[test]
    fn bytes_that_are_no_position_are_an_error() {
        assert_eq!(Position::decode(&[]), Err(PositionError::Malformed));
        assert_eq!(Position::decode(&[2, 0, 0]), Err(PositionError::Version(2)));
        assert_eq!(Position::decode(&[1, 9]), Err(PositionError::Malformed));
    }
}
