//! What librdkafka calls back: trouble, assignments, and how its queues stand.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use wattle_kafka::Faults;

use crate::sources::Fences;

/// A change of what is ours to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(i32),
    Revoked(i32),
}

/// The consumer's listener.
pub(super) struct Listener {
    pub(super) faults: Faults,
    fences: Arc<Fences>,
    topic: String,
    changes: Mutex<Vec<Change>>,
    /// Messages between the stored offsets and the ends of our partitions, and whether a broker is connected.
    standing: Mutex<Option<(i64, bool)>>,
}

impl Listener {
    pub(super) fn new(topic: &str, fences: Arc<Fences>) -> Self {
        Self {
            faults: Faults::default(),
            fences,
            topic: topic.to_owned(),
            changes: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    /// The changes since this was last asked.
    pub(super) fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lag in messages and whether a broker is connected, if that is news.
    pub(super) fn standing(&self) -> Option<(i64, bool)> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Faults::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        let partitions =
            statistics.topics.get(&self.topic).into_iter().flat_map(|topic| topic.partitions.values());
        let ours = partitions.filter(|partition| self.fences.generation(partition.partition).is_some());
        let lag = ours.map(|partition| partition.consumer_lag_stored.max(0)).sum();
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some((lag, connected));
    }
}

impl ConsumerContext for Listener {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                for element in list.elements() {
                    // At once, on whatever thread this is: nothing of it may be committed from here on.
                    self.fences.revoke(element.partition());
                    self.note(Change::Revoked(element.partition()));
                }
            }
            Rebalance::Assign(list) => {
                list.elements().iter().for_each(|element| self.note(Change::Assigned(element.partition())));
            }
            Rebalance::Error(error) => self.faults.note(error, &error.to_string()),
        }
    }
}
