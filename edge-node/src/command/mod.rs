//! What the program does beside running a node.

pub mod explain;
pub mod journal;
