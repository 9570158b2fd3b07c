//! Brokers, processes and waiting, for tests that need real ones.
//!
//! Each test has ports and folders of its own; what it has started dies with it. Nothing here sleeps for a
//! fixed time: [`wait_for`] looks until a condition holds or a deadline passes.

mod certificates;
mod kafka;
mod mosquitto;
mod process;
mod wait;

pub use certificates::{Authority, Certified};
pub use kafka::{KAFKA_USER, Kafka, KafkaFiles};
pub use mosquitto::{MOSQUITTO, Mosquitto, hash_passwords};
pub use process::{Process, program};
pub use wait::{free_port, wait_for};
