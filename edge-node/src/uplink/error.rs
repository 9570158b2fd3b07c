//! Why a connection has ended.

use std::time::Duration;

use super::source::SourceError;

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("{0} is no address of a fog node; write it as http://host:port or https://host:port")]
    Address(String),
    /// A certificate or key can't be used.
    #[error("no encrypted connection: {0}; check uplink.tls")]
    Tls(String),
    /// The fog node can't be reached.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The fog node, or what lies between, has ended the exchange.
    #[error("the fog node has ended the exchange: {0}")]
    Ended(String),
    /// No answer for too long.
    #[error("no answer from the fog node for {} s", .0.as_secs())]
    Silent(Duration),
    /// A segment isn't taken for too long.
    #[error("the fog node takes no segment for {} s; it is overloaded, or the line is too slow", .0.as_secs())]
    Full(Duration),
    /// What came is no answer.
    #[error("the fog node's answer can't be read: {0}")]
    Malformed(String),
    /// The fog node can't take a segment.
    #[error("the fog node refuses the segment after entry {after}: {reason}")]
    Refused {
        /// The last entry that it has taken.
        after: u64,
        /// Why, in its words.
        reason: String,
    },
    /// Kafka can't be used now.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// One row is larger than what the topic takes.
    #[error(
        "a row after entry {after} comes to {bytes} bytes, and the topic takes {limit}; raise its max.message.bytes and uplink.max_message_bytes"
    )]
    RowTooLarge {
        /// The entry before it.
        after: u64,
        /// Its size alone in a segment.
        bytes: usize,
        /// The largest message.
        limit: usize,
    },
    /// A segment can't be read or made.
    #[error("a segment can't be made ready for the way up: {0}")]
    Segment(#[from] wattle_columns::SegmentError),
    /// The journal gave nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
}
