//! The way down: documents that replace a site's policy, from a fog node or from a person on the local network.
//!
//! ```text
//! person --POST /documents--> inbox --.
//!                                     +--> worker: older? whose? signed? loads? settings? --> disk --> site's actor
//! fog node --stream of documents--> follow --'                              |                        |
//!                                                                           '--- refused: why -------+--> journal
//! ```
//!
//! # Rules
//! - Of two documents for a site the one with the higher version holds; an older one that comes late changes nothing. A document from
//!   a person gets its version here.
//! - A document is looked at as a whole before anything of it is kept: its address, its SHA-256, its signature where the node asks
//!   for one, the component, its schema, and the settings against both. What fails is *refused*, with a reason; the version that
//!   decided goes on.
//! - What is *applied* is on the disk first ([`folder`]), then told to who has sent it, to the site, and to the journal. A node that is
//!   killed in between finds it at its start, and says it again. What failed only because of the machine (a full disk) is neither: the
//!   sender is told to come again.
//! - An applied policy goes the way of every version ([`crate::policy`]): trial, active, or shadow. What becomes of it there is kept
//!   too: what fails is taken out of what stands, so that it does not come back with a restart, and the next one standing takes
//!   its place, at last the site file's.
//! - After a start the version before the newest is loaded first, so that there is one to go back to; a version that had not proven
//!   itself begins its trial anew.
//!
//! Bounds: one document at a time, as [`wattle_wire::document`] says; [`kept::MOST_STANDING`] deployments stand per site; jobs wait in
//! a queue of [`worker::QUEUE`].

pub mod board;
pub mod folder;
pub mod follow;
pub mod inbox;
mod judge;
pub mod kept;
mod number;
pub mod place;
mod stand;
pub mod start;
pub mod worker;

#[cfg(test)]
mod tests;

pub use board::Board;
pub use worker::{Answer, Down, Outcome};

/// What stands before settings in the configuration of a keyframe.
const SETTINGS: &str = "#wattle-settings ";

/// The text of a site file with the settings of what was deployed, so that a replay finds them.
pub fn with_settings<'a>(text: &str, settings: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.trim_end().to_owned();
    for settings in settings {
        // JSON has no line feed outside of its texts, and inside it is escaped.
        text.push_str(&format!("\n{SETTINGS}{settings}"));
    }
    text.push('\n');
    text
}

/// The settings that [`with_settings`] has added.
pub fn settings_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix(SETTINGS))
}
