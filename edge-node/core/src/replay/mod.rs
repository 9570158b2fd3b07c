//! Writing down what a site's machine was told and when, so that every decision can be made again, to the bit.
//!
//! Most of it stands in the journal anyway: the rows of readings and events, each with its moment. What is missing are the
//! moments at which decisions were made, whose plan it was, and the few inputs that left no row or that a row doesn't tell in
//! full. That is what a [`Scribe`] gathers as **ticks**, a few bytes for each decision. Ticks are written before each decision
//! that is recorded, so whatever is recorded can be made again, and at the latest with [`MOST_TURNS`].
//!
//! A **keyframe** is the whole state from which to go on: that of the machine ([`SiteMachine::keyframe`]), who is asked, and the
//! text of the site's configuration. It is written at the start, every [`KEYFRAME_EVERY`], and after anything was lost.
//!
//! A [`Player`] takes a keyframe, the rows behind it and their ticks, and gives each decision with its setpoints. What a policy
//! has given isn't written: it is asked again, with the state that follows from its plans before. Only what it didn't give
//! (the reason of a failure) and a state that is not its own last one are. Policies in shadow are asked again in the same way: ticks
//! tell beside which decisions they were asked, and with the first after a keyframe the state that each begins with.
//!
//! Rules:
//! - *Telling* rows are those that a rule gives an input for ([`SiteMachine::expected`]). A scribe compares each input with the
//!   rule; what differs is written in full. So a replay doesn't depend on the rule being right, nor on anything
//!   that happens before the site's machine.
//! - Ticks have a digest of all that was told and decided since the ones before: a row that has another value now than it had
//!   then shows, even if nothing comes of it.
//! - Ticks are numbered from a start on without a hole. What could not be journaled makes a hole, and the next decision makes
//!   a keyframe.
//! - Bytes that are read may be hostile: they are checked, and lists in them are bounded by the record they stand in.

pub(crate) mod input;
mod keyframe;
mod player;
mod scribe;
#[cfg(test)]
mod tests;
mod ticks;
mod witness;

use std::ops::RangeInclusive;

use wattle_wire::Micros;

pub use keyframe::Keyframe;
pub use player::{Moment, PlayError, Player, Stage};
pub use scribe::Scribe;
pub use ticks::{Asked, Given};

#[cfg(doc)]
use crate::SiteMachine;

/// The time from one keyframe to the next.
pub const KEYFRAME_EVERY: Micros = Micros::from_secs(600);

/// Turns that gather before they are written although no decision is recorded: minutes of a site with an interval of
/// a second.
pub const MOST_TURNS: usize = 600;

/// Places of policies in shadow: the version on trial, and the one that is there for good.
pub const SHADOWS: usize = 2;

/// Why bytes of a journal can't be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Written by another version.
    #[error("{what} of version {found}, this program reads up to {known}; use the program that wrote them")]
    Version {
        /// What it is.
        what: &'static str,
        /// Its version.
        found: u8,
        /// The newest version that is read.
        known: u8,
    },
    /// They can't be read.
    #[error("{0} can't be read")]
    Damaged(&'static str),
}

fn read<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    known: RangeInclusive<u8>,
) -> Result<T, ReadError> {
    let (found, rest) = bytes.split_first().ok_or(ReadError::Damaged(what))?;
    if !known.contains(found) {
        return Err(ReadError::Version { what, found: *found, known: *known.end() });
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        _ => Err(ReadError::Damaged(what)),
    }
}
