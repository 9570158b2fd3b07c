//! The actors: thin shells around the machines of `wattle_edge_core`, one file each.
//!
//! ```text
//! ingress --Messages--> device --Intake--> site --Append--> journal <--requests-- uplink
//!    ^                                                         |
//!    +---------------------- Settled --------------------------+
//! ```
//!
//! Ingress, devices and sites live on the main thread; the journal has a thread of its own, because it waits
//! for the disk; so does the uplink. One message carries what one batch has for one receiver.
//!
//! Bounds: messages that carry device input are bounded by the permits of [`crate::mqtt::MAX_UNSYNCED`], and
//! every mailbox on their way is larger than that many, so that none of them is ever refused for want of
//! room and no actor ever waits for another: there is nothing to deadlock. What an actor makes by itself (a
//! decision at each interval) is bounded where it is made.
//!
//! Supervision: an actor that stops is started again by its supervisor with the machine it had. What was in
//! its hands counts as failed (see [`crate::batch`]) and comes again from the broker.

pub mod device;
pub mod ingress;
pub mod journal;
pub mod site;
pub mod uplink;

/// Room in every mailbox on the way of a message: more than there can be on their way, with some to spare
/// for what actors make by themselves.
pub const MAILBOX: usize = 2 * crate::mqtt::MAX_UNSYNCED;
