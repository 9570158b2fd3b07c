//! A running digest of what a machine was told and when it decided, so that a row with another value shows at once, whatever comes of it.
//!
//! FNV-1a over the bytes in which inputs are written. It tells damage and mistakes; it is no defence against someone who looks for
//! collisions.

use wattle_wire::Micros;
use wattle_wire::row::Cause;

use super::input::SavedInput;
use crate::site::{Part, SiteInput};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[derive(Debug, Clone)]
pub(super) struct Witness {
    digest: u64,
    room: Vec<u8>,
}

impl Default for Witness {
    fn default() -> Self {
        Self { digest: OFFSET, room: Vec::new() }
    }
}

impl Witness {
    pub(super) fn told(&mut self, at: Micros, input: &SiteInput) {
        // What a meter has said last is of no use to the machine, and is not told again.
        let seen = input.seen.filter(|_| !matches!(input.part, Part::Meter(_)));
        let saved = SavedInput::of(&SiteInput { seen, ..input.clone() });
        self.room.clear();
        let room = std::mem::take(&mut self.room);
        self.room = postcard::to_extend(&(at, saved), room).expect("an input is plain data");
        self.take();
    }

    pub(super) fn decided(&mut self, at: Micros, cause: Cause) {
        self.room.clear();
        self.room.extend_from_slice(&at.0.to_le_bytes());
        self.room.extend_from_slice(cause.as_str().as_bytes());
        self.take();
    }

    fn take(&mut self) {
        self.digest = self
            .room
            .iter()
            .fold(self.digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(PRIME));
    }

    /// What it has come to since the last time.
    pub(super) fn digest(&mut self) -> u64 {
        std::mem::replace(&mut self.digest, OFFSET)
    }
}
