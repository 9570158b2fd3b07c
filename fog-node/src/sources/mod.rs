//! Ways in which segments come: [`direct`] from edges that dial in. All of them lead into the one [`LakeWriter`].

pub mod direct;
mod writer;

pub use writer::{Answer, LakeWriter, WriterFigures, WriterLimits};
