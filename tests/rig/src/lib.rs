//! A site on virtual time: the real site machine between meters, chargers and vehicles that are simulated, and messages that
//! are late, lost or there twice.
//!
//! - [`Rig`] plays it, step by step. At each step a [`Watch`] that knows what really flows, and what is on the wire,
//!   looks whether promise 1 holds on every phase of every circuit; where it doesn't, the rig panics.
//! - [`cases`] are random sites with a random history; the property tests of the core play them, and so does the benchmark
//!   `control`, for longer.
//! - [`hours`] plays many of them at once, and counts.
//! - [`parts`] are what tests build sites of.
//!
//! It does not decide anything, and knows no more of the machine than its public interface.

pub mod cases;
pub mod excuse;
pub mod hours;
mod limits;
mod look;
pub mod parts;
mod quirks;
mod readings;
mod restart;
mod rig;
mod tally;
mod vehicle;
mod watch;

pub use rig::{Kind, Pace, Rig};
pub use tally::{Tally, Worst};
pub use vehicle::Vehicle;
pub use watch::{Breaker, Flow, Outlet, Watch};
