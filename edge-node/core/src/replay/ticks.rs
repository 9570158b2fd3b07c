//! Ticks as they are written: what can't be told from the rows alone.

use serde::{Deserialize, Serialize};
use wattle_wire::row::Cause;

use super::ReadError;
use super::input::SavedInput;

/// The version of the bytes, their first.
const VERSION: u8 = 2;
/// The version before, which told nothing of policies in shadow; all that it has means the same.
const FIRST: u8 = 1;

/// What has happened to a machine since the ticks before, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticks {
    /// Grows by one with each from the start of the machine.
    pub(super) serial: u64,
    /// Of all that was told and decided.
    pub(super) witness: u64,
    pub(super) turns: Vec<Turn>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Turn {
    /// So many telling rows told what they tell as a rule, and then it was decided.
    Decided(Tick),
    /// The same, and who was asked gave no plan: for this reason, or for the same as the last time.
    Failed(Tick, Option<String>),
    /// So many telling rows told what they tell as a rule.
    Told(u32),
    /// So many telling rows told nothing.
    Untold(u32),
    /// Something was told that no row tells, so long after what was told or decided before it, us.
    Heard(i64, SavedInput),
    /// Who is asked from here on.
    Asked(SavedAsked),
    /// Beside the decision that stands before it a policy in shadow was asked, in this place: who, and with which state; none for
    /// the same as the last time in this place, with the state that it has left then.
    Beside(u8, Option<SavedAsked>),
}

/// A moment at which it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tick {
    pub(super) told: u32,
    pub(super) cause: Cause,
    /// How long after the moment that the interval asks for, us.
    pub(super) late_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedAsked {
    policy: String,
    policy_digest: u64,
    settings_digest: u64,
    state: Option<Vec<u8>>,
    keeps_state: bool,
}

/// Who is asked for a plan, and with which state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Name and version, as decisions name it.
    pub policy: String,
    /// The first eight bytes of the SHA-256 of its component; 0 for the built-in share.
    pub policy_digest: u64,
    /// The first eight bytes of the SHA-256 of its settings.
    pub settings_digest: u64,
    /// What it begins with.
    pub given: Given,
}

/// The state with which a version begins a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The bytes, where they are not those that the machine keeps.
    pub state: Option<Vec<u8>>,
    /// Whether the machine's state stays, whatever the plan leaves.
    pub keeps_state: bool,
}

impl Ticks {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("ticks are plain data")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        super::read("ticks", bytes, FIRST..=VERSION)
    }
}

impl SavedAsked {
    pub(super) fn of(asked: &Asked) -> Self {
        let Asked { policy, policy_digest, settings_digest, given } = asked.clone();
        let Given { state, keeps_state } = given;
        Self { policy, policy_digest, settings_digest, state, keeps_state }
    }

    pub(super) fn load(self) -> Asked {
        let Self { policy, policy_digest, settings_digest, state, keeps_state } = self;
        Asked { policy, policy_digest, settings_digest, given: Given { state, keeps_state } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_the_version_before_are_read_and_those_of_a_later_one_are_refused() {
        let tick = Tick { told: 3, cause: Cause::Breach, late_us: -2 };
        let turns = vec![Turn::Told(7), Turn::Decided(tick), Turn::Untold(1)];
        let ticks = Ticks { serial: 5, witness: 0xfeed, turns };
        // As the first version wrote them.
        let first = [1, 5, 237, 253, 3, 3, 2, 7, 0, 3, 1, 3, 3, 1];
        assert_eq!(Ticks::decode(&first), Ok(ticks.clone()));
        let mut bytes = ticks.encode();
        assert_eq!((bytes[0], &bytes[1..]), (VERSION, &first[1..]));
        bytes[0] = VERSION + 1;
        let refused = ReadError::Version { what: "ticks", found: VERSION + 1, known: VERSION };
        assert_eq!(Ticks::decode(&bytes), Err(refused));
    }
}
