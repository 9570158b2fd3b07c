//! The way through Kafka: segments into one topic, positions out of another.
//!
//! A connection here is the life of two librdkafka clients, on a thread of their own (`client`). It begins with the position
//! that the topic of positions holds for this journal, if any, and sends what follows. librdkafka comes back by itself
//! after an outage of any length: no message is given up, the journal alone decides that. What ends a
//! connection is an error after which librdkafka can't keep its promises; the next one begins at the lake's position.
//!
//! A segment that is larger than the topic takes is sent in halves (`fit`).

mod client;
mod fit;

use std::time::Duration;

use bytes::Bytes;
use wattle_kafka::KafkaConfig;
use wattle_wire::Micros;
use wattle_wire::uplink::SegmentHeader;

pub use fit::Fit;

use super::clock::Clock;
use super::sender::{Confirmed, Offer, Rules, Sender, Step};
use super::source::Source;
use super::{LinkError, Options, Progress, gap};
use crate::config::Compression;
use client::{Client, News};

/// How Kafka is used.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// Where the brokers are and how they are greeted.
    pub connection: KafkaConfig,
    /// How messages are compressed.
    pub compression: Compression,
    /// The largest message, bytes. Default 1,000,000, what a topic takes if nothing else was said.
    pub max_message_bytes: usize,
    /// Whether a delivery to Kafka frees the journal. Default false: the lake's position does.
    pub free_on_delivery: bool,
    /// How long nothing is heard of what was delivered before the oldest of it is sent once more. Default 5 min.
    pub probe_after: Duration,
    /// How long the first answers of the brokers may take. Default 30 s.
    pub start_timeout: Duration,
    /// Settings of librdkafka that replace those that are set here, for tests: its guarantees depend on them.
    pub overrides: Vec<(String, String)>,
}

impl Kafka {
    /// The defaults for a cluster.
    pub fn new(connection: KafkaConfig) -> Self {
        Self {
            connection,
            compression: Compression::default(),
            max_message_bytes: 1_000_000,
            free_on_delivery: false,
            probe_after: Duration::from_secs(300),
            start_timeout: Duration::from_secs(30),
            overrides: Vec::new(),
        }
    }

    /// The machine's rules on this way.
    pub fn rules(&self, options: &Options) -> Rules {
        Rules {
            confirmed: Confirmed::ByDelivery,
            free_on_delivery: self.free_on_delivery,
            max_open: options.max_in_flight,
            max_open_bytes: options.max_in_flight_bytes,
            bytes_per_second: options.bytes_per_second,
            probe_after: Some(Micros(i64::try_from(self.probe_after.as_micros()).unwrap_or(i64::MAX))),
        }
    }
}

/// Connects and sends until the connection ends; it never ends well. `progress` hears of each step.
pub(super) async fn run(
    kafka: &Kafka,
    options: &Options,
    fit: &mut Fit,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> LinkError {
    match exchange(kafka, options, fit, source, progress).await {
        Ok(never) => match never {},
        Err(error) => {
            if let LinkError::RowTooLarge { .. } = error {
                // The topic may take more by now.
                fit.forget();
            }
            error
        }
    }
}

async fn exchange(
    kafka: &Kafka,
    options: &Options,
    fit: &mut Fit,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> Result<std::convert::Infallible, LinkError> {
    let clock = Clock::start();
    let mut sender = Sender::new(kafka.rules(options), clock.now());
    let limit = fit.limit(kafka.max_message_bytes);
    let mut client = Client::start(kafka, options, limit, source.edge(), source.incarnation())?;
    let found = client.ready().await?;
    progress(Progress::Connected { committed: found.and_then(|position| position.sequence) });
    if let Some(freed) = found.and_then(|position| sender.position(position, clock.now())) {
        source.committed(freed).await?;
        progress(Progress::Committed(freed));
    }
    loop {
        let step = sender.next(clock.now());
        if let (Step::Read { after }, Some((from, to))) = (step, sender.missing())
            && source.now(after).await?.is_none()
        {
            tracing::warn!(from, to, "the lake lacks entries that were freed; it gets a gap for them");
            let (header, bytes) = gap::freed(source.edge(), source.incarnation(), from, to)?;
            send(&client, &mut sender, fit::parts(header, bytes, limit)?, clock, progress)?;
            continue;
        }
        let (read, not_before) = match step {
            Step::Read { after } => (Some(after), None),
            Step::Full => (None, None),
            Step::NotBefore(moment) => (None, Some(moment)),
        };
        let wake = not_before.or(sender.probe_at()).map(|moment| clock.until(moment));
        tokio::select! {
            news = client.news() => match news? {
                News::Delivered { to } => {
                    progress(Progress::Back);
                    if let Some(freed) = sender.delivered(to) {
                        source.committed(freed).await?;
                    }
                }
                News::Position(position) => {
                    let resent = sender.resent();
                    if let Some(freed) = sender.position(position, clock.now()) {
                        source.committed(freed).await?;
                        progress(Progress::Committed(freed));
                    }
                    if sender.resent() > resent {
                        tracing::warn!(after = ?position.sequence, "the topic has lost segments; they are sent again");
                        progress(Progress::Resent);
                    }
                }
                News::Trouble(text) => progress(Progress::Away(text)),
                News::TooLarge { bytes } => {
                    fit.too_large(bytes);
                    let limit = fit.limit(kafka.max_message_bytes);
                    return Err(LinkError::Kafka(format!(
                        "a message of {bytes} bytes is more than the topic takes; going on with at most {limit}"
                    )));
                }
                News::Failed(text) => return Err(LinkError::Kafka(text)),
                News::Ready(_) => {}
            },
            segment = source.next(read.flatten()), if read.is_some() => {
                let (mut header, mut bytes) = segment?;
                if let Offer::GapFirst { from, to } = sender.offer(header.from) {
                    tracing::warn!(from, to, "the lake lacks entries that were freed; it gets a gap for them");
                    (header, bytes) = gap::freed(source.edge(), source.incarnation(), from, to)?;
                }
                send(&client, &mut sender, fit::parts(header, bytes, limit)?, clock, progress)?;
            }
            () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => sender.probe(clock.now()),
        }
        progress(Progress::Open(sender.open()));
    }
}

fn send(
    client: &Client,
    sender: &mut Sender,
    parts: Vec<(SegmentHeader, Bytes)>,
    clock: Clock,
    progress: &mut impl FnMut(Progress),
) -> Result<(), LinkError> {
    let end = parts.last().map(|(header, _)| header.to);
    for (header, bytes) in parts {
        let (to, length) = (header.to, bytes.len());
        client.send(header, bytes)?;
        if Some(to) == end {
            sender.sent(to, length, clock.now());
        } else {
            sender.sent_piece(to, length, clock.now());
        }
        progress(Progress::Sent { bytes: length });
    }
    Ok(())
}
