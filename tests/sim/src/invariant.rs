//! What has to hold, by name. The names are those of the documentation (`tests/README.md`).

use std::fmt;

/// What is checked while the world runs and after it has come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What was acknowledged is in the lake, or was dropped under a byte budget that is tight and stands in a gap of that; and
    /// no gap of damage has the place of what was called durable. An edge acknowledges to the device, and to the broker.
    NothingLost,
    /// No number of a device is in the lake twice, acknowledged or not.
    NothingTwice,
    /// A row in the lake is the row that was journaled under its number.
    RowsAreTrue,
    /// In the lake the numbers of a journal stand without a hole up to the position of each table.
    NoHole,
    /// Only what was published is acknowledged.
    AckedWasSent,
    /// After a restart the journal has all that it had called durable, and goes on behind it.
    DurableLasts,
    /// What the journal has noted of the lake's position is not forgotten.
    CommittedLasts,
    /// A journal keeps its incarnation, and makes no number twice in it.
    OneLife,
    /// Where nothing was damaged nothing has to be repaired, and no gap is of damage.
    NoDamageOfItsOwn,
    /// A gap is of a reason that there was.
    GapHasReason,
    /// A table's position of a journal never falls.
    PositionsRise,
    /// After the last fault everything comes to rest in bounded time: nothing wedges.
    ComesToRest,
    /// The node starts, whatever its disk holds.
    AlwaysStarts,
}

/// Something that doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub invariant: Invariant,
    /// When, in microseconds since the world began.
    pub at: u64,
    /// On what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "{:?} at {seconds}.{micros:06} s: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}
