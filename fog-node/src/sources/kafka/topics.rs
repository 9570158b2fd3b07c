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
/// The most that keeps the topic of positions short. An edge that connects reads all of its partition, and Kafka compacts no
/// segment that it still writes to: seven days, or a gibibyte, if nothing else was said.
const KEPT_SHORT: [(&str, &str); 4] = [
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("max.compaction.lag.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

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
                let compacted = topic.set("cleanup.policy", "compact");
                KEPT_SHORT.into_iter().fold(compacted, |topic, (key, value)| topic.set(key, value))
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
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone());
        if let Some(policy) = value("cleanup.policy").filter(|policy| !policy.contains("compact")) {
            tracing::warn!(
                topic = positions,
                policy,
                "this topic forgets positions; set its cleanup.policy to compact, or edges send again what the lake has"
            );
        }
        let to_set = grows(value).join(",");
        if !to_set.is_empty() {
            tracing::warn!(
                topic = positions,
                to_set,
                "this topic grows long before it is compacted, and each edge that connects reads all of it; set these, as \
                 docs/kafka.md says"
            );
        }
    }
}

/// What lets a topic of positions grow: each setting that is above [`KEPT_SHORT`], as it should be.
fn grows(value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
    let above = |(key, most): &(&str, &str)| value(key).is_some_and(|value| number(&value) > number(most));
    KEPT_SHORT.into_iter().filter(above).map(|(key, most)| format!("{key}={most}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[(&str, &str)], expected: &[&str]) {
        let value = |key: &str| {
            settings.iter().find(|(setting, _)| *setting == key).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(grows(value), expected, "{settings:?}");
    }

    #[test]
    fn a_topic_of_positions_that_kafkas_defaults_let_grow_is_noticed() {
        let defaults = [
            ("segment.bytes", "1073741824"),
            ("segment.ms", "604800000"),
            ("max.compaction.lag.ms", "9223372036854775807"),
            ("min.cleanable.dirty.ratio", "0.5"),
        ];
        let all = [
            "segment.bytes=16777216",
            "segment.ms=3600000",
            "max.compaction.lag.ms=3600000",
            "min.cleanable.dirty.ratio=0.01",
        ];
        check(&defaults, &all);
        check(&defaults[..1], &all[..1]);
        check(&[("segment.ms", "for ever")], &all[1..2]);
    }

    #[test]
    fn what_is_kept_shorter_still_and_brokers_that_do_not_tell_are_no_trouble() {
        check(&KEPT_SHORT, &[]);
        check(&[("segment.bytes", "1048576"), ("segment.ms", "60000")], &[]);
        check(&[], &[]);
    }
}
