//! The fog node: positions, lake, queries, bills.
//!
//! ```text
//! sources::direct -> sources::LakeWriter -> lake (raw tables) -> lake (derived tables) -> query, billing
//! ```
//!
//! - [`sources`]: ways in which segments come; one bounded queue, one writer.
//! - [`lake`]: the Delta tables, each row in them once, and what is derived from them.
//! - [`query`]: Flight SQL over tables and views.
//! - [`billing`]: what a user owes, from sessions and a tariff.
//! - [`node`] and [`config`]: the process around them.
//!
//! Invariants: an edge is told of a position only after every raw table holds all rows up to it, on the disk; no
//! decision about cleaning, windows or money is taken here: those are functions of `wattle-fog-core`.

pub mod billing;
pub mod config;
pub mod documents;
pub mod lake;
pub mod node;
pub mod query;
pub mod sources;
mod upkeep;
