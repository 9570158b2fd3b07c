//! A charger as it really is, with its vehicle, and a setpoint on its way to it.

use wattle_edge_core::Charger;
use wattle_wire::message::{Refusal, Setpoint};
use wattle_wire::{Micros, Milliamps, Phase};

use crate::rig::Pace;

/// A charger as it really is, with its vehicle.
#[derive(Clone)]
pub struct Vehicle {
    /// Whether it wants to charge.
    pub asks: bool,
    /// The most that the vehicle takes.
    pub takes: Milliamps,
    /// How many of the charger's phases it loads.
    pub uses: usize,
    /// On how many of its phases the charger measures its current.
    pub measures: usize,
    /// The phases that the charger is really wired to, in its order.
    pub wired: Vec<Phase>,
    /// What it draws whatever it is told.
    pub disobeys: Option<Milliamps>,
    /// How much more it draws than it was told.
    pub above: Milliamps,
    /// Whether its charger can't be reached.
    pub offline: bool,
    /// The setpoint in force.
    pub obeyed: Option<Setpoint>,
    pub(crate) expires_at: Micros,
    /// Until when it may obey what came before a setpoint that was lost or late, or whose answer was.
    pub(crate) missed_until: Micros,
    pub(crate) last: u64,
    pub(crate) booted_at: Micros,
}

/// A setpoint on its way.
pub(crate) struct Letter {
    pub(crate) arrives_at: Micros,
    pub(crate) sent_at: Micros,
    pub(crate) charger: usize,
    pub(crate) setpoint: Setpoint,
}

impl Vehicle {
    /// One that has not come yet.
    pub(crate) fn new(charger: &Charger, start: Micros) -> Self {
        Self {
            asks: false,
            takes: Milliamps::from_amps(32),
            uses: 3,
            measures: 3,
            wired: charger.wired().to_vec(),
            disobeys: None,
            above: Milliamps::ZERO,
            offline: false,
            obeyed: None,
            expires_at: start,
            missed_until: start,
            last: 0,
            booted_at: start,
        }
    }

    /// What the firmware does with a setpoint: it holds from before it was sent, by the charger's own clock.
    pub(crate) fn offer(&mut self, letter: Letter, now: Micros, pace: Pace) -> Result<(), Refusal> {
        let expires_at =
            letter.sent_at - Micros::from_millis(pace.step_ms) + letter.setpoint.validity_ms.into();
        if letter.setpoint.number <= self.last {
            return Err(Refusal::Superseded);
        }
        if letter.sent_at <= self.booted_at {
            return Err(Refusal::UnknownSeen);
        }
        if expires_at <= now {
            return Err(Refusal::Expired);
        }
        (self.last, self.expires_at) = (letter.setpoint.number, expires_at);
        self.obeyed = Some(letter.setpoint);
        Ok(())
    }
}
