//! The checkpoint of a device machine: what must be known again after a restart. Everything else is learned
//! anew from retained messages and the next reading.

use serde::{Deserialize, Serialize};
use wattle_wire::message::Number;
use wattle_wire::row::{EventKind, Row};
use wattle_wire::{Micros, SessionId, UserId, WattHours};

use super::DeviceMachine;
use super::digest::{self, Digests, Parts};
use super::lateness::{Lateness, Usual};
use super::numbers::{Numbers, Taken};
use super::stays::{Span, Stays};
use crate::site::Stay;

/// The version of the bytes, their first.
const STATE_VERSION: u8 = 2;

/// Why a checkpoint was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by another version.
    #[error("the checkpoint has version {0}, this program reads {STATE_VERSION}; replay the journal instead")]
    Version(u8),
    /// Not a checkpoint.
    #[error("the checkpoint is damaged; replay the journal instead")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct State {
    live_boot: Option<u32>,
    usual: Usual,
    boots: Vec<(u32, Vec<(u64, u64)>)>,
    digests: (Parts, Parts),
    open: Option<SavedSpan>,
    closed: Option<SavedSpan>,
    last_step: Option<Number>,
}

#[derive(Serialize, Deserialize)]
struct SavedSpan {
    id: SessionId,
    user: Option<UserId>,
    arrived_us: Micros,
    departure_us: Option<Micros>,
    requested_wh: Option<WattHours>,
    register_wh: Option<WattHours>,
    first: Option<Number>,
    last: Option<Number>,
    ended: bool,
}

impl DeviceMachine {
    /// The state for a checkpoint, at most about 100 kB (a device that keeps the contract: 5 kB).
    pub fn state(&self) -> Vec<u8> {
        let state = State {
            live_boot: self.live_boot,
            usual: self.lateness.kept(),
            boots: self.numbers.to_parts(),
            digests: self.digests.to_parts(),
            open: self.stays.open.as_ref().map(save),
            closed: self.stays.closed.as_ref().map(save),
            last_step: self.stays.last_step,
        };
        postcard::to_extend(&state, vec![STATE_VERSION]).expect("the state is plain data")
    }

    /// Takes the state of a checkpoint in place of its own.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged; nothing has changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (version, rest) = bytes.split_first().ok_or(RestoreError::Damaged)?;
        if *version != STATE_VERSION {
            return Err(RestoreError::Version(*version));
        }
        let state: State = postcard::from_bytes(rest).map_err(|_| RestoreError::Damaged)?;
        self.numbers = Numbers::from_parts(state.boots).ok_or(RestoreError::Damaged)?;
        self.live_boot = state.live_boot;
        self.lateness = Lateness::from_kept(state.usual);
        self.digests = Digests::from_parts(state.digests);
        self.stays =
            Stays { open: state.open.map(load), closed: state.closed.map(load), last_step: state.last_step };
        Ok(())
    }

    /// Brings the state forward by a row of this device that was journaled after the checkpoint, at `at`. A
    /// row that the checkpoint holds already does no harm; rows of others are passed over.
    pub fn replay(&mut self, row: &Row, at: Micros) {
        match row {
            Row::Reading(reading) if reading.device == self.device && reading.site == self.site => {
                let is_new = self.note(reading.number, || digest::of_reading(reading));
                if is_new {
                    self.lateness.replay(reading.measured_us, at);
                }
            }
            Row::Event(event) if event.device.as_ref() == Some(&self.device) && event.site == self.site => {
                let step = matches!(
                    event.kind,
                    EventKind::Plugged | EventKind::Started | EventKind::Ended | EventKind::Unplugged
                );
                if event.kind == EventKind::Announced
                    && let Some(boot) = super::announced_boot(&event.detail)
                {
                    self.begin(boot);
                }
                if !step {
                    if let Some(number) = event.number {
                        self.numbers.take(number);
                    }
                    return;
                }
                let known = event.number.is_some_and(|number| self.numbers.contains(number));
                self.note(event.number, || digest::of_step(event));
                if !known {
                    self.stays.replay(event, at);
                }
            }
            _ => {}
        }
    }

    /// Whether the message is new to the state; one without a number always is.
    fn note(&mut self, number: Option<Number>, digest: impl FnOnce() -> u64) -> bool {
        let Some(number) = number else { return true };
        let is_new = self.numbers.take(number) == Taken::New;
        if is_new {
            self.digests.push(number, digest());
        }
        is_new
    }
}

fn save(span: &Span) -> SavedSpan {
    let Stay { id, user, arrived_us, departure_us, requested_wh, register_wh } = span.stay.clone();
    let (first, last, ended) = (span.first, span.last, span.ended);
    SavedSpan { id, user, arrived_us, departure_us, requested_wh, register_wh, first, last, ended }
}

fn load(saved: SavedSpan) -> Span {
    let SavedSpan { id, user, arrived_us, departure_us, requested_wh, register_wh, first, last, ended } =
        saved;
    Span { stay: Stay { id, user, arrived_us, departure_us, requested_wh, register_wh }, first, last, ended }
}
