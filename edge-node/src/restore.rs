//! From what a journal holds to machines that go on where they were.
//!
//! Each device's machine takes its state from the checkpoint, then the rows that stand behind that state's
//! sequence. Without a checkpoint that can be read it starts from nothing and takes all rows that the journal
//! still has.
//!
//! A device that is in no site file is followed all the same, so that what it sends again is a repetition when it is back: its state
//! and its numbered rows make a machine that nobody speaks to, and that goes on as [`Checkpoint::absent`]. A system isn't: what it has
//! told is over.

use std::collections::BTreeMap;

use anyhow::Context as _;
use wattle_edge_core::site::Part;
use wattle_edge_core::{DeviceMachine, PeerMachine};
use wattle_wire::row::{Record, Row};
use wattle_wire::{DeviceId, SiteId};

use crate::checkpoint::{Checkpoint, DeviceState};
use crate::journal::{Journal, Recovery, Repaired, Rows};

/// Where a device's machine is kept.
pub type Machines = BTreeMap<(SiteId, DeviceId), PeerMachine>;

/// What is known of a journal.
#[derive(Debug, Default)]
pub struct Known {
    /// The last entry that a device's machine knows of.
    sequences: BTreeMap<(SiteId, DeviceId), u64>,
    /// The machines of devices that are in no site file.
    absent: Machines,
}

impl Known {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the state of a device that is in no site file.
    fn restore_absent(&mut self, key: (SiteId, DeviceId), state: &DeviceState) {
        let mut machine = absent(&key);
        // What can't be read is a system's, or of a program to come.
        if machine.restore(&state.state).is_ok() {
            self.sequences.insert(key.clone(), state.sequence);
            self.absent.insert(key, machine);
        }
    }

    /// Takes a row of a device that is in no site file.
    fn replay_absent(&mut self, key: (SiteId, DeviceId), record: &Record) {
        if is_numbered(&record.row) || self.absent.contains_key(&key) {
            let machine = self.absent.entry(key.clone()).or_insert_with(|| absent(&key));
            machine.replay(&record.row, record.at_us);
            self.sequences.insert(key, record.sequence);
        }
    }

    fn into_absent(self) -> Vec<((SiteId, DeviceId), DeviceState)> {
        let Self { sequences, absent } = self;
        let state = |(key, machine): ((SiteId, DeviceId), PeerMachine)| {
            let sequence = sequences.get(&key).copied().unwrap_or_default();
            (key, DeviceState { sequence, state: machine.state() })
        };
        absent.into_iter().map(state).collect()
    }
}

/// The machine of a device that is in no site file: what it is makes no difference to what it has sent.
fn absent((site, device): &(SiteId, DeviceId)) -> PeerMachine {
    PeerMachine::Device(Box::new(DeviceMachine::new(site.clone(), device.clone(), Part::Site)))
}

/// A journal that was opened, and the machines as of its last entry.
pub struct Restored {
    /// The journal.
    pub log: Journal,
    /// The machines of the devices.
    pub machines: Machines,
    /// Their states, all as of the journal's last entry.
    pub checkpoint: Checkpoint,
    /// What was found, for people.
    pub note: String,
}

/// Brings the machines, which know of nothing, to where the journal ends.
///
/// # Errors
/// When the journal's rows can't be read from the disk.
pub fn restore(log: Journal, recovery: Recovery, machines: Machines) -> anyhow::Result<Restored> {
    restore_knowing(log, recovery, machines, Known::new())
}

/// As [`restore`], for machines that know of something.
///
/// # Errors
/// As there.
pub fn restore_knowing(
    log: Journal,
    recovery: Recovery,
    mut machines: Machines,
    mut known: Known,
) -> anyhow::Result<Restored> {
    let Recovery { last, checkpoint, rows, repaired, .. } = recovery;
    let replayed = replay(checkpoint, rows, &mut machines, &mut known)?;
    let mut checkpoint = Checkpoint::default();
    for ((site, device), machine) in &machines {
        checkpoint.keep(site.clone(), device.clone(), last, Some(machine.state()));
    }
    checkpoint.carry(known.into_absent());
    let mut note = format!("journal at {last}, {replayed} rows replayed");
    if repaired != Repaired::default() {
        tracing::warn!(?repaired, "the journal was repaired");
        let missing: Vec<String> =
            repaired.missing_segments.iter().map(|(from, to)| format!("{from}..={to}")).collect();
        note.push_str(&format!(
            "; repaired: {} bytes of cut writes, {} damaged places, {} files set aside, missing segments [{}]",
            repaired.torn_bytes,
            repaired.damaged_places,
            repaired.set_aside.len(),
            missing.join(", ")
        ));
    }
    Ok(Restored { log, machines, checkpoint, note })
}

/// Brings the machines to where a journal of a former life ends, of which a new one goes on: see
/// [`crate::journal::former`]. `known` is what they know of its rows from the life before it. Gives what they know of the new
/// one's rows: where a copy was declared, its last rows are the first of that, and the checkpoint that stayed behind knows of them.
///
/// # Errors
/// As [`restore`].
pub fn restore_former(
    recovery: Recovery,
    machines: &mut Machines,
    mut known: Known,
) -> anyhow::Result<Known> {
    replay(recovery.checkpoint, recovery.rows, machines, &mut known)?;
    let behind = |(key, sequence): ((SiteId, DeviceId), u64)| {
        sequence.checked_sub(recovery.last).map(|sequence| (key, sequence))
    };
    let sequences = known.sequences.into_iter().filter_map(behind).collect();
    Ok(Known { sequences, absent: known.absent })
}

/// Gives each machine its state of the checkpoint and the rows after it; gives how many rows there were. `known` is what the
/// machines know of the journal's rows, and then what the checkpoint does.
fn replay(
    checkpoint: Option<(u64, Vec<u8>)>,
    rows: Rows,
    machines: &mut Machines,
    known: &mut Known,
) -> anyhow::Result<u64> {
    let kept = checkpoint.map(|(_, bytes)| Checkpoint::decode(&bytes));
    let kept = kept.transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "starting from the rows alone; what was sent before them may be taken twice");
        None
    });
    for (key, state) in kept.unwrap_or_default().devices {
        let Some(machine) = machines.get_mut(&key) else {
            known.restore_absent(key, &state);
            continue;
        };
        match machine.restore(&state.state) {
            Ok(()) => {
                known.sequences.insert(key, state.sequence);
            }
            Err(error) => {
                tracing::error!(%error, device = %key.1, "starting this device from the rows alone")
            }
        }
    }
    let mut replayed = 0_u64;
    for record in rows {
        let record = record.context("can't read the journal's rows")?;
        replayed += 1;
        let Some(key) = device_of(&record.row) else { continue };
        if known.sequences.get(&key).is_some_and(|sequence| record.sequence <= *sequence) {
            continue;
        }
        match machines.get_mut(&key) {
            Some(machine) => machine.replay(&record.row, record.at_us),
            None => known.replay_absent(key, &record),
        }
    }
    Ok(replayed)
}

fn is_numbered(row: &Row) -> bool {
    match row {
        Row::Reading(reading) => reading.number.is_some(),
        Row::Event(event) => event.number.is_some(),
        Row::Decision(_) | Row::Gap(_) => false,
    }
}

fn device_of(row: &Row) -> Option<(SiteId, DeviceId)> {
    match row {
        Row::Reading(reading) => Some((reading.site.clone(), reading.device.clone())),
        Row::Event(event) => event.device.clone().map(|device| (event.site.clone(), device)),
        Row::Decision(_) | Row::Gap(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wattle_edge_core::DeviceOutput;
    use wattle_wire::message::{Number, Values};
    use wattle_wire::row::Reading;
    use wattle_wire::topic::Channel;
    use wattle_wire::{EdgeId, Micros};

    use super::*;
    use crate::journal::Options;
    use crate::journal::memory_disk::MemoryDisk;

    fn key() -> (SiteId, DeviceId) {
        (SiteId::new("depot").expect("name"), DeviceId::new("cp-1").expect("name"))
    }

    fn open(disk: &MemoryDisk, dir: &str) -> (Journal, Recovery) {
        let options = Options::new(dir, EdgeId::new("edge-t").expect("name"));
        Journal::open_on(Arc::new(disk.clone()), options, Micros(0)).expect("opened")
    }

    /// A journal with a reading of the device under each of these numbers.
    fn append(log: &mut Journal, numbers: std::ops::RangeInclusive<u64>) {
        for seq in numbers {
            let (site, device) = key();
            let (number, values) = (Some(Number { boot: 1, seq }), Values::default());
            let reading = Reading {
                site,
                device,
                number,
                measured_us: None,
                state: None,
                setpoint: None,
                session: None,
                values,
            };
            log.append(Micros(1), Row::Reading(reading)).expect("room");
        }
        log.sync().expect("room");
    }

    /// A start without the device, which ends with a checkpoint.
    fn start_without(disk: &MemoryDisk, known: Known) {
        let (log, recovery) = open(disk, "/journal");
        let last = recovery.last;
        let restored = restore_knowing(log, recovery, Machines::new(), known).expect("readable");
        let Restored { mut log, checkpoint, .. } = restored;
        assert_eq!((checkpoint.covered(), checkpoint.absent.len()), (None, 1));
        log.checkpoint(last, &checkpoint.encode()).expect("room");
    }

    /// In a start with the device all these numbers are repetitions, and the one behind them is none.
    fn check_known(disk: &MemoryDisk, to: u64) {
        let (log, recovery) = open(disk, "/journal");
        let machines = Machines::from([(key(), absent(&key()))]);
        let mut restored = restore(log, recovery, machines).expect("readable");
        assert!(restored.checkpoint.absent.is_empty());
        let machine = restored.machines.get_mut(&key()).expect("there");
        for seq in 1..=to + 1 {
            let mut out = DeviceOutput::default();
            machine.handle(
                Channel::Reading,
                format!(r#"{{"boot":1,"seq":{seq}}}"#).as_bytes(),
                Micros(1),
                &mut out,
            );
            assert_eq!(out.rows.len(), usize::from(seq > to), "{seq}");
        }
    }

    #[test]
    fn a_device_without_a_machine_is_known_again_from_its_rows_and_from_the_checkpoints_of_starts_without_it()
    {
        let disk = MemoryDisk::default();
        append(&mut open(&disk, "/journal").0, 1..=50);
        (0..3).for_each(|_| start_without(&disk, Known::new()));
        check_known(&disk, 50);
        // It was there, sent more, and the node was killed before it wrote a checkpoint.
        append(&mut open(&disk, "/journal").0, 51..=60);
        start_without(&disk, Known::new());
        check_known(&disk, 60);
    }

    #[test]
    fn what_a_former_life_knows_of_a_device_without_a_machine_the_new_one_knows() {
        let disk = MemoryDisk::default();
        append(&mut open(&disk, "/before").0, 1..=50);
        let known = restore_former(open(&disk, "/before").1, &mut Machines::new(), Known::new());
        append(&mut open(&disk, "/journal").0, 51..=60);
        start_without(&disk, known.expect("readable"));
        check_known(&disk, 60);
    }
}
