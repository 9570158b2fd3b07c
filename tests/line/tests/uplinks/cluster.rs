//! What stands between edges and fog nodes: nothing, a mock of Kafka, or Apache Kafka.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use wattle_kafka::KafkaConfig;
use wattle_testkit::{Kafka, free_port};

/// Partitions of a topic.
pub const PARTITIONS: i32 = 4;

pub enum Cluster {
    /// Edges dial this port.
    Direct(u16),
    Mock(Box<MockCluster<'static, DefaultProducerContext>>, KafkaConfig),
    Apache(Arc<Mutex<Kafka>>, KafkaConfig),
}

impl Cluster {
    pub fn direct() -> Self {
        Self::Direct(free_port().expect("a port"))
    }

    pub fn mock() -> Self {
        let mock = MockCluster::new(1).expect("a mock");
        let config = KafkaConfig { brokers: mock.bootstrap_servers(), ..KafkaConfig::default() };
        for topic in [&config.segments_topic, &config.positions_topic] {
            mock.create_topic(topic, PARTITIONS, 1).expect("a topic");
        }
        Self::Mock(Box::new(mock), config)
    }

    /// Topics of its own on a broker that other tests use too.
    pub fn apache() -> Self {
        static SHARED: Mutex<Weak<Mutex<Kafka>>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kafka =
            shared.upgrade().unwrap_or_else(|| Arc::new(Mutex::new(Kafka::start().expect("a broker"))));
        *shared = Arc::downgrade(&kafka);
        Self::on(kafka)
    }

    /// A broker of its own, to be killed.
    pub fn apache_alone() -> Self {
        Self::on(Arc::new(Mutex::new(Kafka::start().expect("a broker"))))
    }

    fn on(kafka: Arc<Mutex<Kafka>>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let brokers = kafka.lock().expect("sound").plain();
        let config = KafkaConfig {
            brokers,
            segments_topic: format!("segments-{n}"),
            positions_topic: format!("positions-{n}"),
            ..KafkaConfig::default()
        };
        Self::Apache(kafka, config)
    }

    /// How Kafka is reached; none on the direct way.
    pub fn kafka(&self) -> Option<&KafkaConfig> {
        match self {
            Self::Direct(_) => None,
            Self::Mock(_, config) | Self::Apache(_, config) => Some(config),
        }
    }

    /// How long a request may take in tests. A JVM that has just been started answers its first ones slowly; who asks anew
    /// after a second, on another connection, gives it more to do, and a slow machine never gets to the answers.
    pub fn request_timeout(&self) -> Duration {
        match self {
            Self::Direct(_) | Self::Mock(..) => Duration::from_secs(1),
            Self::Apache(..) => Duration::from_secs(3),
        }
    }

    /// Takes the brokers away.
    pub fn down(&self) {
        match self {
            Self::Direct(_) => {}
            Self::Mock(mock, _) => mock.broker_down(1).expect("down"),
            Self::Apache(kafka, _) => kafka.lock().expect("sound").kill().expect("killed"),
        }
    }

    /// Brings them back.
    pub fn up(&self) {
        match self {
            Self::Direct(_) => {}
            Self::Mock(mock, _) => mock.broker_up(1).expect("up"),
            Self::Apache(kafka, _) => kafka.lock().expect("sound").start_again().expect("started"),
        }
    }
}
