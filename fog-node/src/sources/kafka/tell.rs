//! Positions on their way to the edges.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use wattle_kafka::Faults;
use wattle_wire::kafka::{Position, partition_of, position_key};

use super::Options;
use crate::lake::Journal;

/// What librdkafka calls back.
#[derive(Default)]
struct Deliveries {
    faults: Faults,
    failed: Mutex<Vec<(Journal, Position)>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Faults::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<(Journal, Position)>;

    fn delivery(&self, result: &DeliveryResult<'_>, about: Self::DeliveryOpaque) {
        if result.is_err() {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(*about);
        }
    }
}

/// The producer of positions.
pub(super) struct Teller {
    producer: BaseProducer<Deliveries>,
    topic: String,
    partitions: u32,
}

impl Teller {
    pub(super) fn new(options: &Options, client_id: &str, partitions: u32) -> Result<Self, String> {
        let mut config = wattle_kafka::producer(&options.connection, client_id)
            .map_err(|error| format!("kafka.sasl: {error}"))?;
        // A position is small and soon replaced by a newer one.
        config.set("queue.buffering.max.kbytes", "8192").set("message.timeout.ms", "60000");
        for (key, value) in &options.overrides {
            config.set(key, value);
        }
        let producer = config.create_with_context(Deliveries::default());
        let producer = producer.map_err(|error| format!("{error}; check [kafka]"))?;
        Ok(Self { producer, topic: options.connection.positions_topic.clone(), partitions })
    }

    /// Sends positions; gives those that could not be sent, now or before.
    pub(super) fn tell(&self, positions: BTreeMap<Journal, Position>) -> Vec<(Journal, Position)> {
        let mut untold = Vec::new();
        for (journal, position) in positions {
            let key = position_key(&journal.edge, journal.incarnation);
            let payload = position.encode();
            let partition = partition_of(&journal.edge, self.partitions);
            let record = BaseRecord::with_opaque_to(&self.topic, Box::new((journal, position)))
                .partition(i32::try_from(partition).unwrap_or_default())
                .key(&key)
                .payload(&payload);
            if let Err((_, record)) = self.producer.send(record) {
                untold.push(*record.delivery_opaque);
            }
        }
        self.producer.poll(Duration::ZERO);
        let failed = &self.producer.client().context().failed;
        untold.append(&mut failed.lock().unwrap_or_else(PoisonError::into_inner));
        untold
    }

    /// Waits for what was sent.
    pub(super) fn flush(&self, limit: Duration) {
        if let Err(error) = self.producer.flush(limit) {
            tracing::debug!(%error, "some positions were not told; edges hear them after their next segments");
        }
    }

    /// Why it can't be used any more.
    pub(super) fn failure(&self) -> Option<String> {
        let (code, text) = self.producer.client().fatal_error()?;
        Some(wattle_kafka::said(code, &text))
    }
}
