//! The edge itself: the program `wattle-edge` as people run it, with a journal that is fsynced per batch on a real
//! disk and no fog node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wattle_edge::broker::EDGE_USER;
use wattle_testkit::{free_port, wait_for};

use super::{PASSWORD, Place, Process, broker, place};

/// How long it may take to start or to end.
const LIMIT: Duration = Duration::from_secs(20);

/// Which broker an edge uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// Its own, in its own process.
    Embedded,
    /// One that listens on this port.
    External(u16),
}

/// A running edge. It ends when this is dropped.
pub struct Edge {
    process: wattle_testkit::Process,
    http_port: u16,
    mqtt_port: u16,
    place: Place,
}

impl Edge {
    /// Starts one for these sites, and waits until it is connected to its broker.
    ///
    /// # Errors
    /// When the program isn't there, or doesn't start; the end of its log is part of the text.
    pub fn start(uses: Uses, sites: &[String], devices: &[String]) -> Result<Self> {
        Self::start_with(uses, sites, devices, "[uplink]\naddress = ''\n")
    }

    /// The same, with a way up: the tables `[uplink]` and `[kafka]` of its configuration.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(uses: Uses, sites: &[String], devices: &[String], uplink: &str) -> Result<Self> {
        let place = Place::new()?;
        let http_port = free_port()?;
        let (mode, mqtt_port) = match uses {
            Uses::Embedded => ("embedded", free_port()?),
            Uses::External(port) => ("external", port),
        };
        let password = place.write("password", PASSWORD)?;
        let data = place.path().join("data");
        std::fs::create_dir(&data)?;
        let lines: String = broker::users(devices).map(|user| format!("{user}:{PASSWORD}\n")).collect();
        place.write("data/passwords", &lines)?;
        let write = |(n, site): (usize, &String)| place.write(&format!("site-{n}.toml"), site);
        let sites = sites.iter().enumerate().map(write).collect::<Result<Vec<_>>>()?;
        let config = place.write(
            "edge.toml",
            &format!(
                "data = {data:?}\n[broker]\nmode = '{mode}'\nlisten = '127.0.0.1:{mqtt_port}'\naddress = '127.0.0.1:{mqtt_port}'\n\
                 user = '{EDGE_USER}'\nclient_id = '{EDGE_USER}'\npassword_file = {password:?}\n{uplink}\
                 [http]\nlisten = '127.0.0.1:{http_port}'\n"
            ),
        )?;
        let log = place.path().join("log");
        let started = start(&config, &sites, &log, http_port);
        let process = started.with_context(|| format!("the edge says: {}", end_of(&log)))?;
        Ok(Self { process, http_port, mqtt_port, place })
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.process.id())
    }

    /// Where devices connect.
    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_port
    }

    /// A figure of its metrics; zero when it has none of that name yet.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let page = wattle_testkit::Process::get(self.http_port, "/metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Ok(value.unwrap_or_default())
    }

    /// Whether this policy is loaded for every site, active, and was asked.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn is_decided_by(&self, policy: &str) -> Result<bool> {
        let status = self.status()?;
        let sites = status["sites"].as_array().context("the status has no sites")?;
        let is_by = |running: &serde_json::Value| {
            running["state"] == "active"
                && running["policy"].as_str().is_some_and(|name| name.starts_with(policy))
                && running["decisions"].as_u64().is_some_and(|decisions| decisions > 0)
        };
        let is_decided = |site: &serde_json::Value| {
            site["policies"].as_array().is_some_and(|policies| policies.iter().any(is_by))
        };
        Ok(!sites.is_empty() && sites.iter().all(is_decided))
    }

    fn status(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&wattle_testkit::Process::get(self.http_port, "/status")?)?)
    }

    /// The last entry of its journal that is fsynced; up to a quarter of a second old.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn durable(&self) -> Result<u64> {
        self.status()?["journal"]["durable"].as_u64().context("the status has no journal.durable")
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        end_of(&self.place.path().join("log"))
    }
}

fn start(config: &Path, sites: &[PathBuf], log: &Path, http_port: u16) -> Result<wattle_testkit::Process> {
    let program = place::programs()?.join("wattle-edge");
    ensure!(
        program.exists(),
        "{} isn't there; run `cargo build --release --workspace --bins`",
        program.display()
    );
    let mut command = Command::new(program);
    command.arg("--config").arg(config).args(sites).env("RUST_LOG", "warn");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(log)?);
    let mut process = wattle_testkit::Process::start(command)?;
    process.wait_healthy(http_port, LIMIT)?;
    wait_for("the edge to be connected and to tell of its journal", LIMIT, || {
        let page = wattle_testkit::Process::get(http_port, "/status").ok()?;
        (page.contains("\"connected\":true") && page.contains("\"durable\":")).then_some(())
    })?;
    Ok(process)
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
