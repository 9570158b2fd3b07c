//! What Wattle's parts say to each other: ids, units, device messages, journal rows.
//!
//! Everything that crosses a process or a disk is defined here, once:
//!
//! - [`id`]: names of sites, devices, circuits, users, sessions and edges.
//! - [`unit`](mod@unit): integer amounts, each with its unit in its name.
//! - [`topic`], [`message`] and [`signal`]: the MQTT contract between a device, or a system outside, and an edge (JSON).
//! - [`policy`]: what a load policy sees and gives.
//! - [`row`]: what an edge journals (postcard) and a fog node turns into tables.
//! - [`uplink`]: the frames around sealed segments on their way up.
//! - [`kafka`]: the same where they go through Kafka.
//! - [`document`]: what goes the other way, down to an edge.
//!
//! Invariants: `no_std`; no floating point; nothing here reads a clock, a file or a socket; every text and
//! list that comes from outside has a stated bound, checked before it is kept.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

pub mod document;
pub mod id;
pub mod kafka;
pub mod message;
pub mod policy;
pub mod row;
pub mod signal;
pub mod topic;
pub mod unit;
pub mod uplink;

pub use id::{ChargerId, CircuitId, DeviceId, EdgeId, IdError, SessionId, SiteId, UserId};
pub use unit::{Micros, Milliamps, Millis, Millivolts, PerPhase, Phase, WattHours, Watts};
