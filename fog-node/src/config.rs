//! The fog node's configuration file.
//!
//! Every key has a default, so that `wattle-fog` runs without a file. An unknown key is a mistake; all mistakes are
//! told at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use wattle_fog_core::clean::Limits;
use wattle_kafka::{KafkaConfig, TlsConfig};
use wattle_process::inbox::{Tokens, token_digest};
use wattle_site::Problems;
use wattle_wire::Micros;

use crate::sources::{WriterLimits, kafka};

/// `fog.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FogConfig {
    /// The folder of the lake. Default `lake`, in the working folder.
    pub lake: PathBuf,
    /// Where edges dial in. Default 127.0.0.1:7400.
    pub uplink: SocketAddr,
    /// Where Flight SQL is answered. Default 127.0.0.1:7401.
    pub sql: SocketAddr,
    /// Where `/healthz`, `/metrics` and `/status` are. Default 127.0.0.1:7402.
    pub http: SocketAddr,
    /// The longest that a segment waits for others before they are committed, ms. Default 5000, 10 to 60000.
    pub commit_interval_ms: u64,
    /// A commit is made at once when this many bytes have come, as they stand in memory. Default 64 MiB, 64 KiB to
    /// 1 GiB.
    pub commit_bytes: usize,
    /// The most bytes that wait for a commit or are being committed, as they stand in memory; until it is decoded, a
    /// segment is taken to be 16 times as large as on its way. Default 256 MiB, from `commit_bytes` to 4 GiB less a
    /// byte.
    pub queue_bytes: usize,
    /// The most segments that wait for a commit. Default 256, 1 to 65536.
    pub queue_segments: usize,
    /// How often derived tables are brought up to the raw ones, ms. Default 3000, 100 to 3600000.
    pub derive_interval_ms: u64,
    /// How often small files are looked for and merged, ms. Default 30000, 1000 to 86400000.
    pub compact_interval_ms: u64,
    /// How large files are merged to, bytes. Default 64 MiB, 1 MiB to 1 GiB.
    pub compact_bytes: u64,
    /// How late a reading is taken as good, hours. Default 168 (7 days), 1 to 8760.
    pub late_hours: i64,
    /// Mutual TLS for the edges that dial in. Default: none.
    pub uplink_tls: Option<UplinkTls>,
    /// The brokers, for segments that come through Kafka. Default: none are read there.
    pub kafka: KafkaConfig,
    /// How Kafka's topics are read and made.
    pub intake: IntakeConfig,
    /// The folder for documents on their way down to edges. Default: beside the lake, its name with `-documents`.
    pub documents: Option<PathBuf>,
    /// Who may send documents.
    pub deploy: DeployConfig,
}

/// `[deploy]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// Who may send documents over HTTP: a name, and the SHA-256 of that person's token, 64 hexadecimal digits. Default: nobody.
    pub tokens: BTreeMap<String, String>,
}

impl DeployConfig {
    /// The digests of the tokens; those that are none are left out.
    pub fn tokens(&self) -> Tokens {
        let digest = |(name, text): (&String, &String)| Some((name.clone(), token_digest(text).ok()?));
        self.tokens.iter().filter_map(digest).collect()
    }
}

/// `[uplink_tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkTls {
    /// PEM file of the authority that signs the edges' certificates. An edge without one of it is turned away.
    pub ca: PathBuf,
    /// PEM file of the fog node's certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// `[intake]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// The consumer group; fog nodes of one group share the partitions. Default `wattle-fog`.
    pub group: String,
    /// Whether topics that aren't there are made. Default true.
    pub create_topics: bool,
    /// How many partitions they get, 1 to 10000. Default 16.
    pub partitions: i32,
    /// How many copies they get, 1 to 10; -1 for as many as the brokers say. Default -1.
    pub replication: i32,
    /// Whether edges are told how far this node's lake is, and free what it has. Only one lake may tell. Default true.
    pub tell_positions: bool,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            group: "wattle-fog".into(),
            create_topics: true,
            partitions: 16,
            replication: -1,
            tell_positions: true,
        }
    }
}

impl Default for FogConfig {
    fn default() -> Self {
        let writer = WriterLimits::default();
        Self {
            lake: PathBuf::from("lake"),
            uplink: SocketAddr::from(([127, 0, 0, 1], 7400)),
            sql: SocketAddr::from(([127, 0, 0, 1], 7401)),
            http: SocketAddr::from(([127, 0, 0, 1], 7402)),
            commit_interval_ms: 5000,
            commit_bytes: writer.commit_bytes,
            queue_bytes: writer.queue_bytes,
            queue_segments: writer.queue_segments,
            derive_interval_ms: 3000,
            compact_interval_ms: 30_000,
            compact_bytes: 64 << 20,
            late_hours: 168,
            uplink_tls: None,
            kafka: KafkaConfig::default(),
            intake: IntakeConfig::default(),
            documents: None,
            deploy: DeployConfig::default(),
        }
    }
}

impl FogConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        wattle_site::read(file, text, |config: &Self, problems| config.validate(file, problems))
    }

    fn validate(&self, file: &str, problems: &mut Problems) {
        let mut range = |key: &str, value: i128, least: i128, most: i128| {
            if value < least || value > most {
                problems.add(file, key, value, format!("use {least} to {most}"));
            }
        };
        range("commit_interval_ms", self.commit_interval_ms.into(), 10, 60_000);
        range("commit_bytes", self.commit_bytes as i128, 64 << 10, 1 << 30);
        range("queue_bytes", self.queue_bytes as i128, self.commit_bytes as i128, (4 << 30) - 1);
        range("queue_segments", self.queue_segments as i128, 1, 65_536);
        range("derive_interval_ms", self.derive_interval_ms.into(), 100, 3_600_000);
        range("compact_interval_ms", self.compact_interval_ms.into(), 1000, 86_400_000);
        range("compact_bytes", self.compact_bytes.into(), 1 << 20, 1 << 30);
        range("late_hours", self.late_hours.into(), 1, 8760);
        range("intake.partitions", self.intake.partitions.into(), 1, 10_000);
        if !(self.intake.replication == -1 || (1..=10).contains(&self.intake.replication)) {
            problems.add(file, "intake.replication", self.intake.replication, "use 1 to 10, or -1");
        }
        for (key, folder) in [("lake", Some(&self.lake)), ("documents", self.documents.as_ref())] {
            if folder.is_some_and(|folder| folder.as_os_str().is_empty()) {
                problems.add(file, key, "", "give a folder");
            }
        }
        if self.intake.group.is_empty() {
            problems.add(file, "intake.group", "", "give the group a name");
        }
        self.kafka.validate(file, problems);
        for (name, text) in &self.deploy.tokens {
            if let Err(allowed) = token_digest(text) {
                problems.add(file, format!("deploy.tokens.{name}"), text, allowed);
            }
        }
        let addresses = [("uplink", self.uplink), ("sql", self.sql), ("http", self.http)];
        for (index, (key, address)) in addresses.iter().enumerate() {
            let taken =
                addresses.iter().take(index).find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = taken {
                problems.add(file, *key, address, format!("`{other}` listens there; use another port"));
            }
        }
    }

    /// Adds every certificate, key and password that can't be read now, as `--check` does.
    pub fn check_files(&self, file: &str, problems: &mut Problems) {
        if let Some(UplinkTls { ca, cert, key }) = self.uplink_tls.clone() {
            let files = TlsConfig { ca: Some(ca), cert: Some(cert), key: Some(key) };
            files.check_files(file, "uplink_tls", problems);
        }
        if self.kafka.is_on() {
            self.kafka.check_files(file, problems);
        }
    }

    /// Where documents are kept.
    pub fn documents_folder(&self) -> PathBuf {
        self.documents.clone().unwrap_or_else(|| {
            let mut name = self.lake.clone().into_os_string();
            name.push("-documents");
            name.into()
        })
    }

    /// How Kafka's topics are read; none without brokers.
    pub fn kafka_options(&self) -> Option<kafka::Options> {
        let IntakeConfig { group, create_topics, partitions, replication, tell_positions } =
            self.intake.clone();
        self.kafka.is_on().then(|| kafka::Options {
            group,
            create_topics,
            partitions,
            replication,
            tell_positions,
            ..kafka::Options::new(self.kafka.clone())
        })
    }

    /// The bounds of the queue before the lake.
    pub fn writer_limits(&self) -> WriterLimits {
        WriterLimits {
            interval: Duration::from_millis(self.commit_interval_ms),
            commit_bytes: self.commit_bytes,
            queue_bytes: self.queue_bytes,
            queue_segments: self.queue_segments,
        }
    }

    /// The limits of cleaning.
    pub fn cleaning(&self) -> Limits {
        Limits { late: Micros::from_secs(self.late_hours.saturating_mul(3600)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = FogConfig::parse("fog.toml", text).expect_err("a mistake");
        problems.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_and_the_shipped_one_are_the_defaults() {
        let shipped = include_str!("../../deploy/fog/fog.toml");
        assert_eq!(FogConfig::parse("fog.toml", ""), Ok(FogConfig::default()));
        assert_eq!(
            FogConfig::parse("fog.toml", shipped),
            Ok(FogConfig { lake: "/var/lib/wattle/lake".into(), ..FogConfig::default() })
        );
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_key() {
        let found = problems(
            "lake = 3\nuplink = \"nowhere\"\ncommit_ms = 5\nlate_hours = -1\nqueue_segments = 0\nsql = \"127.0.0.1:7402\"",
        );
        for key in ["lake", "uplink", "commit_ms", "late_hours", "queue_segments", "http"] {
            let prefix = format!("fog.toml: {key}: ");
            assert_eq!(
                found.iter().filter(|line| line.starts_with(&prefix)).count(),
                1,
                "{key} in {found:?}"
            );
        }
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_as_it_stands() {
        let found = problems("late_hours = -1\nlake = \"\"\n[intake]\npartitions = -3");
        for line in [
            "fog.toml: late_hours: -1: use 1 to 8760",
            "fog.toml: lake: give a folder",
            "fog.toml: intake.partitions: -3: use 1 to 10000",
        ] {
            assert!(found.iter().any(|told| told == line), "{line} in {found:?}");
        }
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_one_mistake() {
        assert_eq!(problems("lake = [").len(), 1);
    }

    #[test]
    fn a_queue_holds_at_least_one_commit() {
        assert_eq!(problems("commit_bytes = 1000000\nqueue_bytes = 999999").len(), 1);
    }
}
