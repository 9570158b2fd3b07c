//! librdkafka's settings. What isn't set here has librdkafka's default.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{IsError as _, KafkaError, RDKafkaErrorCode};

use crate::config::{KafkaConfig, SecretError, secret};

/// What every client has: brokers, encryption, who we are.
///
/// # Errors
/// When a secret can't be read.
pub fn base(config: &KafkaConfig, client_id: &str) -> Result<ClientConfig, SecretError> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", client_id)
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000")
        // So that topics that were made anew are found soon.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("metadata.max.age.ms", "30000")
        // Errors come as events; what they say is told by `Faults`.
        .set("log.connection.close", "false");
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.cert),
            ("ssl.key.location", &tls.key),
        ];
        for (key, path) in files {
            if let Some(path) = path {
                client.set(key, path.display().to_string());
            }
        }
    }
    if let Some(sasl) = &config.sasl {
        client
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", secret(&sasl.password_file)?);
    }
    Ok(client)
}

/// A producer that loses nothing and repeats nothing within its life, and never gives up by itself.
///
/// # Errors
/// When a secret can't be read.
pub fn producer(config: &KafkaConfig, client_id: &str) -> Result<ClientConfig, SecretError> {
    let mut client = base(config, client_id)?;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "5");
    Ok(client)
}

/// A consumer that reads from the beginning where nothing better is known, and never makes a topic.
///
/// # Errors
/// When a secret can't be read.
pub fn consumer(config: &KafkaConfig, client_id: &str, group: &str) -> Result<ClientConfig, SecretError> {
    let mut client = base(config, client_id)?;
    client
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "false")
        // A member that was killed holds its partitions for so long, also from itself after a restart.
        .set("session.timeout.ms", "10000")
        .set("fetch.wait.max.ms", "100");
    Ok(client)
}

/// How many partitions a topic has. It doesn't make the topic.
///
/// # Errors
/// [`RDKafkaErrorCode::UnknownTopicOrPartition`] when there is no such topic; or when the brokers don't answer in time.
pub fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    limit: Duration,
) -> Result<u32, KafkaError> {
    let unknown = || KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let metadata = consumer.fetch_metadata(Some(topic), limit)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(unknown)?;
    if let Some(error) = found.error().filter(|error| error.is_error()) {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    u32::try_from(found.partitions().len()).ok().filter(|count| *count > 0).ok_or_else(unknown)
}
