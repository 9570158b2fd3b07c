//! Segments from a topic, as a member of a consumer group; positions into another.
//!
//! [`intake`] decides, this folder's `session` does: a thread with librdkafka's clients, whose calls block and whose destructors
//! wait. A message is decoded only when the writer has room for it; meanwhile the partitions are paused, and librdkafka
//! holds at most [`PREFETCH_KBYTES`] of what comes after it.
//!
//! Several fog nodes of a group share the partitions, and write one lake. Another group reads everything once more: where it
//! writes the same lake, nothing is there twice; where it writes another, it must not tell positions
//! ([`Options::tell_positions`]), since edges free what the lake has that they hear of.
//!
//! A session ends with an error after which librdkafka can't keep its promises, or while the topics aren't there; the next one
//! begins after a wait. Every trouble is told once, by log and health, as a sentence that says what to do.

mod closing;
pub mod intake;
#[cfg(test)]
mod intake_tests;
mod listener;
mod message;
mod session;
mod tell;
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use wattle_kafka::KafkaConfig;
use wattle_process::Health;

use super::LakeWriter;
use closing::Closing;

/// What librdkafka may hold of what comes next, KiB.
pub const PREFETCH_KBYTES: usize = 16 << 10;
/// How long a session that has failed waits for the next; how often it looks whether it is to stop meanwhile.
const AGAIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// How the topics are used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the brokers are and how they are greeted.
    pub connection: KafkaConfig,
    /// The consumer group; fog nodes of one group share the partitions. Default `wattle-fog`.
    pub group: String,
    /// Whether topics that aren't there are made. Default true.
    pub create_topics: bool,
    /// How many partitions they get. Default 16.
    pub partitions: i32,
    /// How many copies they get; -1 for as many as the brokers say. Default -1.
    pub replication: i32,
    /// Whether edges are told how far this node's lake is. Default true.
    pub tell_positions: bool,
    /// Settings of librdkafka that replace those that are set here, for tests.
    pub overrides: Vec<(String, String)>,
}

impl Options {
    /// The defaults for a cluster.
    pub fn new(connection: KafkaConfig) -> Self {
        Self {
            connection,
            group: "wattle-fog".into(),
            create_topics: true,
            partitions: 16,
            replication: -1,
            tell_positions: true,
            overrides: Vec::new(),
        }
    }
}

/// Whether and how a source is to end.
#[derive(Debug, Default)]
struct Stop(AtomicU8);

impl Stop {
    const WAITING: u8 = 1;
    const AT_ONCE: u8 = 2;

    fn set(&self, how: u8) {
        self.0.store(how, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether what is under way isn't waited for.
    fn is_at_once(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::AT_ONCE
    }
}

/// A source that runs.
pub struct KafkaSource {
    stop: Arc<Stop>,
    thread: tokio::task::JoinHandle<()>,
}

impl KafkaSource {
    /// Starts to read. Must be called on a tokio runtime.
    pub fn start(options: Options, writer: LakeWriter, health: Health) -> Self {
        let stop = Arc::new(Stop::default());
        let runtime = tokio::runtime::Handle::current();
        let told = stop.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut closing = None;
            keep_reading(&options, &writer, &health, &told, &runtime, &mut closing);
            if closing.is_some_and(|closing: Closing| !closing.is_over_within(closing::LIMIT)) {
                tracing::warn!(
                    "Kafka doesn't answer; leaving without keeping the newest offsets: what comes again is known"
                );
            }
        });
        Self { stop, thread }
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), tokio::task::JoinError> {
        (&mut self.thread).await
    }

    /// Stops reading, waits for what is under way, keeps the offsets, and leaves the group.
    pub async fn stop(self) {
        self.end(Stop::WAITING).await;
    }

    /// Leaves the group at once: what is under way is read again by whoever gets the partitions.
    pub async fn abandon(self) {
        self.end(Stop::AT_ONCE).await;
    }

    async fn end(mut self, how: u8) {
        self.stop.set(how);
        // A thread that has panicked has stopped.
        let _ = (&mut self.thread).await;
    }
}

/// A source that nobody holds any more leaves the group at once: its thread would keep the runtime from ending.
impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.stop.set(Stop::AT_ONCE);
    }
}

/// One session after the other, until `stop`.
fn keep_reading(
    options: &Options,
    writer: &LakeWriter,
    health: &Health,
    stop: &Stop,
    runtime: &tokio::runtime::Handle,
    closing: &mut Option<Closing>,
) {
    let mut last = String::new();
    while !stop.is_set() {
        if closing.as_ref().is_none_or(|closing| closing.is_over_within(LOOK)) {
            let Err(text) = session::run(options, writer, health, stop, runtime, closing) else { return };
            if text != last {
                tracing::error!(why = text, "segments can't be read from Kafka; trying again");
            }
            health.fail("kafka", text.clone());
            last = text;
        }
        wait(AGAIN, stop);
    }
}

fn wait(span: Duration, stop: &Stop) {
    let end = Instant::now() + span;
    while Instant::now() < end && !stop.is_set() {
        std::thread::sleep(LOOK);
    }
}
