//! What a replay has come to.

use wattle_wire::Micros;
use wattle_wire::row::Row;

/// What a replay has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Decisions that were made again, recorded or not.
    pub made: u64,
    /// Recorded decisions that came out the same, byte for byte.
    pub same: u64,
    /// Recorded decisions and events that came out otherwise, and ticks before which rows are not what they were.
    pub different: u64,
    /// Keyframes that were found the same as the state that the replay had come to.
    pub keyframes_same: u64,
    /// Keyframes that were not.
    pub keyframes_different: u64,
    /// Keyframes from which a replay was begun without one before.
    pub begun: u64,
    /// Recorded decisions that lie in a stretch that can't be replayed.
    pub not_replayed: u64,
    /// Recorded decisions that a policy in shadow would have made.
    pub shadows: Shadows,
    /// The first things that differ, at most [`MOST_KEPT`].
    pub differences: Vec<Difference>,
    /// What could not be replayed, at most [`MOST_KEPT`].
    pub stretches: Vec<Stretch>,
}

/// What became of recorded decisions of policies in shadow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shadows {
    /// Came out the same, byte for byte.
    pub same: u64,
    /// Came out otherwise.
    pub different: u64,
    /// Could not be made again: the component isn't there, or nobody wrote down with which state it began.
    pub not_replayed: u64,
}

/// Differences and stretches that are kept.
pub const MOST_KEPT: usize = 100;

/// Something that was recorded and comes out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The sequence of what was recorded.
    pub sequence: u64,
    /// When.
    pub at: Micros,
    /// What was recorded; none of a decision that the journal doesn't have.
    pub recorded: Option<Box<Row>>,
    /// What comes out; none where nothing does.
    pub made: Option<Box<Row>>,
    /// What differs, for people.
    pub text: String,
}

/// A part of the journal that can't be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The first entry of it.
    pub from: u64,
    /// The last one: that before the keyframe from which it goes on, or the last that there is.
    pub to: u64,
    /// The moment of its first entry.
    pub from_at: Micros,
    /// The moment of its last entry.
    pub to_at: Micros,
    /// Why, for people.
    pub reason: String,
}
