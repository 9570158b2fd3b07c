//! Ways in which segments come: [`direct`] from edges that dial in, and [`kafka`] from a topic. All of them lead into the
//! one [`LakeWriter`].

pub mod direct;
mod fence;
mod identity;
pub mod kafka;
mod listening;
pub(crate) mod receiving;
mod writer;

pub use fence::{Fence, Fences, UnderWay};
pub use writer::{Answer, LakeWriter, Outcome, Room, WriterFigures, WriterLimits, outcome};
