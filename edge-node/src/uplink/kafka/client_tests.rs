//! What waits between librdkafka and who hears of it.

use rdkafka::mocking::MockCluster;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::Compression;
use crate::uplink::Way;

const LIMIT: Duration = Duration::from_secs(60);
/// Three times what may wait.
const SENT: u64 = 3 * MAX_NEWS as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_that_nobody_hears_wait_within_their_bound_and_none_is_lost() {
    let mock = MockCluster::new(1).expect("a mock");
    let connection = KafkaConfig { brokers: mock.bootstrap_servers(), ..KafkaConfig::default() };
    for topic in [&connection.segments_topic, &connection.positions_topic] {
        mock.create_topic(topic, 1, 1).expect("a topic");
    }
    let (edge, incarnation) = (EdgeId::new("edge-1").expect("a name"), Incarnation(7));
    let kafka = Kafka::new(connection.clone());
    let options = Options::on(Way::Kafka(kafka.clone()));
    let mut client = Client::start(&kafka, &options, 1_000_000, &edge, incarnation).expect("started");
    assert_eq!(client.ready().await.expect("ready"), None);
    for to in 1..=SENT {
        let header = SegmentHeader { edge: edge.clone(), incarnation, from: to, to };
        client.send(header, Bytes::from_static(b"a segment")).expect("queued");
    }
    let end = Instant::now() + LIMIT;
    while client.news.len() < MAX_NEWS {
        assert!(Instant::now() < end, "{} of {MAX_NEWS} news", client.news.len());
        sleep(Duration::from_millis(5)).await;
    }
    let position = Position { sequence: Some(SENT), needs: false };
    tell(&connection, &position_key(&edge, incarnation), &position.encode());
    assert_eq!(client.news.len(), MAX_NEWS, "the thread waits, and librdkafka keeps the rest");
    let (mut next, mut heard) = (1, None);
    while next <= SENT || heard.is_none() {
        match tokio::time::timeout_at(end, client.news()).await.expect("in time").expect("it lives") {
            News::Delivered { to } => {
                assert_eq!(to, next);
                next += 1;
            }
            News::Position(position) => heard = Some(position),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, Some(position));
}

#[test]
fn a_segment_is_compressed_as_configured_and_never_given_up() {
    for compression in [Compression::Zstd, Compression::Lz4, Compression::None] {
        let kafka = Kafka { compression, ..Kafka::new(KafkaConfig::default()) };
        let options = Options::on(Way::Kafka(kafka.clone()));
        let edge = EdgeId::new("edge-1").expect("a name");
        let settings = Settings::new(&kafka, &options, 100_000, &edge, Incarnation(7));
        let settings = producer_settings(&settings).expect("no secret");
        let effective = settings.create_native_config().expect("librdkafka takes them");
        for (key, expected) in [
            ("compression.type", compression.as_str()),
            ("enable.idempotence", "true"),
            ("acks", "-1"),
            ("message.timeout.ms", "0"),
            ("batch.size", "100000"),
        ] {
            assert_eq!(effective.get(key).expect("a setting"), expected, "{key}");
        }
    }
}

/// Whether the end is reached of a partition of which something comes each so many seconds, when nothing may come for 30 s.
fn check_reading(each: u64, messages: usize) -> bool {
    let clock = std::cell::Cell::new(Instant::now().into_std());
    let mut left = messages;
    let look = || {
        clock.set(clock.get() + Duration::from_secs(each));
        left = left.saturating_sub(1);
        if each > 30 {
            Heard::Nothing
        } else if left > 0 {
            Heard::Message
        } else {
            Heard::End
        }
    };
    comes_to_an_end(Duration::from_secs(30), || clock.get(), look)
}

#[test]
fn positions_that_take_long_to_read_are_read_to_their_end_and_brokers_that_are_silent_are_not_waited_for() {
    assert!(check_reading(1, 10_000), "as long as messages come");
    assert!(check_reading(30, 2), "at the last moment");
    assert!(!check_reading(31, 2));
}

fn tell(connection: &KafkaConfig, key: &str, payload: &[u8]) {
    let producer: BaseProducer =
        wattle_kafka::producer(connection, "test").expect("no secret").create().expect("a producer");
    let record = BaseRecord::to(&connection.positions_topic).partition(0).key(key).payload(payload);
    producer.send(record).map_err(|(error, _)| error).expect("queued");
    producer.flush(LIMIT).expect("sent");
}
