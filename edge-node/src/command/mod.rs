//! What the program does beside running a node.

pub mod journal;
