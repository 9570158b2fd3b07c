//! The edge node: devices in, setpoints out, nothing lost.
//!
//! ```text
//! broker --QoS 1--> mqtt lanes -> ingress -> device actors -> site actors -> journal actor -> uplink
//!   ^                                 |              setpoints <--'               |
//!   '---- PUBACK, then Ack <----------'<------------- after fsync ----------------'
//! ```
//!
//! What is decided stands in `wattle_edge_core`, without IO; this crate gives it a clock, a disk, a broker
//! and a policy. [`node::run`] puts the parts together; `docs/edge.md` is for who runs it.
//!
//! Invariants: nothing is acknowledged before it is as safe as the configured fsync policy says; every queue
//! has a bound; a setpoint never waits for the disk; what a device sends can't stop the node.

pub mod actors;
pub mod batch;
pub mod broker;
pub mod checkpoint;
pub mod clock;
pub mod command;
pub mod config;
pub mod down;
pub mod files;
pub mod foreign;
mod former;
pub mod gate;
pub mod group;
pub mod heap;
pub mod journal;
pub mod model;
pub mod mqtt;
pub mod node;
pub mod numbers;
pub mod passwords;
pub mod peers;
pub mod policy;
mod recent;
pub mod replay;
pub mod replies;
pub mod restore;
mod setup;
pub mod status;
pub mod told;
pub mod uplink;

pub use model::site_model;
