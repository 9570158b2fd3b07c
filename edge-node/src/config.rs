//! The node's own configuration: `edge.toml`. What it is to do at which site stands in the site files.
//!
//! Every key has a default, so that a node runs without this file. Unknown keys are errors. Reading gives
//! every problem of the file at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::Deserialize;
use wattle_kafka::KafkaConfig;
use wattle_site::Problems;
use wattle_wire::EdgeId;

mod deploy;
mod uplink;

pub use deploy::DeployConfig;
pub use uplink::{Compression, UplinkConfig, UplinkTls, UplinkWay};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this edge node, unique among all that share a fog node. Default `edge-1`.
    #[serde(default = "default_id")]
    pub id: EdgeId,
    /// Folder for the journal and the passwords file; made when it isn't there. Default `wattle-edge-data`.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// Folder with policies, each `<name>.wasm`. Default: `$WATTLE_POLICIES`; else `policies` beside the
    /// program or one folder above; else `/usr/lib/wattle/policies`.
    pub policies: Option<PathBuf>,
    /// Folder with the public keys (`*.pub`) whose owners may sign policies; only what they have signed decides. Default: none,
    /// and no signature is asked for.
    pub policy_keys: Option<PathBuf>,
    /// With `policy_keys`: whether what nobody has signed may decide too. Default `false`.
    pub policy_unsigned: bool,
    /// The MQTT broker that the devices use.
    pub broker: BrokerConfig,
    /// The journal on the disk.
    pub journal: JournalConfig,
    /// The way to the lake.
    pub uplink: UplinkConfig,
    /// The brokers, for `uplink.way = "kafka"`.
    pub kafka: KafkaConfig,
    /// Health, metrics and status.
    pub http: HttpConfig,
    /// Who may deploy, and from where documents come.
    pub deploy: DeployConfig,
}

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// `embedded`: the node runs the broker itself; `external`: it connects to one. Default `embedded`.
    pub mode: BrokerMode,
    /// Embedded: where the broker listens, an address of this machine alone. Default `127.0.0.1:1883`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// External: the broker as `host:port`. Default `127.0.0.1:1883`.
    #[serde(default = "default_address")]
    pub address: String,
    /// External: user name of the edge. Default `wattle-edge`.
    #[serde(default = "default_user")]
    pub user: String,
    /// External: file whose first line is the edge's password. Default: none, no password is sent.
    pub password_file: Option<PathBuf>,
    /// External: name of the edge's session at the broker, unique there. Default `wattle-edge`.
    #[serde(default = "default_user")]
    pub client_id: String,
    /// Embedded: connections over which the node reads, 1 to 64; each carries 100 messages per fsync.
    /// Default 8.
    #[serde(default = "default_lanes")]
    pub lanes: usize,
}

/// Who runs the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerMode {
    /// The node itself.
    #[default]
    Embedded,
    /// Somebody else.
    External,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// The most bytes that the journal may take on the disk, in MiB, 16 to 1048576; then the oldest makes
    /// room. Default 1024.
    #[serde(default = "default_budget_mib")]
    pub budget_mib: u64,
    /// What an acknowledgement means. `batch`: the reading was fsynced. `interval`: it will be within
    /// `sync_interval_ms`. `off`: it was written, and is on the disk when the system gets to it. Default
    /// `batch`.
    pub sync: SyncPolicy,
    /// With `sync = "interval"`: the time between two fsyncs in ms, 1 to 60000. Default 100.
    #[serde(default = "default_sync_interval_ms")]
    pub sync_interval_ms: u64,
    /// Rows are sealed into a segment for the way up at the latest after this many ms, 100 to 3600000.
    /// Default 2000.
    #[serde(default = "default_seal_after_ms")]
    pub seal_after_ms: u64,
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// fsync before each acknowledgement; one for all that wait.
    #[default]
    Batch,
    /// fsync at an interval.
    Interval,
    /// No fsync.
    Off,
}

impl SyncPolicy {
    /// How the status page writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Interval => "interval",
            Self::Off => "off",
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where `/healthz`, `/metrics` and `/status` are served. Default `127.0.0.1:7480`.
    #[serde(default = "default_http")]
    pub listen: SocketAddr,
}

fn default_id() -> EdgeId {
    EdgeId::new("edge-1").expect("a name")
}
fn default_data() -> PathBuf {
    "wattle-edge-data".into()
}
fn default_listen() -> SocketAddr {
    ([127, 0, 0, 1], 1883).into()
}
fn default_address() -> String {
    "127.0.0.1:1883".into()
}
fn default_user() -> String {
    "wattle-edge".into()
}
fn default_lanes() -> usize {
    8
}
fn default_budget_mib() -> u64 {
    1024
}
fn default_sync_interval_ms() -> u64 {
    100
}
fn default_seal_after_ms() -> u64 {
    2000
}
fn default_http() -> SocketAddr {
    ([127, 0, 0, 1], 7480).into()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: default_id(),
            data: default_data(),
            policies: None,
            policy_keys: None,
            policy_unsigned: false,
            broker: BrokerConfig::default(),
            journal: JournalConfig::default(),
            uplink: UplinkConfig::default(),
            kafka: KafkaConfig::default(),
            http: HttpConfig::default(),
            deploy: DeployConfig::default(),
        }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            mode: BrokerMode::default(),
            listen: default_listen(),
            address: default_address(),
            user: default_user(),
            password_file: None,
            client_id: default_user(),
            lanes: default_lanes(),
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            budget_mib: default_budget_mib(),
            sync: SyncPolicy::default(),
            sync_interval_ms: default_sync_interval_ms(),
            seal_after_ms: default_seal_after_ms(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: default_http() }
    }
}

impl Config {
    /// Reads the file; `file` is how mistakes name it.
    ///
    /// # Errors
    /// Every mistake at once: unknown keys, wrong types and values that don't fit.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        wattle_site::read(file, text, |config: &Self, problems| config.validate(file, problems))
    }

    /// Adds every value that doesn't fit.
    fn validate(&self, file: &str, problems: &mut Problems) {
        let mut range = |key: &str, value: u64, from: u64, to: u64| {
            if !(from..=to).contains(&value) {
                problems.add(file, key, value, format!("give {from} to {to}"));
            }
        };
        range("broker.lanes", self.broker.lanes as u64, 1, 64);
        range("journal.budget_mib", self.journal.budget_mib, 16, 1_048_576);
        range("journal.sync_interval_ms", self.journal.sync_interval_ms, 1, 60_000);
        range("journal.seal_after_ms", self.journal.seal_after_ms, 100, 3_600_000);
        range("uplink.bytes_per_second", self.uplink.bytes_per_second, 0, 1 << 30);
        range("uplink.max_message_bytes", self.uplink.max_message_bytes as u64, 64 << 10, 32 << 20);
        range("uplink.probe_after_s", self.uplink.probe_after_s, 10, 86_400);
        range("uplink.drain_ms", self.uplink.drain_ms, 0, 600_000);
        if self.broker.mode == BrokerMode::External && host_and_port(&self.broker.address).is_none() {
            problems.add(file, "broker.address", &self.broker.address, "give host:port");
        }
        self.validate_ports(file, problems);
        self.validate_uplink(file, problems);
        self.kafka.validate(file, problems);
        self.validate_deploy(file, problems);
        if self.data.as_os_str().is_empty() {
            problems.add(file, "data", "", "give a folder");
        }
    }
}

impl Config {
    /// The embedded broker has no encryption and no rules for topics: a password would go over the network as it is, and whoever has
    /// one could say what another device says.
    fn validate_ports(&self, file: &str, problems: &mut Problems) {
        if self.broker.mode != BrokerMode::Embedded {
            return;
        }
        let (broker, http) = (self.broker.listen, self.http.listen);
        if !broker.ip().is_loopback() {
            let allowed = "the embedded broker has no encryption and no rules for topics: give an address of this machine alone, as \
                           127.0.0.1:1883, or run a broker with TLS and set broker.mode = \"external\"";
            problems.add(file, "broker.listen", broker, allowed);
        }
        let is_same_ip =
            broker.ip() == http.ip() || broker.ip().is_unspecified() || http.ip().is_unspecified();
        if broker.port() != 0 && broker.port() == http.port() && is_same_ip {
            problems.add(file, "http.listen", http, "`broker.listen` listens there; use another port");
        }
    }

    /// Adds that the data folder can't be made or written, as `--check` does. Nothing is made.
    pub fn check_data(&self, file: &str, problems: &mut Problems) {
        let there =
            self.data.ancestors().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
        let there = there.map(|dir| (dir, std::fs::metadata(dir)));
        let Some((dir, found)) = there.into_iter().find(|(_, found)| {
            !found.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        }) else {
            return;
        };
        let why = match found {
            Ok(found) if !found.is_dir() => format!("{} is no folder", dir.display()),
            Err(error) => format!("{} can't be looked into: {error}", dir.display()),
            Ok(_) => match rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => return,
                Err(error) => format!("{} can't be written by whoever asks: {error}", dir.display()),
            },
        };
        problems.add(
            file,
            "data",
            self.data.display(),
            format!("{why}; give a folder that the node can make and write"),
        );
    }
}

/// Takes `host:port` apart.
pub fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.trim_matches(['[', ']']).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let problems = Config::parse("edge.toml", text).expect_err("something is wrong");
        let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for part in expected {
            assert!(lines.iter().any(|line| line.contains(part)), "{part} is not in {lines:#?}");
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("edge.toml", ""), Ok(Config::default()));
    }

    #[test]
    fn the_example_that_ships_is_the_default() {
        let text = include_str!("../../deploy/edge/edge.toml");
        let shipped = Config::parse("edge.toml", text).expect("right");
        assert_eq!(shipped.id.as_str(), "edge-1");
        assert_eq!(shipped.broker, BrokerConfig::default());
        assert_eq!(shipped.journal, JournalConfig::default());
        assert_eq!((shipped.uplink, shipped.kafka), (UplinkConfig::default(), KafkaConfig::default()));
    }

    #[test]
    fn every_unknown_key_and_wrong_type_is_named_at_once() {
        check(
            "idd = 'x'\nid = 'a b'\n[broker]\nmode = 'own'\nlisten = 1\nhost = 'x'\n[journal]\nbudget_mib = '1'\n",
            &["idd: ", "id: ", "broker.mode: ", "broker.listen: ", "broker.host: ", "journal.budget_mib: "],
        );
    }

    #[test]
    fn every_value_that_does_not_fit_is_named_at_once() {
        check(
            "data = ''\n[broker]\nmode = 'external'\naddress = 'x'\nlanes = 65\n[journal]\nbudget_mib = 1\n\
             sync_interval_ms = 0\nseal_after_ms = 1\n[uplink]\naddress = 'fog'\ndrain_ms = 600001\n\
             max_message_bytes = 1\nprobe_after_s = 1\nbytes_per_second = 9999999999\n",
            &[
                "data",
                "broker.address",
                "broker.lanes",
                "budget_mib: 1: give 16",
                "sync_interval_ms",
                "seal_after_ms",
                "uplink.address",
                "drain_ms",
                "max_message_bytes",
                "probe_after_s",
                "bytes_per_second",
            ],
        );
    }

    #[test]
    fn an_embedded_broker_listens_for_this_machine_alone_and_on_a_port_of_its_own() {
        let listen = "broker.listen: 0.0.0.0:1883: the embedded broker has no encryption";
        check("[broker]\nlisten = '0.0.0.0:1883'\n", &[listen]);
        check("[broker]\nlisten = '10.0.0.5:1883'\n", &["broker.listen: 10.0.0.5:1883: "]);
        check(
            "http.listen = '127.0.0.1:1883'\n",
            &["http.listen: 127.0.0.1:1883: `broker.listen` listens there"],
        );
        check("http.listen = '0.0.0.0:1883'\n", &["http.listen: 0.0.0.0:1883: "]);
        for right in [
            "[broker]\nlisten = '[::1]:1883'\n[http]\nlisten = '0.0.0.0:7480'\n",
            "[broker]\nmode = 'external'\nlisten = '0.0.0.0:1883'\n[http]\nlisten = '127.0.0.1:1883'\n",
            "[broker]\nlisten = '127.0.0.1:0'\n[http]\nlisten = '127.0.0.1:0'\n",
        ] {
            assert!(Config::parse("edge.toml", right).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_data_folder_that_can_not_be_made_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "x").expect("written");
        let said = |data: PathBuf| {
            let mut problems = Problems::default();
            Config { data, ..Config::default() }.check_data("edge.toml", &mut problems);
            problems.0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for data in [PathBuf::from("new"), folder.path().to_owned(), folder.path().join("new/er")] {
            assert_eq!(said(data), Vec::<String>::new());
        }
        for data in ["file", "file/below"] {
            let said = said(folder.path().join(data));
            assert!(matches!(said.as_slice(), [one] if one.contains("edge.toml: data: ")), "{said:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing was made");
    }

    #[test]
    fn a_way_up_without_what_it_needs_is_named() {
        check("[uplink]\nway = 'kafka'\n", &["kafka.brokers: name the brokers"]);
        check("[uplink]\naddress = 'https://fog:7400'\n", &["uplink.tls: https needs"]);
        let tls = "[uplink.tls]\nca = 'a'\ncert = 'b'\nkey = 'c'\n";
        check(tls, &["uplink.address: http://127.0.0.1:7400: write https://"]);
        let files = Config::parse("edge.toml", &format!("uplink.address = 'https://fog:7400'\n{tls}"));
        let mut problems = Problems::default();
        files.expect("right").check_files("edge.toml", &mut problems);
        assert_eq!(problems.0.len(), 3, "{problems}");
    }

    #[test]
    fn what_is_no_toml_gives_the_place() {
        check("id = \n", &["is no TOML"]);
        check("id = 'x'\nid = 'y'\n", &["is no TOML"]);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(host_and_port("[::1]:1883"), Some(("::1".into(), 1883)));
        for wrong in ["", "x", ":1883", "x:0", "x:70000", "x:y"] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }
}
