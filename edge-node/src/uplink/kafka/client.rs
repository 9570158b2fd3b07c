//! librdkafka's two clients, on a thread of their own: their calls block, and their destructors wait.
//!
//! Both queues are bounded. What waits to be produced is what the sender's rules let be open, and the last segment's pieces. At most
//! [`MAX_NEWS`] news wait to be heard; then the thread waits, and librdkafka keeps the rest: deliveries of what is open, and
//! what [`POSITIONS_KBYTES`] hold of positions.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use wattle_kafka::{Faults, KafkaConfig};
use wattle_wire::EdgeId;
use wattle_wire::kafka::{
    EDGE_HEADER, FROM_HEADER, INCARNATION_HEADER, Position, TO_HEADER, partition_of, position_key,
};
use wattle_wire::uplink::{Incarnation, SegmentHeader};

use super::Kafka;
use crate::uplink::{LinkError, Options};

/// How long the thread waits for something to send before it looks at what has come.
const LOOK: Duration = Duration::from_millis(20);
/// How long one question to the brokers may take.
const QUESTION: Duration = Duration::from_secs(2);

/// How many news wait to be heard.
const MAX_NEWS: usize = 64;
/// What librdkafka holds of positions that wait to be heard, KiB.
const POSITIONS_KBYTES: &str = "1024";

/// What the thread tells.
#[derive(Debug)]
pub(super) enum News {
    /// Both topics are there; the position that is kept of this journal.
    Ready(Option<Position>),
    /// The brokers have the segment that ends at `to`.
    Delivered { to: u64 },
    /// The lake's position.
    Position(Position),
    /// The brokers are out of reach; librdkafka goes on trying.
    Trouble(String),
    /// A message of so many bytes is more than the topic takes.
    TooLarge { bytes: usize },
    /// The clients can't be used any more.
    Failed(String),
}

/// A segment to send.
type Command = (SegmentHeader, Bytes);

/// The thread's other end. Dropping it ends the thread, and what isn't delivered by then is forgotten.
pub(super) struct Client {
    commands: Sender<Command>,
    news: mpsc::Receiver<News>,
}

impl Client {
    /// Starts the thread; its first news are [`News::Ready`] or a failure.
    pub(super) fn start(
        kafka: &Kafka,
        options: &Options,
        limit: usize,
        edge: &EdgeId,
        incarnation: Incarnation,
    ) -> Result<Self, LinkError> {
        let (commands, queue) = channel();
        let (told, news) = mpsc::channel(MAX_NEWS);
        let settings = Settings::new(kafka, options, limit, edge, incarnation);
        let thread = std::thread::Builder::new().name("kafka-uplink".into());
        let run = move || {
            if let Err(text) = run(&settings, &queue, &told) {
                // Whoever listened may have gone.
                let _ = told.blocking_send(News::Failed(text));
            }
        };
        thread.spawn(run).map_err(|error| LinkError::Kafka(format!("no thread for it: {error}")))?;
        Ok(Self { commands, news })
    }

    /// Waits until the topics are there and the position is known.
    pub(super) async fn ready(&mut self) -> Result<Option<Position>, LinkError> {
        loop {
            match self.news().await? {
                News::Ready(position) => return Ok(position),
                News::Failed(text) | News::Trouble(text) => return Err(LinkError::Kafka(text)),
                _ => {}
            }
        }
    }

    /// The next news. May be dropped while it waits.
    pub(super) async fn news(&mut self) -> Result<News, LinkError> {
        self.news.recv().await.ok_or_else(|| LinkError::Kafka("its thread has ended".into()))
    }

    /// Queues a segment.
    pub(super) fn send(&self, header: SegmentHeader, bytes: Bytes) -> Result<(), LinkError> {
        self.commands.send((header, bytes)).map_err(|_| LinkError::Kafka("its thread has ended".into()))
    }
}

struct Settings {
    kafka: Kafka,
    queue_kbytes: usize,
    /// The largest segment that is sent, bytes.
    limit: usize,
    message_bytes: usize,
    edge: EdgeId,
    /// Of our positions.
    key: String,
}

impl Settings {
    fn new(kafka: &Kafka, options: &Options, limit: usize, edge: &EdgeId, incarnation: Incarnation) -> Self {
        Self {
            kafka: kafka.clone(),
            // What is open, and one more segment of any size.
            queue_kbytes: (2 * options.max_in_flight_bytes + limit) / 1024 + 1024,
            limit,
            message_bytes: limit + 4096,
            edge: edge.clone(),
            key: position_key(edge, incarnation),
        }
    }
}

/// What librdkafka calls back.
#[derive(Clone)]
struct Listener {
    faults: Arc<Faults>,
    news: mpsc::Sender<News>,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Faults::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }
}

impl ConsumerContext for Listener {}

impl ProducerContext for Listener {
    /// The last sequence, and how many bytes.
    type DeliveryOpaque = Box<(u64, usize)>;

    fn delivery(&self, result: &DeliveryResult<'_>, about: Self::DeliveryOpaque) {
        let (to, bytes) = *about;
        let news = match result {
            Ok(_) => News::Delivered { to },
            Err((error, _)) if is_too_large(error) => News::TooLarge { bytes },
            Err((error, _)) => News::Failed(said(&self.faults, error)),
        };
        // Whoever listened may have gone.
        let _ = self.news.blocking_send(news);
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

fn said(faults: &Faults, error: &KafkaError) -> String {
    if let Some(fault) = faults.take() {
        return fault.text;
    }
    error.rdkafka_error_code().map_or(error.to_string(), |code| wattle_kafka::said(code, &error.to_string()))
}

fn run(settings: &Settings, queue: &Receiver<Command>, news: &mpsc::Sender<News>) -> Result<(), String> {
    let faults = Arc::new(Faults::default());
    let listener = Listener { faults: faults.clone(), news: news.clone() };
    let deadline = Instant::now() + settings.kafka.start_timeout;
    let connection = &settings.kafka.connection;
    let consumer = consumer(settings, listener.clone())?;
    let partition = ours(&consumer, &faults, settings, &connection.segments_topic, deadline)?;
    let heard = ours(&consumer, &faults, settings, &connection.positions_topic, deadline)?;
    let position = read_position(&consumer, &faults, settings, heard, news)?;
    let producer = producer(settings, listener)?;
    // What went wrong on the way to the first answers is over.
    drop(faults.take());
    let _ = news.blocking_send(News::Ready(position));
    let ended = serve(settings, queue, news, &consumer, &producer, partition, &faults);
    // Nothing is waited for: what isn't delivered is sent again by the next connection.
    producer.purge(PurgeConfig::default().queue().inflight());
    ended
}

fn consumer(settings: &Settings, listener: Listener) -> Result<BaseConsumer<Listener>, String> {
    let name = client_id(settings);
    let mut config = wattle_kafka::consumer(&settings.kafka.connection, &name, &name)
        .map_err(|error| format!("kafka.sasl: {error}"))?;
    // Nothing is committed: a new connection reads the few positions of its partition again.
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    // Positions are small; so is what may wait of them.
    config.set("queued.max.messages.kbytes", POSITIONS_KBYTES).set("fetch.max.bytes", "1048576");
    overridden(&mut config, settings);
    config.create_with_context(listener).map_err(unusable)
}

fn producer(settings: &Settings, listener: Listener) -> Result<BaseProducer<Listener>, String> {
    let mut config = producer_settings(settings)?;
    overridden(&mut config, settings);
    config.create_with_context(listener).map_err(unusable)
}

fn producer_settings(settings: &Settings) -> Result<ClientConfig, String> {
    let kafka = &settings.kafka;
    let mut config = wattle_kafka::producer(&kafka.connection, &client_id(settings))
        .map_err(|error| format!("kafka.sasl: {error}"))?;
    config
        .set("compression.type", kafka.compression.as_str())
        .set("message.max.bytes", settings.message_bytes.max(1_000_000).to_string())
        // Brokers hold a topic's limit against the batch, not against each message of it.
        .set("batch.size", settings.limit.to_string())
        .set("queue.buffering.max.kbytes", settings.queue_kbytes.to_string());
    Ok(config)
}

fn overridden(config: &mut ClientConfig, settings: &Settings) {
    for (key, value) in &settings.kafka.overrides {
        config.set(key, value);
    }
}

fn client_id(settings: &Settings) -> String {
    format!("wattle-edge-{}", settings.edge)
}

/// librdkafka refuses its settings: a certificate that can't be read, most of all.
fn unusable(error: KafkaError) -> String {
    format!("{error}; check [kafka]")
}

/// Our partition of a topic; asks until it is there.
fn ours(
    consumer: &BaseConsumer<Listener>,
    faults: &Faults,
    settings: &Settings,
    topic: &str,
    deadline: Instant,
) -> Result<i32, String> {
    loop {
        let error = match wattle_kafka::partitions(consumer, topic, QUESTION) {
            Ok(count) => return Ok(partition_of(&settings.edge, count) as i32),
            Err(error) => error,
        };
        // Brings up why, if the clients know.
        let _ = consumer.poll(LOOK);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            return Err(format!("topic {topic}: {}", said(faults, &error)));
        }
        if let Some(fault) = faults.take() {
            return Err(fault.text);
        }
        if Instant::now() >= deadline {
            return Err(said(faults, &error));
        }
    }
}

/// Reads the partition of positions to its end and gives the newest of ours. That takes as long as it takes while messages come.
fn read_position(
    consumer: &BaseConsumer<Listener>,
    faults: &Faults,
    settings: &Settings,
    partition: i32,
    news: &mpsc::Sender<News>,
) -> Result<Option<Position>, String> {
    let KafkaConfig { positions_topic, .. } = &settings.kafka.connection;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(positions_topic, partition, Offset::Beginning).map_err(unusable)?;
    consumer.assign(&list).map_err(unusable)?;
    let (mut found, mut trouble) = (None, None);
    let look = || {
        let heard = match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                found = position(settings, message.key(), message.payload()).or(found);
                Heard::Message
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Heard::End,
            Some(Err(_)) | None => Heard::Nothing,
        };
        trouble = faults.take().or(trouble.take());
        // Whoever waits for it may have gone.
        if news.is_closed() { Heard::End } else { heard }
    };
    if comes_to_an_end(settings.kafka.start_timeout, Instant::now, look) {
        return Ok(found);
    }
    let trouble = trouble.map(|fault| format!(": {}", fault.text)).unwrap_or_default();
    Err(format!("positions can't be read from {positions_topic}{trouble}"))
}

/// What one look has brought.
enum Heard {
    Message,
    End,
    Nothing,
}

/// Looks until the end comes; not any more once nothing has come for `limit`.
fn comes_to_an_end(limit: Duration, now: impl Fn() -> Instant, mut look: impl FnMut() -> Heard) -> bool {
    let mut silent_since = now();
    loop {
        match look() {
            Heard::End => return true,
            Heard::Message => silent_since = now(),
            Heard::Nothing if now() - silent_since >= limit => return false,
            Heard::Nothing => {}
        }
    }
}

/// A message of the topic of positions, if it is ours and can be read.
fn position(settings: &Settings, key: Option<&[u8]>, payload: Option<&[u8]>) -> Option<Position> {
    if key != Some(settings.key.as_bytes()) {
        return None;
    }
    let read = Position::decode(payload?);
    read.inspect_err(|error| tracing::warn!(%error, "a position can't be read; it is passed over")).ok()
}

fn serve(
    settings: &Settings,
    queue: &Receiver<Command>,
    news: &mpsc::Sender<News>,
    consumer: &BaseConsumer<Listener>,
    producer: &BaseProducer<Listener>,
    partition: i32,
    faults: &Faults,
) -> Result<(), String> {
    loop {
        match queue.recv_timeout(LOOK) {
            Ok(command) => produce(settings, producer, partition, &command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        producer.poll(Duration::ZERO);
        while let Some(message) = consumer.poll(Duration::ZERO) {
            let Ok(message) = message else { continue };
            if let Some(position) = position(settings, message.key(), message.payload()) {
                // Whoever listened may have gone; then the queue tells.
                let _ = news.blocking_send(News::Position(position));
            }
        }
        if let Some((code, text)) = producer.client().fatal_error() {
            return Err(wattle_kafka::said(code, &text));
        }
        if let Some(fault) = faults.take() {
            let _ = news.blocking_send(News::Trouble(fault.text));
        }
    }
}

fn produce(
    settings: &Settings,
    producer: &BaseProducer<Listener>,
    partition: i32,
    (header, bytes): &Command,
) -> Result<(), String> {
    let (from, to) = (header.from.to_string(), header.to.to_string());
    let incarnation = header.incarnation.to_string();
    let texts = [
        (EDGE_HEADER, header.edge.as_str()),
        (INCARNATION_HEADER, incarnation.as_str()),
        (FROM_HEADER, from.as_str()),
        (TO_HEADER, to.as_str()),
    ];
    let headers =
        texts.into_iter().fold(OwnedHeaders::new_with_capacity(texts.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
    let about = Box::new((header.to, bytes.len()));
    let record = BaseRecord::with_opaque_to(&settings.kafka.connection.segments_topic, about)
        .partition(partition)
        .key(header.edge.as_str())
        .payload(&bytes[..])
        .headers(headers);
    let mut record = Some(record);
    while let Some(next) = record.take() {
        match producer.send(next) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(LOOK);
                record = Some(back);
            }
            Err((error, _)) => return Err(error.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
