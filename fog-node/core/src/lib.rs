//! The fog node's rules, as functions: clean, window, close sessions. No file, no socket, no clock.
//!
//! - [`clean`]: a verdict for every reading, from that reading alone.
//! - [`interval`]: what a device did in each minute, from its good readings in order of time.
//! - [`session`]: the stays of vehicles, from a device's events in order of time.
//!
//! Invariants: each is a function of its arguments, so that a table that was derived can be derived again and comes
//! out the same, however its rows were batched and whenever the node was restarted. A fall of the register is
//! never energy.

pub mod clean;
pub mod interval;
pub mod session;

use wattle_wire::Micros;

/// One minute.
pub const MINUTE: Micros = Micros::from_secs(60);
