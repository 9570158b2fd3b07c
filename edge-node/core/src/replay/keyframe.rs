//! A keyframe as it is written: everything from which a replay goes on.

use serde::{Deserialize, Serialize};

use super::ticks::SavedAsked;
use super::{Asked, ReadError};

/// The version of the bytes, their first. The machine's have one of their own.
const VERSION: u8 = 1;

/// A keyframe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyframe {
    /// Name and version of the program that has written it.
    pub program: String,
    /// The text of the site file, which gives the model.
    pub configuration: String,
    /// The bytes of [`SiteMachine::keyframe`](crate::SiteMachine::keyframe).
    pub machine: Vec<u8>,
    /// The number of the next ticks.
    pub(super) serial: u64,
    /// Who was asked last.
    pub(super) asked: Asked,
    /// Why who was asked gave no plan, the last time that it gave none.
    pub(super) failure: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    program: String,
    configuration: String,
    serial: u64,
    asked: SavedAsked,
    failure: Option<String>,
    machine: Vec<u8>,
}

impl Keyframe {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Self { program, configuration, machine, serial, asked, failure } = self.clone();
        let asked = SavedAsked::of(&asked);
        let saved = Saved { program, configuration, serial, asked, failure, machine };
        postcard::to_extend(&saved, vec![VERSION]).expect("a keyframe is plain data")
    }

    /// From its bytes.
    ///
    /// # Errors
    /// When they are none, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let Saved { program, configuration, serial, asked, failure, machine } =
            super::read("a keyframe", bytes, VERSION..=VERSION)?;
        Ok(Self { program, configuration, machine, serial, asked: asked.load(), failure })
    }
}
