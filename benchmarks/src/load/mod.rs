//! What a measurement stands on: brokers, publishers, the client that only acknowledges, and the edge, each a
//! process of its own whose CPU time can be told apart.
//!
//! A [`Worker`] is this same program started again; it says on its standard output what it has done so far, and ends
//! when its standard input does. So nothing outlives the run.

pub mod broker;
pub mod drain;
pub mod edge;
pub mod place;
pub mod publish;
pub mod worker;

pub use broker::{Broker, BrokerKind};
pub use edge::Edge;
pub use place::Place;
pub use worker::{Process, Worker};

/// The password of everyone.
pub const PASSWORD: &str = "bench";
/// The site that the devices belong to.
pub const SITE: &str = "bench";
