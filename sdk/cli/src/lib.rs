//! The one command that people type. Each subcommand is a module with its `Args` and its `run`.
//!
//! - [`sql`]: asks a fog node, or a lake folder, and prints a table, CSV, JSON or Parquet.
//! - [`bill`] and [`receipt`]: what the sessions of a month, or one session, cost.
//! - [`demo`]: a site with an outage, played by real processes, and checked.
//! - [`backtest`]: runs the history of a site again under another policy.
//! - [`policy`]: writes, builds, tests, measures, signs and runs load policies.
//! - [`replay`]: makes recorded decisions again, and explains one.
//! - [`signal`]: tells a site limits, prices, surplus and currents by hand.
//! - [`simulate`]: runs real sessions through the whole line, on virtual time.
//! - [`status`]: how the edge node and the fog node are.
//!
//! Exit codes: 0 done, 1 failed, 2 a command line or configuration that can't be used ([`Usage`]). Answers go
//! to standard output, everything else to standard error.

pub mod backtest;
pub mod bill;
pub mod demo;
pub mod exit;
pub mod format;
pub mod http;
pub mod output;
pub mod policy;
pub mod receipt;
pub mod replay;
pub mod signal;
pub mod simulate;
pub mod source;
pub mod sql;
pub mod status;

pub use exit::Usage;
