//! What a policy's author does, as the subcommands of `wattle policy`. Each is a module with its `Args` and its `run`.
//!
//! - [`new`]: a project in Rust, C, JavaScript or Python that holds all of Wattle that it needs.
//! - [`build`]: from a project to a component, stamped, and checked as an edge node would.
//! - [`mod@test`]: runs the cases of a project; [`cases`] is what a case is.
//! - [`mod@bench`]: what decisions take.
//! - [`inspect`]: what a component says of itself, what it imports, who signed it.
//! - [`keys`]: makes keys, signs, verifies.
//! - [`progress`] and [`paint`]: what a person at a terminal sees besides.
//!
//! Stands apart from the command line itself so that its tests link a policy host and no query engine. It knows neither
//! the edge node nor its envelope: what a policy gives is judged by the snapshot that it got.

pub mod bench;
pub mod build;
pub mod cases;
pub mod files;
pub mod inspect;
pub mod keys;
pub mod new;
pub mod paint;
pub mod progress;
pub mod test;

/// A command line or a file that can't be used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
