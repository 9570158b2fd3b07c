//! The firmware's logic: the state machines of a [`Charger`] and of a [`Meter`], without an operating system.
//!
//! # Use
//! A driver (a board, a Linux process, a simulation) makes a machine from what it has in storage, hands it
//! [`Input`]s with the time, and after each one takes every [`Output`] and carries it out **in order**:
//!
//! - [`Output::Store`] must be durable before the next output is carried out. A driver that can't store stops
//!   the device: what follows might tell of energy that a restart would forget.
//! - [`Output::Publish`] goes to the broker, or nowhere when there is no connection; nothing needs to be queued.
//! - [`Output::Limit`] is the most that the vehicle may draw from now on.
//!
//! `next_wakeup` says when the machine wants a [`Input::Tick`] at the latest, so that a simulated clock can jump.
//!
//! # Invariants
//! - A numbered message stays in the [`outbox`] until the edge's own acknowledgement; what no longer fits is
//!   dropped oldest reading first, and counted.
//! - No setpoint is obeyed beyond its validity, counted by the device's clock ([`setpoint`]).
//! - The register that messages show is in storage before they show it; it never falls ([`register`]).
//! - Time is an argument; it never runs backwards inside a machine, whatever the driver says.
//!
//! It does no IO and reads no clock; it has no floating point; it iterates over nothing unordered.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

pub mod charger;
pub mod config;
pub mod io;
mod line;
pub mod meter;
pub mod outbox;
mod pace;
pub mod plant;
pub mod register;
pub mod saved;
pub mod setpoint;

pub use charger::Charger;
pub use config::{ChargerConfig, LineConfig, MeterConfig, PaceConfig};
pub use io::{Input, Measurement, Now, Output, Publish, Qos, Start};
pub use line::Counters;
pub use meter::Meter;
pub use saved::{STATE_KEY, SavedError};
