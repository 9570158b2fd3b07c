//! Whoever speaks to the edge under a login of its own: a device or a system.

use wattle_wire::Micros;
use wattle_wire::row::Row;
use wattle_wire::topic::Channel;

use super::state::RestoreError;
use super::system::SystemMachine;
use super::{DeviceMachine, DeviceOutput};

/// The machine of one of them.
#[derive(Debug, Clone)]
pub enum PeerMachine {
    /// A charger, a connector of one, or a meter.
    Device(Box<DeviceMachine>),
    /// Who may signal.
    System(Box<SystemMachine>),
}

impl PeerMachine {
    /// Takes a payload.
    pub fn handle(&mut self, channel: Channel, payload: &[u8], now: Micros, out: &mut DeviceOutput) {
        match self {
            Self::Device(machine) => machine.handle(channel, payload, now, out),
            Self::System(machine) => machine.handle(channel, payload, now, out),
        }
    }

    /// Refuses a payload of so many bytes of which only the beginning was kept, because it was too large for whoever read it.
    pub fn refuse_beginning(
        &mut self,
        channel: Channel,
        begins: &[u8],
        bytes: usize,
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        match self {
            Self::Device(machine) => machine.refuse_beginning(channel, begins, bytes, now, out),
            Self::System(machine) => machine.refuse_beginning(channel, begins, bytes, now, out),
        }
    }

    /// The machine of a system.
    pub fn system_mut(&mut self) -> Option<&mut SystemMachine> {
        match self {
            Self::Device(_) => None,
            Self::System(machine) => Some(machine),
        }
    }

    /// The state for a checkpoint.
    pub fn state(&self) -> Vec<u8> {
        match self {
            Self::Device(machine) => machine.state(),
            Self::System(machine) => machine.state(),
        }
    }

    /// Takes the state of a checkpoint in place of its own.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged; nothing has changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        match self {
            Self::Device(machine) => machine.restore(bytes),
            Self::System(machine) => machine.restore(bytes),
        }
    }

    /// Brings the state forward by a row that was journaled after it.
    pub fn replay(&mut self, row: &Row, at: Micros) {
        match self {
            Self::Device(machine) => machine.replay(row, at),
            Self::System(machine) => machine.replay(row, at),
        }
    }
}
