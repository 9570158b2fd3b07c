//! A site on virtual time, and what must hold of it; what systems may tell it.

mod anomalies;
mod holding;
mod lending;
mod limits;
mod measuring;
mod properties;
mod scenarios;
mod silence;
mod systems;
mod time;
mod trees;
