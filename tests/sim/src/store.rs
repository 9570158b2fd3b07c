//! The journal, which tells the truth what it does.

use wattle_edge::group::Store;
use wattle_edge::journal::{Journal, JournalError};
use wattle_wire::Micros;
use wattle_wire::row::Row;

use crate::site::device_index;
use crate::switch::Switch;
use crate::truth::{JournalName, SharedTruth};

/// A journal that is watched.
pub struct Told {
    log: Journal,
    name: JournalName,
    truth: SharedTruth,
    syncs_later: bool,
}

impl Told {
    /// The journal of this name.
    pub fn new(log: Journal, name: JournalName, truth: SharedTruth, switch: Option<Switch>) -> Self {
        Self { log, name, truth, syncs_later: switch == Some(Switch::SyncBeforeAck) }
    }
}

impl Store for Told {
    fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError> {
        let sequence = self.log.append(at, row.clone())?;
        let device = |name: &str| device_index(name).expect("a device of the world");
        self.truth.borrow_mut().appended(self.name, sequence, &row, device);
        Ok(sequence)
    }

    fn sync(&mut self) -> Result<u64, JournalError> {
        if self.syncs_later {
            // What is sealed is written all the same.
            return Ok(self.log.stats().next_sequence - 1);
        }
        let durable = self.log.sync()?;
        self.truth.borrow_mut().durable(self.name, durable);
        Ok(durable)
    }

    fn log(&mut self) -> &mut Journal {
        &mut self.log
    }
}
