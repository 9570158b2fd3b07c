//! What librdkafka makes of our settings, by its own word.
#![cfg(feature = "client")]

use wattle_kafka::KafkaConfig;

fn somewhere() -> KafkaConfig {
    KafkaConfig { brokers: "127.0.0.1:9092".into(), ..KafkaConfig::default() }
}

#[test]
fn a_producer_is_idempotent_waits_for_all_copies_and_gives_no_message_up() {
    let settings = wattle_kafka::producer(&somewhere(), "test").expect("no secret");
    let effective = settings.create_native_config().expect("librdkafka takes them");
    for (key, expected) in [
        ("enable.idempotence", "true"),
        ("acks", "-1"),
        // And not the five minutes that are librdkafka's own.
        ("message.timeout.ms", "0"),
        // Nor a number of tries after which it gives up.
        ("message.send.max.retries", "2147483647"),
    ] {
        assert_eq!(effective.get(key).expect("a setting"), expected, "{key}");
    }
}

#[test]
fn a_consumer_begins_at_the_beginning_and_makes_no_topic() {
    let settings = wattle_kafka::consumer(&somewhere(), "test", "group").expect("no secret");
    let effective = settings.create_native_config().expect("librdkafka takes them");
    for (key, expected) in [("auto.offset.reset", "smallest"), ("allow.auto.create.topics", "false")] {
        assert_eq!(effective.get(key).expect("a setting"), expected, "{key}");
    }
}
