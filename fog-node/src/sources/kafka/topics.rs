//! The two topics: made when they aren't there, and looked at.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Options;
use super::listener::Listener;

/// How long one question to the brokers may take.
const QUESTION: Duration = Duration::from_secs(5);
/// What our topic of segments takes, bytes: a segment of any size that edges are made for.
const MAX_MESSAGE_BYTES: &str = "8388608";

/// How many partitions the topic of positions has, once both are there.
///
/// # Errors
/// When a topic isn't there and may not or can't be made, or the brokers don't answer: what and what to do.
pub(super) fn ensure(
    options: &Options,
    consumer: &BaseConsumer<Listener>,
    runtime: &tokio::runtime::Handle,
) -> Result<u32, String> {
    let names = [&options.connection.segments_topic, &options.connection.positions_topic];
    let missing: Vec<&str> = names
        .into_iter()
        .map(|name| Ok(is_there(consumer, name)?.is_none().then_some(name.as_str())))
        .collect::<Result<Vec<_>, String>>()?
        .into_iter()
        .flatten()
        .collect();
    if !missing.is_empty() {
        if !options.create_topics {
            let names = missing.join(" and ");
            return Err(format!(
                "no topic {names}; make it as docs/kafka.md says, or set intake.create_topics"
            ));
        }
        runtime.block_on(make(options, &missing))?;
    }
    runtime.block_on(look(options));
    is_there(consumer, &options.connection.positions_topic)?
        .ok_or_else(|| format!("topic {} was made and isn't there yet", options.connection.positions_topic))
}

/// How many partitions a topic has; none when there is no such topic.
fn is_there(consumer: &BaseConsumer<Listener>, topic: &str) -> Result<Option<u32>, String> {
    use rdkafka::consumer::Consumer as _;
    match wattle_kafka::partitions(consumer, topic, QUESTION) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Ok(None)
        }
        Err(error) => {
            // Brings up why, if the client knows.
            let _ = consumer.poll(Duration::from_millis(50));
            Err(consumer.context().faults.take().map_or_else(|| said(&error), |fault| fault.text))
        }
    }
}

fn said(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or(error.to_string(), |code| wattle_kafka::said(code, &error.to_string()))
}

fn admin(options: &Options) -> Result<AdminClient<DefaultClientContext>, String> {
    let mut config = wattle_kafka::base(&options.connection, "wattle-fog")
        .map_err(|error| format!("kafka.sasl: {error}"))?;
    config.set("log_level", "0");
    config.create().map_err(|error: KafkaError| format!("{error}; check [kafka]"))
}

async fn make(options: &Options, missing: &[&str]) -> Result<(), String> {
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, options.partitions, TopicReplication::Fixed(options.replication));
            if *name == options.connection.positions_topic {
                topic.set("cleanup.policy", "compact")
            } else {
                topic.set("max.message.bytes", MAX_MESSAGE_BYTES)
            }
        })
        .collect();
    let asked = AdminOptions::new().operation_timeout(Some(QUESTION)).request_timeout(Some(2 * QUESTION));
    let made = admin(options)?.create_topics(&topics, &asked).await.map_err(|error| said(&error))?;
    for result in made {
        match result {
            Ok(name) => tracing::info!(topic = name, partitions = options.partitions, "topic made"),
            // Another fog node was first.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(format!(
                    "topic {name} can't be made: {}",
                    wattle_kafka::said(code, name.as_str())
                ));
            }
        }
    }
    Ok(())
}

/// Says what doesn't fit; brokers that don't tell are believed.
async fn look(options: &Options) {
    let positions = &options.connection.positions_topic;
    let Ok(admin) = admin(options) else { return };
    let asked = AdminOptions::new().request_timeout(Some(QUESTION));
    let Ok(found) = admin.describe_configs([&ResourceSpecifier::Topic(positions)], &asked).await else {
        return;
    };
    for config in found.into_iter().flatten() {
        let policy = config.get("cleanup.policy").and_then(|entry| entry.value.clone());
        if let Some(policy) = policy.filter(|policy| !policy.contains("compact")) {
            tracing::warn!(
                topic = positions,
                policy,
                "this topic forgets positions; set its cleanup.policy to compact, or edges send again what the lake has"
            );
        }
    }
}
