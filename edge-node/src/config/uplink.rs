//! `[uplink]`: which way up, and how.

use std::path::PathBuf;

use serde::Deserialize;
use wattle_kafka::TlsConfig;
use wattle_site::Problems;

use super::Config;

/// `[uplink]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UplinkConfig {
    /// `direct`: to the fog node at `address`; `kafka`: through the brokers of `[kafka]`. Default `direct`.
    pub way: UplinkWay,
    /// Direct: the fog node as `http://host:port`, or `https://host:port` with `[uplink.tls]`, or an empty text for
    /// none: then everything stays in the journal. Default `http://127.0.0.1:7400`.
    #[serde(default = "default_uplink")]
    pub address: String,
    /// Direct, `https`: the certificates of both sides. Default: none.
    pub tls: Option<UplinkTls>,
    /// The most bytes a second that go up, so that a link that has come back isn't flooded, 0 to 1073741824; 0 for
    /// no bound. What has waited goes first. Default 8388608 (8 MiB).
    #[serde(default = "default_bytes_per_second")]
    pub bytes_per_second: u64,
    /// Kafka: how messages are compressed, `zstd`, `lz4` or `none`; the segments in them are compressed already.
    /// Default `zstd`.
    pub compression: Compression,
    /// Kafka: the largest message, bytes, 65536 to 33554432; larger segments go in pieces. At most the topic's
    /// `max.message.bytes`. Default 1000000.
    #[serde(default = "default_max_message_bytes")]
    pub max_message_bytes: usize,
    /// Kafka: whether a delivery frees the journal, before the lake has the rows. Only for brokers that replicate.
    /// Default false.
    pub free_on_delivery: bool,
    /// Kafka: when nothing was heard for so many seconds of what was delivered, the oldest of it is sent once more,
    /// 10 to 86400. Default 300.
    #[serde(default = "default_probe_after_s")]
    pub probe_after_s: u64,
    /// How long a node that was told to stop waits for what is still on its way up, in ms, 0 to 600000.
    /// Default 5000.
    #[serde(default = "default_drain_ms")]
    pub drain_ms: u64,
}

/// Which way up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UplinkWay {
    /// To one fog node.
    #[default]
    Direct,
    /// Through Kafka.
    Kafka,
}

/// How messages to Kafka are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// zstd.
    #[default]
    Zstd,
    /// lz4.
    Lz4,
    /// Not at all.
    None,
}

impl Compression {
    /// As librdkafka calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }
}

/// `[uplink.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkTls {
    /// PEM file of the authority that has signed the fog node's certificate.
    pub ca: PathBuf,
    /// PEM file of the edge's certificate, with the edge's id as a DNS name.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The name that the fog node's certificate has to carry. Default: the host of `address`.
    pub server_name: Option<String>,
}

fn default_uplink() -> String {
    "http://127.0.0.1:7400".into()
}
fn default_bytes_per_second() -> u64 {
    8 << 20
}
fn default_max_message_bytes() -> usize {
    1_000_000
}
fn default_probe_after_s() -> u64 {
    300
}
fn default_drain_ms() -> u64 {
    5000
}

impl Default for UplinkConfig {
    fn default() -> Self {
        Self {
            way: UplinkWay::default(),
            address: default_uplink(),
            tls: None,
            bytes_per_second: default_bytes_per_second(),
            compression: Compression::default(),
            max_message_bytes: default_max_message_bytes(),
            free_on_delivery: false,
            probe_after_s: default_probe_after_s(),
            drain_ms: default_drain_ms(),
        }
    }
}

impl Config {
    /// Adds what doesn't fit between the way and what it needs.
    pub(super) fn validate_uplink(&self, file: &str, problems: &mut Problems) {
        let UplinkConfig { way, address, tls, .. } = &self.uplink;
        if *way == UplinkWay::Kafka {
            if !self.kafka.is_on() {
                let allowed = "name the brokers, as host:port, or take another uplink.way";
                problems.add(file, "kafka.brokers", "", allowed);
            }
            if !cfg!(feature = "kafka") {
                let allowed = "this program was built without Kafka; use `direct`";
                problems.add(file, "uplink.way", "kafka", allowed);
            }
            return;
        }
        match (address.split_once("://"), tls) {
            (None, _) if address.is_empty() => {}
            (Some(("http", _)), None) | (Some(("https", _)), Some(_)) => {}
            (Some(("http", _)), Some(_)) => {
                let allowed = "write https:// with uplink.tls, or leave that out";
                problems.add(file, "uplink.address", address, allowed);
            }
            (Some(("https", _)), None) => {
                problems.add(file, "uplink.tls", "", "https needs ca, cert and key");
            }
            _ => {
                let allowed = "give http://host:port, https://host:port, or an empty text for no fog node";
                problems.add(file, "uplink.address", address, allowed);
            }
        }
    }

    /// Adds every certificate, key and password that can't be read now, as `--check` does. A node that starts goes
    /// without: they are read at each try to connect.
    pub fn check_files(&self, file: &str, problems: &mut Problems) {
        if let (UplinkWay::Direct, Some(tls)) = (self.uplink.way, &self.uplink.tls) {
            let UplinkTls { ca, cert, key, .. } = tls.clone();
            let files = TlsConfig { ca: Some(ca), cert: Some(cert), key: Some(key) };
            files.check_files(file, "uplink.tls", problems);
        }
        if self.uplink.way == UplinkWay::Kafka {
            self.kafka.check_files(file, problems);
        }
    }
}
