//! A site on virtual time, and what must hold of it.

mod properties;
mod reference;
mod rig;
mod scenarios;
mod trees;
mod watch;
