//! The host against real components: `equal-share`, and `hostile`, which misbehaves.

mod common;
mod decide;
mod load;
mod released;
mod share;
mod sign;
