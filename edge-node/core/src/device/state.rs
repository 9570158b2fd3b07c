//! The checkpoint of a device machine: what must be known again after a restart. Everything else is learned
//! anew from retained messages and the next reading.
//!
//! Version 3 is written. Version 2, in which each digest stood with its number and in full, is read.

use serde::{Deserialize, Serialize};
use wattle_wire::message::Number;
use wattle_wire::row::{EventKind, Row};
use wattle_wire::{Micros, SessionId, UserId, WattHours};

use super::DeviceMachine;
use super::digest::{self, Digests, LongParts, Parts};
use super::lateness::{Lateness, Usual};
use super::numbers::{Numbers, Taken};
use super::stays::{Span, Stays};
use crate::site::Stay;

/// The version of the bytes, their first.
const STATE_VERSION: u8 = 3;
/// The one before it.
const LONG_DIGESTS: u8 = 2;

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

/// With the digests as the version has them.
#[derive(Serialize, Deserialize)]
struct State<D> {
    live_boot: Option<u32>,
    usual: Usual,
    boots: Vec<(u32, Vec<(u64, u64)>)>,
    digests: (D, D),
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
    /// The state for a checkpoint, at most about 100 kB (a device that keeps the contract: 1.1 kB).
    pub fn state(&self) -> Vec<u8> {
        let state: State<Parts> = State {
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
        let damaged = |_| RestoreError::Damaged;
        match *version {
            STATE_VERSION => self.take_up(postcard::from_bytes(rest).map_err(damaged)?, Digests::from_parts),
            LONG_DIGESTS => self.take_up(
                postcard::from_bytes::<State<LongParts>>(rest).map_err(damaged)?,
                Digests::from_long_parts,
            ),
            other => Err(RestoreError::Version(other)),
        }
    }

    fn take_up<D>(
        &mut self,
        state: State<D>,
        digests: impl FnOnce((D, D)) -> Digests,
    ) -> Result<(), RestoreError> {
        self.numbers = Numbers::from_parts(state.boots).ok_or(RestoreError::Damaged)?;
        self.live_boot = state.live_boot;
        self.lateness = Lateness::from_kept(state.usual);
        self.digests = digests(state.digests);
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

#[cfg(test)]
mod tests {
    use wattle_wire::{DeviceId, SiteId};

    use super::*;
    use crate::site::Part;

    #[test]
    fn a_checkpoint_with_long_digests_is_read() {
        let mut machine = DeviceMachine::new(
            SiteId::new("depot").expect("name"),
            DeviceId::new("cp-1").expect("name"),
            Part::Charger(0),
        );
        let number = |seq| Number { boot: 7, seq };
        let said = [1, 2, 9].map(|seq| (number(seq), 0x0123_4567_89ab_cdef_u64.rotate_left(seq as u32)));
        let state = State::<LongParts> {
            live_boot: Some(7),
            usual: Usual::default(),
            boots: vec![(7, vec![(1, 2), (9, 9)])],
            digests: (said.to_vec(), said[..1].to_vec()),
            open: None,
            closed: None,
            last_step: None,
        };
        let bytes = postcard::to_extend(&state, vec![LONG_DIGESTS]).expect("plain data");
        assert_eq!(machine.restore(&bytes), Ok(()));
        for (number, digest) in said {
            assert!(!machine.digests.contradict(number, || digest), "{number:?}");
            assert!(machine.digests.contradict(number, || !digest << 1), "{number:?}");
        }
        assert_eq!(machine.state()[0], STATE_VERSION);
        let mut again = machine.clone();
        assert_eq!(again.restore(&machine.state()), Ok(()));
        assert_eq!(again.digests, machine.digests);
    }

    #[test]
    fn a_device_that_keeps_the_contract_has_a_small_checkpoint() {
        let mut machine = DeviceMachine::new(
            SiteId::new("depot").expect("name"),
            DeviceId::new("cp-1").expect("name"),
            Part::Charger(0),
        );
        for seq in 1..=10_000 {
            machine.note(Some(Number { boot: 7, seq }), || seq);
        }
        assert!((1_000..1_100).contains(&machine.state().len()), "{}", machine.state().len());
    }
}
