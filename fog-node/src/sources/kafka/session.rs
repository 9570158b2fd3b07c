//! One life of the clients: reads, offers, keeps offsets, tells positions, until told to stop or an error ends it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use wattle_columns::Segment;
use wattle_process::Health;
use wattle_wire::Micros;
use wattle_wire::uplink::SegmentHeader;

use super::closing::Closing;
use super::intake::{Intake, ReadFrom, Take};
use super::listener::{Change, Listener};
use super::tell::Teller;
use super::{Options, PREFETCH_KBYTES, Stop, message, topics};
use crate::lake::Journal;
use crate::sources::{Fence, Fences, LakeWriter, Outcome};

/// How brokers name this client in their logs.
const CLIENT_ID: &str = "wattle-fog";
/// How long a look for the next message takes at most.
const LOOK: Duration = Duration::from_millis(20);
/// How long a change of place, and what is under way at the end, may take.
const SEEK: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);

/// A message that waits for room.
struct Waiting {
    partition: i32,
    offset: i64,
    generation: u64,
    header: SegmentHeader,
    bytes: Vec<u8>,
}

/// What has become of one.
type Answered = (i32, u64, i64, Journal, Outcome);

/// Reads until `stop`. The consumer's end goes on in `closing`.
///
/// # Errors
/// What keeps it from going on, and what to do.
pub(super) fn run(
    options: &Options,
    writer: &LakeWriter,
    health: &Health,
    stop: &Stop,
    runtime: &tokio::runtime::Handle,
    closing: &mut Option<Closing>,
) -> Result<(), String> {
    let fences = Arc::new(Fences::default());
    let listener = Listener::new(&options.connection.segments_topic, fences.clone());
    let consumer = consumer(options, listener)?;
    let ended = read(options, &consumer, fences, writer, health, stop, runtime);
    *closing = Closing::start(consumer).ok();
    ended
}

/// A member of the group that keeps offsets when it is told to, and at its end.
fn consumer(options: &Options, listener: Listener) -> Result<BaseConsumer<Listener>, String> {
    let mut config = wattle_kafka::consumer(&options.connection, CLIENT_ID, &options.group)
        .map_err(|error| format!("kafka.sasl: {error}"))?;
    config
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "5000")
        .set("enable.auto.offset.store", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("queued.max.messages.kbytes", PREFETCH_KBYTES.to_string())
        .set("fetch.max.bytes", "8388608")
        .set("statistics.interval.ms", "2000");
    for (key, value) in &options.overrides {
        config.set(key, value);
    }
    config.create_with_context(listener).map_err(|error| format!("{error}; check [kafka]"))
}

fn read(
    options: &Options,
    consumer: &BaseConsumer<Listener>,
    fences: Arc<Fences>,
    writer: &LakeWriter,
    health: &Health,
    stop: &Stop,
    runtime: &tokio::runtime::Handle,
) -> Result<(), String> {
    let partitions = topics::ensure(options, consumer, runtime)?;
    // What went wrong on the way to the first answer is over.
    drop(consumer.context().faults.take());
    let teller = options.tell_positions.then(|| Teller::new(options, CLIENT_ID, partitions)).transpose()?;
    let topic = options.connection.segments_topic.as_str();
    consumer.subscribe(&[topic]).map_err(|error| error.to_string())?;
    let (answer, answers) = mpsc::channel();
    let started = Instant::now();
    let session = Session {
        intake: Intake::new(fences.clone(), Micros(0)),
        fences: fences.clone(),
        consumer,
        topic,
        writer,
        health,
        teller,
        started,
        waiting: VecDeque::new(),
        seeks: BTreeMap::new(),
        paused: None,
        answer,
        answers,
        trouble: String::new(),
    };
    let ended = session.run(stop);
    // What is still under way is read again by whoever gets the partitions.
    fences.revoke_all();
    ended
}

struct Session<'a> {
    intake: Intake,
    fences: Arc<Fences>,
    consumer: &'a BaseConsumer<Listener>,
    topic: &'a str,
    writer: &'a LakeWriter,
    health: &'a Health,
    teller: Option<Teller>,
    started: Instant,
    /// Messages that came after room had run out: until the partitions are paused, a few.
    waiting: VecDeque<Waiting>,
    seeks: BTreeMap<i32, ReadFrom>,
    /// Whether what is ours is paused; none when that has to be said anew.
    paused: Option<bool>,
    answer: mpsc::Sender<Answered>,
    answers: mpsc::Receiver<Answered>,
    trouble: String,
}

impl Session<'_> {
    fn run(mut self, stop: &Stop) -> Result<(), String> {
        while !stop.is_set() {
            self.turn()?;
            if let Some(Ok(message)) = self.consumer.poll(LOOK) {
                // What came with it, an assignment most of all, is before it.
                self.take_changes();
                self.take(&message);
            }
        }
        if stop.is_at_once() { Ok(()) } else { self.drain() }
    }

    /// Everything but the next message.
    fn turn(&mut self) -> Result<(), String> {
        self.take_changes();
        self.take_answers();
        self.offer_waiting();
        self.hold_or_go_on()?;
        self.seek();
        self.store();
        self.tell();
        self.watch()
    }

    fn now(&self) -> Micros {
        Micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    fn take_changes(&mut self) {
        for change in self.consumer.context().changes() {
            match change {
                Change::Assigned(partition) => {
                    self.intake.assigned(partition);
                    // It comes unpaused, whatever the others are.
                    self.paused = None;
                }
                Change::Revoked(partition) => {
                    self.intake.revoked(partition);
                    self.seeks.remove(&partition);
                }
            }
            metrics::counter!("wattle_fog_kafka_rebalances_total").increment(1);
            tracing::info!(?change, "partitions have changed hands");
        }
    }

    fn take_answers(&mut self) {
        while let Ok((partition, generation, offset, journal, outcome)) = self.answers.try_recv() {
            let now = self.now();
            self.intake.answer(partition, generation, offset, &journal, outcome, now);
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let (partition, offset) = (message.partition(), message.offset());
        if self.seeks.contains_key(&partition) {
            // It is read again from elsewhere.
            return;
        }
        metrics::counter!("wattle_fog_kafka_messages_total").increment(1);
        let header = match message::header_of(message) {
            Ok(header) => header,
            Err(why) => return self.malformed(partition, offset, why),
        };
        match self.intake.message(partition, offset, &header, self.now()) {
            Take::Offer(generation) => {
                let bytes = message.payload().unwrap_or_default().to_vec();
                self.waiting.push_back(Waiting { partition, offset, generation, header, bytes });
            }
            Take::Known => metrics::counter!("wattle_fog_kafka_known_total").increment(1),
            Take::Foreign => {}
        }
    }

    fn malformed(&mut self, partition: i32, offset: i64, why: &str) {
        metrics::counter!("wattle_fog_kafka_malformed_total").increment(1);
        tracing::error!(partition, offset, why, "a message is no segment; it is passed over");
        self.intake.malformed(partition, offset);
    }

    fn offer_waiting(&mut self) {
        while let Some(waiting) = self.waiting.pop_front() {
            let Waiting { partition, offset, generation, .. } = waiting;
            let fence = Fence { fences: self.fences.clone(), partition, generation };
            if !fence.holds() {
                continue;
            }
            let Some(room) = self.writer.try_reserve(&waiting.bytes) else {
                self.waiting.push_front(waiting);
                return;
            };
            match Segment::decode(&waiting.bytes) {
                Ok(segment) if segment.header == waiting.header => {
                    let (answer, journal) = (self.answer.clone(), Journal::of(&segment.header));
                    if message::is_freed(&segment) && !self.intake.may_take_freed(partition, offset, &journal)
                    {
                        self.waiting.push_front(waiting);
                        return;
                    }
                    let segment = message::up_to_what_stands_beyond(segment, self.intake.beyond(&journal));
                    let done = move |outcome| {
                        // A session that has ended reads it again.
                        let _ = answer.send((partition, generation, offset, journal, outcome));
                    };
                    room.put(segment, Some(fence), Box::new(done));
                }
                Ok(_) => self.malformed(partition, offset, "its own header is another than the message's"),
                Err(error) => self.malformed(partition, offset, &error.to_string()),
            }
        }
    }

    /// Pauses what is ours while there is no room or the lake can't be written, and lets it go on.
    fn hold_or_go_on(&mut self) -> Result<(), String> {
        let hold = !self.waiting.is_empty() || self.intake.wait_until() > self.now();
        if self.paused == Some(hold) {
            return Ok(());
        }
        let ours = self.consumer.assignment().map_err(|error| error.to_string())?;
        let done = if hold { self.consumer.pause(&ours) } else { self.consumer.resume(&ours) };
        done.map_err(|error| error.to_string())?;
        self.paused = Some(hold);
        metrics::gauge!("wattle_fog_kafka_paused").set(f64::from(u8::from(hold)));
        Ok(())
    }

    fn seek(&mut self) {
        self.seeks.append(&mut self.intake.seeks());
        let (consumer, topic) = (self.consumer, self.topic);
        self.seeks.retain(|partition, from| {
            let to = match from {
                ReadFrom::Beginning => Offset::Beginning,
                ReadFrom::Offset(offset) => Offset::Offset(*offset),
            };
            let sought = consumer.seek(topic, *partition, to, SEEK);
            match &sought {
                Ok(()) => tracing::info!(partition, ?from, "a partition is read again"),
                Err(error) => {
                    tracing::debug!(partition, %error, "a partition can't be read from another place yet")
                }
            }
            sought.is_err()
        });
    }

    fn store(&mut self) {
        for (partition, next) in self.intake.stored() {
            // A partition that was taken away is another's to keep.
            if let Err(error) = self.consumer.store_offset(self.topic, partition, next - 1) {
                tracing::debug!(partition, %error, "an offset can't be kept");
            }
        }
    }

    fn tell(&mut self) {
        let positions = self.intake.positions(self.now());
        let Some(teller) = &self.teller else { return };
        metrics::counter!("wattle_fog_kafka_positions_total").increment(positions.len() as u64);
        for (journal, position) in positions.iter().filter(|(_, position)| position.needs) {
            tracing::warn!(
                edge = %journal.edge, after = ?position.sequence,
                "the topic has lost segments of this edge; it is asked to send them again"
            );
        }
        for (journal, position) in teller.tell(positions) {
            self.intake.untold(journal, position);
        }
    }

    /// Health and figures.
    fn watch(&mut self) -> Result<(), String> {
        let listener = self.consumer.context();
        if let Some(fault) = listener.faults.take() {
            if fault.fatal {
                return Err(fault.text);
            }
            // What stands in brackets changes with each of librdkafka's tries.
            if fault.text.split(" (").next() != self.trouble.split(" (").next() {
                tracing::warn!(why = fault.text, "trouble with Kafka; librdkafka goes on trying");
            }
            self.health.fail("kafka", fault.text.clone());
            self.trouble = fault.text;
        }
        if let Some(failure) = self.teller.as_ref().and_then(Teller::failure) {
            return Err(failure);
        }
        if let Some((lag, connected)) = listener.standing() {
            metrics::gauge!("wattle_fog_kafka_lag_messages").set(lag as f64);
            if connected {
                self.health.clear("kafka");
                self.trouble.clear();
            }
            let figures = self.intake.figures();
            metrics::counter!("wattle_fog_kafka_holes_total").absolute(figures.holes);
            metrics::counter!("wattle_fog_kafka_searches_total").absolute(figures.searches);
            metrics::gauge!("wattle_fog_kafka_under_way").set(self.intake.under_way() as f64);
        }
        Ok(())
    }

    /// Waits for what is under way. The offsets are kept when the consumer is closed.
    fn drain(mut self) -> Result<(), String> {
        let end = Instant::now() + DRAIN;
        if let Ok(ours) = self.consumer.assignment() {
            // What can't be paused is read again by the next one.
            let _ = self.consumer.pause(&ours);
        }
        // What waits for room isn't under way; the next one reads it again.
        let left = self.waiting.len();
        while self.intake.under_way() > left && Instant::now() < end {
            match self.answers.recv_timeout(LOOK) {
                Ok((partition, generation, offset, journal, outcome)) => {
                    let now = self.now();
                    self.intake.answer(partition, generation, offset, &journal, outcome, now);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            // Keeps the membership alive; nothing comes from paused partitions.
            let _ = self.consumer.poll(Duration::ZERO);
            self.take_changes();
        }
        self.store();
        self.tell();
        if let Some(teller) = &self.teller {
            teller.flush(SEEK);
        }
        Ok(())
    }
}
