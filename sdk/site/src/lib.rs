//! The site file: circuits, chargers, meters, users, tariff; read and checked.
//!
//! [`SiteFile::parse`] takes the text of a TOML file and gives either a site in which everything fits
//! together or every mistake at once ([`Problems`]), each with file, key, value and what is allowed.
//! `docs/site.toml` is the example that ships; a test loads it.
//!
//! Invariants: a circuit's parent stands before it and the first circuit is the grid connection; every
//! charger and meter hangs on a circuit that exists; no two things share a name; safe currents and fallback budgets fit beside the
//! largest expected load. [`SiteFile::recorded`] reads what was right once. This crate opens no file.

mod amount;
mod check;
mod connector;
mod currency;
mod file;
mod hours;
mod problem;
mod read;
mod zone;

pub use connector::{Connector, Evse, Outlets};
pub use file::{Charger, ChargerKind, Circuit, Control, Meter, Shadow, SiteFile, System, Tariff, User};
pub use hours::{Day, Hours, ScheduledLimit, TimeOfDay};
pub use problem::{Problem, Problems};
pub use read::read;
