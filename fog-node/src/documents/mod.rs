//! The way down at a fog node: documents that people send, kept until each edge has fetched its own.
//!
//! - [`store`]: the folder beside the lake.
//! - [`inbox`]: `POST /documents`.
//! - [`serve`]: the stream by which an edge fetches; it is served on the edges' port, under the same mutual TLS.
//!
//! The fog node keeps, and hands on; it runs no policy, so whether one can be used is the edge's to say, in the journal. What was
//! acknowledged to a person is on the disk. Of each (edge, site, kind) the newest document that is to be obeyed, the newest in shadow, and each
//! rollback are kept: an edge that comes back after days gets those that it lacks, the oldest first. Documents stand at the fog node that has taken them, and reach the edges that dial that one.

pub mod inbox;
pub mod serve;
pub mod store;

pub use store::Store;
