//! The broker between publishers and whoever reads: the edge's own in a process of its own, or Mosquitto with the
//! configuration that ships. Each measurement has a fresh one, so that nothing is left of the last.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use wattle_edge::broker::EDGE_USER;
use wattle_testkit::{Mosquitto, free_port};

use super::worker::{self, Process, Worker};
use super::{PASSWORD, publish};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// rumqttd, set up as the edge sets up the one that it embeds.
    Rumqttd,
    /// Mosquitto.
    Mosquitto,
}

impl BrokerKind {
    /// How the table writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rumqttd => "rumqttd",
            Self::Mosquitto => "mosquitto",
        }
    }
}

/// A running broker. It ends when this is dropped.
pub enum Broker {
    Rumqttd { worker: Worker, port: u16 },
    Mosquitto(Mosquitto),
}

impl Broker {
    /// Starts one that lets in the edge, the publishers and these devices.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(kind: BrokerKind, devices: &[String]) -> Result<Self> {
        if kind == BrokerKind::Rumqttd {
            let port = free_port()?;
            let mut arguments = vec![format!("--port={port}")];
            arguments.extend(devices.iter().map(|device| format!("--device={device}")));
            return Ok(Self::Rumqttd { worker: Worker::start("broker", &arguments)?, port });
        }
        let users: Vec<String> = users(devices).chain([EDGE_USER.to_owned()]).collect();
        let users: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
        Ok(Self::Mosquitto(Mosquitto::start(&users, &shipped())?))
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        match self {
            Self::Rumqttd { port, .. } => *port,
            Self::Mosquitto(mosquitto) => mosquitto.port(),
        }
    }

    /// Its process, where it is ours.
    pub fn process(&self) -> Option<Process> {
        match self {
            Self::Rumqttd { worker, .. } => Some(worker.process()),
            Self::Mosquitto(_) => None,
        }
    }
}

/// Everyone but the edge.
pub fn users(devices: &[String]) -> impl Iterator<Item = String> {
    publish::users().chain(devices.iter().cloned())
}

/// The configuration that ships, without what a test's broker has of its own, and without rules for topics, as one
/// publisher speaks here for many devices.
fn shipped() -> String {
    const OWN: [&str; 7] = [
        "listener",
        "allow_anonymous",
        "password_file",
        "acl_file",
        "persistence",
        "autosave",
        "log_dest stderr",
    ];
    let text = include_str!("../../../deploy/edge/mosquitto.conf");
    let kept = text.lines().filter(|line| !OWN.iter().any(|own| line.starts_with(own)));
    kept.map(|line| format!("{line}\n")).collect()
}

/// What the part is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    device: Vec<String>,
}

/// The part: the edge's embedded broker, alone.
///
/// # Errors
/// When it can't listen.
pub fn run(arguments: &Arguments) -> Result<()> {
    let passwords: BTreeMap<String, String> =
        users(&arguments.device).map(|user| (user, PASSWORD.to_owned())).collect();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let devices = publish::DEVICES;
    let (_address, _refusals) = wattle_edge::broker::start(listen, passwords, PASSWORD.into(), devices)?;
    worker::say_ready();
    worker::report(&AtomicU64::new(0), worker::end_of_input());
    Ok(())
}
