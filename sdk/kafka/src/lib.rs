//! The connection to Kafka that both nodes share: its configuration, its checks, its clients.
//!
//! - [`KafkaConfig`]: the table `[kafka]` of `edge.toml` and `fog.toml`; the same text serves both.
//! - `client` (a feature): librdkafka's settings from that, and its errors as sentences that say what to do.
//!
//! What travels through the topics stands in `wattle_wire::kafka`. Secrets are read from files, when a connection is
//! made: a password that was changed is taken up by the next try. Nothing here decides what is sent or read.

#[cfg(feature = "client")]
mod client;
mod config;
#[cfg(feature = "client")]
mod faults;

#[cfg(feature = "client")]
pub use client::{base, consumer, partitions, producer};
pub use config::{KafkaConfig, Mechanism, SaslConfig, SecretError, TlsConfig, secret};
#[cfg(feature = "client")]
pub use faults::{Fault, Faults, said};
