//! What can happen to topics and groups.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use wattle_edge::config::Compression;
use wattle_kafka::KafkaConfig;

use crate::cluster::PARTITIONS;
use crate::edge::Edge;
use crate::fog::Fog;
use crate::rig::{Rig, until};

const GROUP: &str = "wattle-fog";
pub const QUESTION: Duration = Duration::from_secs(20);

/// Each test on librdkafka's mock and on Apache Kafka.
macro_rules! on_mock_and_apache {
    ($($name:ident($rig:ident) $body:block)*) => {
        mod mock {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(Rig::mock()).await; })*
        }
        mod apache {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(Rig::apache()).await; })*
        }
        $(async fn $name($rig: Rig) $body)*
    };
}

on_mock_and_apache! {
    a_topic_that_is_played_again_brings_nothing_twice(rig) {
        let (mut edges, fog) = settled(&rig).await;
        play_again(config(&rig));
        edges.iter_mut().for_each(|edge| edge.measure(20));
        finish(&rig, edges, fog).await;
    }

    a_rebalance_in_the_middle_loses_and_repeats_nothing(rig) {
        let mut edges: Vec<Edge> = (0..8).map(|n| rig.edge(&format!("edge-{n}"))).collect();
        edges.iter_mut().for_each(|edge| edge.start(rig.options()));
        let mut fogs = vec![rig.fog().await];
        for round in 0..6 {
            for _ in 0..5 {
                edges.iter_mut().for_each(|edge| edge.measure(10));
            }
            // Every other time the next change comes while the last one is under way.
            if round % 2 == 0 {
                goes_on(&edges).await;
            }
            // One comes, one goes in order, one is killed.
            match round % 3 {
                0 => fogs.push(rig.fog().await),
                1 => fogs.remove(0).stop().await,
                _ => {
                    fogs.push(rig.fog().await);
                    fogs.remove(0).kill().await;
                }
            }
        }
        edges.iter_mut().for_each(|edge| edge.measure(10));
        let last = fogs.remove(0);
        finish(&rig, edges, last).await;
        for fog in fogs {
            fog.stop().await;
        }
    }

    a_second_fog_node_with_a_group_of_its_own_reads_all_and_frees_nothing(rig) {
        let other = Fog::start_with(&rig.path("other"), &rig.cluster, None, |options| {
            options.group = "somebody-else".into();
            options.tell_positions = false;
        })
        .await;
        let mut edge = rig.edge("edge-1");
        edge.measure(100);
        edge.start(rig.options());
        let last = edge.last();
        until("the other lake to have all", || async {
            other.lake.positions(&edge.id, edge.incarnation).await.expect("positions") == Some(last)
        })
        .await;
        assert_eq!(edge.freed(), 0);
        let fog = rig.fog().await;
        rig.settles(&fog, &[&edge]).await;
        rig.has_once(&other.lake, &edge).await;
        edge.kill().await;
        other.stop().await;
        fog.stop().await;
    }

    a_duplicate_of_the_fog_node_with_a_group_of_its_own_writes_nothing_twice(rig) {
        let twin = Fog::start_with(&rig.lake(), &rig.cluster, None, |options| options.group = "twin".into()).await;
        let (mut edges, fog) = settled(&rig).await;
        for _ in 0..10 {
            edges.iter_mut().for_each(|edge| edge.measure(10));
            goes_on(&edges).await;
        }
        finish(&rig, edges, fog).await;
        twin.stop().await;
    }

    a_message_that_librdkafka_gives_up_is_sent_by_the_next_connection(rig) {
        let rig = if matches!(rig.cluster, crate::cluster::Cluster::Apache(..)) { Rig::apache_alone() } else { rig };
        let (mut edges, fog) = settled(&rig).await;
        // Brokers that are there answer within it, so that it is for those that are away.
        let timeout = 2 * rig.cluster.request_timeout();
        for edge in &mut edges {
            edge.kill().await;
            edge.start(rig.kafka_options(|kafka| {
                kafka.overrides.push(("message.timeout.ms".into(), timeout.as_millis().to_string()));
            }));
        }
        for edge in &edges {
            until("the connections", || async { edge.status().connected }).await;
        }
        rig.cluster.down();
        edges.iter_mut().for_each(|edge| edge.measure(20));
        let before: Vec<u64> = edges.iter().map(|edge| edge.status().connections).collect();
        let given_up = std::cell::RefCell::new(vec![false; edges.len()]);
        until("librdkafka to give up each edge's messages", || async {
            let mut given_up = given_up.borrow_mut();
            for (edge, given_up) in edges.iter().zip(given_up.iter_mut()) {
                // That is what ends a connection while the brokers are away.
                *given_up |= edge.status().reason.starts_with("Kafka: ");
            }
            given_up.iter().all(|given_up| *given_up)
        })
        .await;
        rig.cluster.up();
        for (edge, before) in edges.iter().zip(before) {
            until("another connection", || async { edge.status().connections > before }).await;
        }
        finish(&rig, edges, fog).await;
    }

    a_fog_node_that_ends_in_order_has_kept_its_offsets(rig) {
        let (edges, fog) = settled(&rig).await;
        fog.stop().await;
        assert!(is_kept_to_the_end(&group(config(&rig)), config(&rig)));
        drop(edges);
    }

    a_fog_node_ends_while_the_brokers_are_away(rig) {
        let rig = if matches!(rig.cluster, crate::cluster::Cluster::Apache(..)) { Rig::apache_alone() } else { rig };
        let (mut edges, fog) = settled(&rig).await;
        rig.cluster.down();
        // Offsets that were not kept yet are what librdkafka would wait for.
        let ended = tokio::time::timeout(crate::rig::LIMIT, fog.stop()).await;
        assert!(ended.is_ok(), "the fog node hasn't ended");
        rig.cluster.up();
        edges.iter_mut().for_each(|edge| edge.measure(10));
        let fog = rig.fog().await;
        finish(&rig, edges, fog).await;
    }

    segments_go_up_however_they_are_compressed(rig) {
        let fog = rig.fog().await;
        let mut edges = Vec::new();
        for (n, compression) in [Compression::Zstd, Compression::Lz4, Compression::None].into_iter().enumerate() {
            let mut edge = rig.edge(&format!("edge-{n}"));
            edge.measure(100);
            edge.start(rig.kafka_options(|kafka| kafka.compression = compression));
            edges.push(edge);
        }
        finish(&rig, edges, fog).await;
    }

    messages_that_are_no_segments_are_passed_over(rig) {
        let (mut edges, fog) = settled(&rig).await;
        let producer = producer(config(&rig));
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<str, str>::to(&config(&rig).segments_topic);
            let record = record.partition(partition).key("edge-1").payload("rubbish");
            producer.send(record).map_err(|(error, _)| error).expect("queued");
        }
        producer.flush(QUESTION).expect("sent");
        edges.iter_mut().for_each(|edge| edge.measure(20));
        finish(&rig, edges, fog).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_were_set_back_bring_nothing_twice() {
    let rig = Rig::apache();
    let (mut edges, fog) = settled(&rig).await;
    fog.stop().await;
    set_offsets(config(&rig), |low, _| low).await;
    let fog = rig.fog().await;
    edges.iter_mut().for_each(|edge| edge.measure(20));
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_were_set_ahead_lose_nothing_that_is_in_the_topic() {
    let rig = Rig::apache();
    let (mut edges, fog) = settled(&rig).await;
    fog.stop().await;
    // Freed by the delivery: nobody but the topic has these.
    for edge in &mut edges {
        edge.kill().await;
        edge.measure(40);
        edge.start(rig.kafka_options(|kafka| kafka.free_on_delivery = true));
    }
    for edge in &edges {
        until("the deliveries", || async { edge.freed() == edge.last() }).await;
    }
    set_offsets(config(&rig), |_, high| high).await;
    let fog = rig.fog().await;
    edges.iter_mut().for_each(|edge| edge.measure(20));
    for edge in &edges {
        let last = edge.last();
        until("what was skipped", || async {
            fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions") == Some(last)
        })
        .await;
    }
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_deleted_and_made_anew_is_filled_again_by_the_edges() {
    let rig = Rig::apache();
    let (mut edges, fog) = settled(&rig).await;
    fog.stop().await;
    // These are in the topic only, and in the journals.
    deliver(&mut edges, 30).await;
    let topics = [config(&rig).segments_topic.as_str(), config(&rig).positions_topic.as_str()];
    let admin = admin(config(&rig));
    admin.delete_topics(&topics, &AdminOptions::new()).await.expect("deleted");
    let fog = rig.fog().await;
    edges.iter_mut().for_each(|edge| edge.measure(5));
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_the_topic_has_lost_are_sent_again() {
    let rig = Rig::apache();
    let (mut edges, fog) = settled(&rig).await;
    fog.stop().await;
    deliver(&mut edges, 30).await;
    delete_records(config(&rig)).await;
    let fog = rig.fog().await;
    edges.iter_mut().for_each(|edge| edge.measure(10));
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_again_and_again_costs_nothing() {
    let rig = Rig::apache_alone();
    let (mut edges, fog) = settled(&rig).await;
    for _ in 0..3 {
        for _ in 0..5 {
            edges.iter_mut().for_each(|edge| edge.measure(10));
        }
        goes_on(&edges).await;
        rig.cluster.down();
        edges.iter_mut().for_each(|edge| edge.measure(10));
        rig.cluster.up();
    }
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_positions_is_made_so_that_it_stays_short() {
    let rig = Rig::apache();
    let (edges, fog) = settled(&rig).await;
    let topic = ResourceSpecifier::Topic(&config(&rig).positions_topic);
    let found =
        admin(config(&rig)).describe_configs([&topic], &AdminOptions::new()).await.expect("an answer");
    let settings = found.into_iter().next().expect("one topic").expect("it is there");
    for (key, expected) in [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "16777216"),
        ("segment.ms", "3600000"),
        ("max.compaction.lag.ms", "3600000"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ] {
        assert_eq!(settings.get(key).and_then(|entry| entry.value.as_deref()), Some(expected), "{key}");
    }
    finish(&rig, edges, fog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_less_than_a_batch_gets_smaller_ones() {
    let rig = Rig::apache();
    let topic = NewTopic::new(&config(&rig).segments_topic, PARTITIONS, TopicReplication::Fixed(1));
    let topic = topic.set("max.message.bytes", "100000");
    let made = admin(config(&rig)).create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    edge.measure_what_stays_large();
    edge.start(rig.options());
    finish(&rig, vec![edge], fog).await;
}

pub fn config(rig: &Rig) -> &KafkaConfig {
    rig.cluster.kafka().expect("Kafka")
}

/// Some edges, all of whose rows are in the lake.
async fn settled(rig: &Rig) -> (Vec<Edge>, Fog) {
    let fog = rig.fog().await;
    let mut edges: Vec<Edge> = (0..3).map(|n| rig.edge(&format!("edge-{n}"))).collect();
    for edge in &mut edges {
        edge.measure(60);
        edge.start(rig.options());
    }
    rig.settles(&fog, &edges.iter().collect::<Vec<_>>()).await;
    (edges, fog)
}

async fn finish(rig: &Rig, mut edges: Vec<Edge>, fog: Fog) {
    rig.settles(&fog, &edges.iter().collect::<Vec<_>>()).await;
    for edge in &mut edges {
        edge.kill().await;
    }
    fog.stop().await;
}

/// Waits until the lake has more of any of these.
async fn goes_on(edges: &[Edge]) {
    let before: Vec<u64> = edges.iter().map(Edge::freed).collect();
    until("some of it to be in the lake", || async {
        edges.iter().zip(&before).any(|(edge, before)| edge.freed() > *before)
    })
    .await;
}

/// Somebody who asks for the group's offsets.
pub fn group(config: &KafkaConfig) -> BaseConsumer {
    consumer(config, GROUP)
}

/// Whether the group has kept the end of each partition.
pub fn is_kept_to_the_end(group: &BaseConsumer, config: &KafkaConfig) -> bool {
    kept_offsets(group, config).into_iter().all(|(partition, kept)| {
        let topic = &config.segments_topic;
        let (_, high) = group.fetch_watermarks(topic, partition, QUESTION).expect("watermarks");
        kept.unwrap_or(0) == high
    })
}

/// The group's offset of each partition, if it has one.
fn kept_offsets(consumer: &BaseConsumer, config: &KafkaConfig) -> Vec<(i32, Option<i64>)> {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition(&config.segments_topic, partition);
    }
    let kept = consumer.committed_offsets(list, QUESTION).expect("the group's offsets");
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    kept.elements().iter().map(|element| (element.partition(), offset(element.offset()))).collect()
}

fn consumer(config: &KafkaConfig, group: &str) -> BaseConsumer {
    let mut settings = wattle_kafka::consumer(config, "test", group).expect("no secret");
    // Whoever looks at a topic keeps no offsets.
    settings.set("enable.auto.commit", "false").create().expect("a consumer")
}

pub fn producer(config: &KafkaConfig) -> BaseProducer {
    wattle_kafka::producer(config, "test").expect("no secret").create().expect("a producer")
}

pub fn admin(config: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    wattle_kafka::base(config, "test").expect("no secret").create().expect("an admin")
}

/// Sets the group's offsets, from the first and the end of each partition. Nobody may be in the group.
async fn set_offsets(config: &KafkaConfig, to: impl Fn(i64, i64) -> i64) {
    let consumer = consumer(config, GROUP);
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (low, high) =
            consumer.fetch_watermarks(&config.segments_topic, partition, QUESTION).expect("watermarks");
        list.add_partition_offset(&config.segments_topic, partition, Offset::Offset(to(low, high)))
            .expect("fits");
    }
    // A member that has left is forgotten in a while.
    until("the group to be empty", || async { consumer.commit(&list, CommitMode::Sync).is_ok() }).await;
}

/// Everything that is in the topic, once more at its end.
fn play_again(config: &KafkaConfig) {
    let (consumer, producer) = (consumer(config, "player"), producer(config));
    let topic = config.segments_topic.as_str();
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(topic, partition, QUESTION).expect("watermarks");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(low)).expect("fits");
        consumer.assign(&list).expect("assigned");
        for _ in low..high {
            let message = consumer.poll(QUESTION).expect("a message").expect("no error");
            let record = BaseRecord::to(topic)
                .partition(partition)
                .key(message.key().expect("a key"))
                .payload(message.payload().expect("a payload"))
                .headers(message.headers().expect("headers").detach());
            producer.send(record).map_err(|(error, _)| error).expect("queued");
        }
    }
    producer.flush(QUESTION).expect("sent");
}

pub async fn delete_records(config: &KafkaConfig) {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&config.segments_topic, partition, Offset::End).expect("fits");
    }
    admin(config).delete_records(&list, &AdminOptions::new()).await.expect("deleted");
}

/// Measures, and waits until the brokers have it.
async fn deliver(edges: &mut [Edge], readings: u64) {
    let before: Vec<u64> = edges.iter().map(|edge| edge.status().sent).collect();
    edges.iter_mut().for_each(|edge| edge.measure(readings));
    for (edge, before) in edges.iter().zip(before) {
        until("the deliveries", || async { edge.status().sent > before && edge.status().open == 0 }).await;
    }
}
