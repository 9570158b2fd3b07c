//! What the devices' machines must know again after a restart, as the journal keeps it.
//!
//! A device's state travels to the journal behind the device's rows, so when the journal takes it, every row
//! that the state knows of stands in the journal already. It is kept with the sequence that the journal had
//! reached then. A checkpoint is written only after those rows are on the disk; so it never knows of a number
//! whose row could still be lost. After a restart each machine takes its state, and then the rows that stand
//! behind its own sequence.
//!
//! Bound: one state per device of the sites, and of devices that are in no site file any more those that were there last, at most
//! [`MAX_ABSENT`] with [`MAX_ABSENT_BYTES`] together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wattle_wire::{DeviceId, SiteId};

/// The version of the bytes, their first.
const VERSION: u8 = 1;

/// Devices that are in no site file and whose states are kept.
pub const MAX_ABSENT: usize = 1024;
/// What their states take together at most. One that keeps the contract takes 1.1 kB.
pub const MAX_ABSENT_BYTES: usize = 4 << 20;

/// A device's state on its way to the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Index of the site among the node's sites.
    pub site: usize,
    /// Whose.
    pub device: DeviceId,
    /// The bytes of `DeviceMachine::state`; none when nothing came since the state before.
    pub state: Option<Vec<u8>>,
    /// Held as long as it is on its way, so that a device never has two of them there.
    pub on_its_way: Arc<()>,
}

/// All states, each with the last sequence that it knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// By site and device.
    pub devices: BTreeMap<(SiteId, DeviceId), DeviceState>,
    /// Of devices that are in no site file of this run: as the journal's last entry had left them when it began. In the bytes they
    /// stand among the others.
    #[serde(skip)]
    pub absent: BTreeMap<(SiteId, DeviceId), DeviceState>,
}

/// One device's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// The last sequence of the journal that it covers.
    pub sequence: u64,
    /// The bytes of `DeviceMachine::state`.
    pub state: Vec<u8>,
}

/// Why a checkpoint was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Written by another version of the program.
    #[error("the checkpoint has version {0}, this program reads {VERSION}")]
    Version(u8),
    /// Not a checkpoint.
    #[error("the checkpoint is damaged")]
    Damaged,
}

impl Checkpoint {
    /// Takes a device's state as of this sequence; without a new one the old one covers more.
    pub fn keep(&mut self, site: SiteId, device: DeviceId, sequence: u64, state: Option<Vec<u8>>) {
        let entry = self.devices.entry((site, device));
        match state {
            Some(state) => {
                entry.insert_entry(DeviceState { sequence, state });
            }
            None => {
                entry.and_modify(|kept| kept.sequence = sequence);
            }
        }
    }

    /// Takes along devices that are in no site file, as many as there may be: those first whose state has the highest sequence.
    pub fn carry(&mut self, mut absent: Vec<((SiteId, DeviceId), DeviceState)>) {
        absent.sort_by_key(|(_, state)| std::cmp::Reverse(state.sequence));
        let mut bytes = 0;
        let fits = |(_, state): &((SiteId, DeviceId), DeviceState)| {
            bytes += state.state.len();
            bytes <= MAX_ABSENT_BYTES
        };
        let all = absent.len();
        self.absent = absent.into_iter().take(MAX_ABSENT).take_while(fits).collect();
        let forgotten = all - self.absent.len();
        if forgotten > 0 {
            tracing::warn!(forgotten, "what devices that are in no site file have sent would be taken again");
        }
    }

    /// The last sequence that the state of every device of the sites covers; none without such devices.
    pub fn covered(&self) -> Option<u64> {
        self.devices.values().map(|d| d.sequence).min()
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let all: BTreeMap<_, _> = self.devices.iter().chain(&self.absent).collect();
        postcard::to_extend(&all, vec![VERSION]).expect("a checkpoint holds nothing that postcard can't say")
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are of another version or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| CheckpointError::Damaged),
            Some((version, _)) => Err(CheckpointError::Version(*version)),
            None => Err(CheckpointError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        let site = SiteId::new("depot").expect("name");
        for (device, sequence) in [("cp-1", 7), ("cp-2", 5)] {
            checkpoint.keep(site.clone(), DeviceId::new(device).expect("name"), sequence, Some(vec![1, 2]));
        }
        checkpoint
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        assert_eq!(Checkpoint::decode(&checkpoint().encode()), Ok(checkpoint()));
        assert_eq!(checkpoint().covered(), Some(5));
    }

    #[test]
    fn a_device_that_was_silent_does_not_hold_the_rest_back() {
        let mut kept = checkpoint();
        let site = SiteId::new("depot").expect("name");
        kept.keep(site.clone(), DeviceId::new("cp-2").expect("name"), 9, None);
        assert_eq!(kept.covered(), Some(7));
        kept.keep(site, DeviceId::new("cp-3").expect("name"), 1, None);
        assert_eq!(kept.devices.len(), 2, "a state that never came is not made up");
    }

    #[test]
    fn devices_that_are_in_no_site_file_stand_in_the_bytes_and_hold_nothing_back() {
        let mut kept = checkpoint();
        let key = |name: String| (SiteId::new("depot").expect("name"), DeviceId::new(name).expect("name"));
        kept.carry(vec![(key("gone".into()), DeviceState { sequence: 2, state: vec![9] })]);
        assert_eq!(kept.covered(), Some(5));
        let read = Checkpoint::decode(&kept.encode()).expect("ours");
        assert_eq!(read.devices.len(), 3);
        assert_eq!(read.devices[&key("gone".into())].state, [9]);
    }

    #[test]
    fn of_too_many_devices_that_are_in_no_site_file_those_that_were_there_last_are_kept() {
        let site = SiteId::new("depot").expect("name");
        let check = |count: usize, bytes: usize, expected: usize| {
            let absent = |n: usize| {
                let key = (site.clone(), DeviceId::new(format!("cp-{n}")).expect("name"));
                (key, DeviceState { sequence: n as u64, state: vec![0; bytes] })
            };
            let mut kept = checkpoint();
            kept.carry((1..=count).map(absent).collect());
            let lowest = kept.absent.values().map(|state| state.sequence).min();
            assert_eq!((kept.absent.len(), lowest), (expected, Some((count - expected + 1) as u64)));
        };
        check(MAX_ABSENT + 5, 1_100, MAX_ABSENT);
        check(MAX_ABSENT, 100_000, MAX_ABSENT_BYTES / 100_000);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        assert_eq!(Checkpoint::decode(&[]), Err(CheckpointError::Damaged));
        assert_eq!(Checkpoint::decode(&[9]), Err(CheckpointError::Version(9)));
        let bytes = checkpoint().encode();
        assert_eq!(Checkpoint::decode(&bytes[..bytes.len() - 1]), Err(CheckpointError::Damaged));
    }
}
