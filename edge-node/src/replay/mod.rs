//! Makes a journal's decisions again, compares them with what was recorded, and tells of one why it is as it is.
//!
//! What a site's machine is told and how that is written down stands in [`wattle_edge_core::replay`]. Here is what is around it:
//! - [`pack`]: keyframes and ticks as rows.
//! - [`shelf`]: the policies that decided, found by their digest in the folder of policies and where a node keeps versions.
//! - [`run`]: the entries of one journal in, each recorded decision compared, byte for byte, and each keyframe with the state that
//!   the replay has come to; policies in shadow too, with the states that they had. What can't be replayed (entries that are no more, damage, a policy that isn't there) is a *stretch*
//!   that is told; the replay goes on from the next keyframe.
//! - [`explain`]: why a recorded decision is as it is.
//! - [`beside`]: what another policy would have done at each of these moments.
//!
//! Where entries come from is the caller's: [`crate::journal::Reader`] reads a folder, the command `wattle` a lake.

pub mod beside;
pub mod explain;
pub mod pack;
pub mod run;
pub mod shelf;
mod tally;
#[cfg(test)]
mod tests;

pub use beside::Beside;
pub use pack::{bytes, row};
pub use run::{Audience, Replay, Silent};
pub use shelf::{Shelf, Unavailable, components, folders};
pub use tally::{Difference, MOST_KEPT, Shadows, Stretch, Tally};

/// What keyframes say of the program that has written them.
pub const PROGRAM: &str = concat!("wattle-edge ", env!("CARGO_PKG_VERSION"));
