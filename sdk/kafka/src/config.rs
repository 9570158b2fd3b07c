//! `[kafka]`: where the brokers are, how they are greeted, and what the topics are called.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wattle_site::Problems;

/// A password file longer than this is none, bytes.
const MAX_SECRET_BYTES: u64 = 4096;
/// The most bytes that a topic's name may have.
const MAX_TOPIC_BYTES: usize = 249;

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// The brokers to begin with, as `host:port`, more than one with commas between. Default: empty, no Kafka.
    pub brokers: String,
    /// The topic of segments. Default `wattle.segments`.
    pub segments_topic: String,
    /// The compacted topic of positions. Default `wattle.positions`.
    pub positions_topic: String,
    /// Encryption. Default: none.
    pub tls: Option<TlsConfig>,
    /// Who we are to the brokers. Default: nobody.
    pub sasl: Option<SaslConfig>,
}

/// `[kafka.tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the authorities that may have signed the brokers' certificates. Default: the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate, for brokers that ask for one. Default: none.
    pub cert: Option<PathBuf>,
    /// PEM file of our certificate's key. Default: none.
    pub key: Option<PathBuf>,
}

/// `[kafka.sasl]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// `plain`, `scram-sha-256` or `scram-sha-512`.
    pub mechanism: Mechanism,
    /// As whom.
    pub user: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// As it is: only inside TLS.
    #[serde(rename = "plain")]
    Plain,
    /// By a proof that it is known.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By a proof that it is known.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Mechanism {
    /// As Kafka calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            segments_topic: "wattle.segments".into(),
            positions_topic: "wattle.positions".into(),
            tls: None,
            sasl: None,
        }
    }
}

impl KafkaConfig {
    /// Whether brokers are named.
    pub fn is_on(&self) -> bool {
        !self.brokers.trim().is_empty()
    }

    /// Adds every value that doesn't fit.
    pub fn validate(&self, file: &str, problems: &mut Problems) {
        if self.is_on() {
            for broker in self.brokers.split(',').map(str::trim).filter(|broker| !is_address(broker)) {
                problems.add(file, "kafka.brokers", broker, "give host:port, with commas between");
            }
        }
        let topics = [("segments_topic", &self.segments_topic), ("positions_topic", &self.positions_topic)];
        for (key, topic) in topics.into_iter().filter(|(_, topic)| !is_topic(topic)) {
            let allowed = "give 1 to 249 letters, digits, '.', '_' or '-'";
            problems.add(file, format!("kafka.{key}"), topic, allowed);
        }
        if self.segments_topic == self.positions_topic {
            problems.add(file, "kafka.positions_topic", &self.positions_topic, "give it a topic of its own");
        }
        if let Some(tls) = &self.tls {
            tls.validate(file, "kafka.tls", problems);
        }
    }

    /// Adds every file that can't be read now. A node that starts goes without this: a file may come later.
    pub fn check_files(&self, file: &str, problems: &mut Problems) {
        if let Some(tls) = &self.tls {
            tls.check_files(file, "kafka.tls", problems);
        }
        if let Some(Err(error)) = self.sasl.as_ref().map(|sasl| secret(&sasl.password_file)) {
            problems.add(file, "kafka.sasl.password_file", "", error.to_string());
        }
    }
}

impl TlsConfig {
    /// Adds what doesn't fit together; `table` is how mistakes name the table.
    pub fn validate(&self, file: &str, table: &str, problems: &mut Problems) {
        if self.cert.is_some() != self.key.is_some() {
            let missing = if self.cert.is_some() { "key" } else { "cert" };
            problems.add(file, format!("{table}.{missing}"), "", "give cert and key, or none of them");
        }
    }

    /// Adds every file that can't be read or holds no PEM.
    pub fn check_files(&self, file: &str, table: &str, problems: &mut Problems) {
        for (key, path) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
            let Some(path) = path else { continue };
            let why = match std::fs::read_to_string(path) {
                Ok(text) if text.contains("-----BEGIN ") => continue,
                Ok(_) => "holds no PEM".to_owned(),
                Err(error) => format!("can't be read: {error}"),
            };
            problems.add(file, format!("{table}.{key}"), path.display(), why);
        }
    }
}

/// Why a secret can't be used. It never says the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("{} can't be read: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too long or its first line is empty.
    #[error("{} holds no password: its first line has to be one", .0.display())]
    None(PathBuf),
}

/// The first line of a file, without what stands around it.
///
/// # Errors
/// When the file can't be read, is longer than a password, or begins with an empty line.
pub fn secret(path: &Path) -> Result<String, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let none = || SecretError::None(path.to_owned());
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_SECRET_BYTES {
        return Err(none());
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { Err(none()) } else { Ok(line.to_owned()) }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_topic(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_TOPIC_BYTES).contains(&text.len()) && text.chars().all(allowed) && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: KafkaConfig = toml::from_str(text).expect("the types fit");
        let mut problems = Problems::default();
        config.validate("x.toml", &mut problems);
        config.check_files("x.toml", &mut problems);
        problems.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_table_is_no_kafka_and_no_mistake() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert!(!KafkaConfig::default().is_on());
    }

    #[test]
    fn every_value_that_does_not_fit_is_named_with_its_key() {
        let found = problems(
            "brokers = 'a:1,b,c:0'\nsegments_topic = 'a b'\npositions_topic = ''\n[tls]\nkey = '/nowhere/key'\n\
             [sasl]\nmechanism = 'plain'\nuser = 'u'\npassword_file = '/nowhere/password'\n",
        );
        for part in [
            "kafka.brokers: b:",
            "kafka.brokers: c:0:",
            "kafka.segments_topic: a b:",
            "kafka.positions_topic:",
            "kafka.tls.cert:",
            "kafka.tls.key: /nowhere/key: can't be read",
            "kafka.sasl.password_file: /nowhere/password can't be read",
        ] {
            assert!(found.iter().any(|line| line.contains(part)), "{part} is not in {found:#?}");
        }
        assert_eq!(found.len(), 7, "{found:#?}");
    }

    #[test]
    fn one_topic_can_not_be_both() {
        assert_eq!(problems("segments_topic = 'x'\npositions_topic = 'x'").len(), 1);
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, " s3cret \nsecond").expect("written");
        assert_eq!(secret(&path).expect("a secret"), "s3cret");
        std::fs::write(&path, "\ns3cret").expect("written");
        assert!(matches!(secret(&path), Err(SecretError::None(_))));
        std::fs::write(&path, "x".repeat(5000)).expect("written");
        let error = secret(&path).expect_err("too long").to_string();
        assert!(!error.contains("xxx"), "{error}");
    }
}
