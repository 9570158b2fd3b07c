//! All processes of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use wattle_testkit::{KafkaFiles, MOSQUITTO, Process};

use crate::book;
use crate::node::{Launch, Node, Probe};
use crate::place::Place;
use crate::plan::{Target, Way};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The processes with their folder. Dropping it kills them.
pub struct Cast {
    /// Where everything is.
    pub place: Place,
    nodes: BTreeMap<Target, Node>,
}

impl Cast {
    /// Writes the configurations; nothing runs yet.
    ///
    /// # Errors
    /// When a program isn't built, or a file can't be written.
    pub fn new(place: Place, way: Way) -> Result<Self> {
        let mut cast = Self { place, nodes: BTreeMap::new() };
        let brokers = if way == Way::Kafka { Some(cast.add_kafka()?) } else { None };
        cast.place.configure(brokers.as_deref())?;
        cast.add_ours()?;
        Ok(cast)
    }

    /// Gives where it is reached.
    fn add_kafka(&mut self) -> Result<String> {
        let files = KafkaFiles::make(&self.place.kafka())?;
        let (brokers, port) = (files.plain(), files.port());
        self.add(Target::Kafka, Box::new(move |_| Ok(files.command())), Probe::Tcp(port));
        Ok(brokers)
    }

    fn add_ours(&mut self) -> Result<()> {
        let ports = self.place.ports;
        let (fog, edge, own) = (program("wattle-fog")?, program("wattle-edge")?, std::env::current_exe()?);
        let folder = self.place.folder().to_owned();
        let at_home = move |program: PathBuf, arguments: Vec<String>| -> Launch {
            let folder = folder.clone();
            Box::new(move |_| {
                let mut command = Command::new(&program);
                command.args(&arguments).current_dir(&folder);
                Ok(command)
            })
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let fog = at_home(fog, words(&["--config", "fog.toml"]));
        let edge = at_home(edge, words(&["--config", "edge.toml", "site.toml"]));
        let mosquitto = at_home(MOSQUITTO.into(), words(&["-c", "mosquitto.conf"]));
        self.add(Target::Fog, fog, Probe::Http(ports.fog_http));
        self.add(Target::Edge, edge, Probe::Http(ports.edge_http));
        self.add(Target::Mosquitto, mosquitto, Probe::Tcp(ports.mqtt));
        let books = self.place.books();
        let devices = books.clone();
        let launch: Launch = Box::new(move |start| {
            let mut command = Command::new(&own);
            command.args(["devices", "--start", &start.to_string(), "--port", &ports.mqtt.to_string()]);
            command.arg("--folder").arg(&devices);
            Ok(command)
        });
        self.add(Target::Devices, launch, Probe::File(book::path, books));
        Ok(())
    }

    fn add(&mut self, target: Target, launch: Launch, probe: Probe) {
        let log = self.place.at(&format!("{}.log", target.as_str()));
        self.nodes.insert(target, Node::new(target, launch, probe, log));
    }

    /// A process.
    pub fn node(&mut self, target: Target) -> &mut Node {
        self.nodes.get_mut(&target).expect("a plan names only the processes of its way")
    }

    /// Every process, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// SIGKILL to all of these at once.
    ///
    /// # Errors
    /// When one has ended by itself.
    pub fn kill(&mut self, targets: &BTreeSet<Target>) -> Result<()> {
        targets.iter().try_for_each(|target| self.node(*target).strike())?;
        targets.iter().try_for_each(|target| self.node(*target).bury())
    }

    /// Looks until `look` gives something.
    ///
    /// # Errors
    /// When a process ends by itself meanwhile, or nothing has come within `limit`.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            self.nodes.values_mut().try_for_each(Node::check)?;
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() >= end {
                bail!("waited {limit:?} in vain until {what}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Lets `span` go by.
    ///
    /// # Errors
    /// When a process ends by itself meanwhile.
    pub fn rest(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.nodes.values_mut().try_for_each(Node::check)?;
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until a process answers.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn wait_for(&mut self, target: Target, limit: Duration) -> Result<()> {
        let what = format!("{} answers", target.as_str());
        self.until(&what, limit, |cast| Ok(cast.node(target).answers().then_some(())))
    }

    /// What the edge says of its journal; none while it doesn't answer.
    pub fn edge_journal(&self) -> Option<Value> {
        let page = Process::get(self.place.ports.edge_http, "/status").ok()?;
        serde_json::from_str::<Value>(&page).ok()?.get("journal").cloned()
    }

    /// How far the lake is, as the edge knows; none while it doesn't say.
    pub fn committed(&self) -> Option<u64> {
        self.edge_journal()?.get("committed")?.as_u64()
    }

    /// What isn't healthy, in its own words; none where everything is.
    pub fn ailing(&self) -> Option<String> {
        let ports = self.place.ports;
        [("fog", ports.fog_http), ("edge", ports.edge_http)].into_iter().find_map(|(name, port)| {
            match Process::get(port, "/healthz") {
                Ok(page) if page.contains("\"healthy\":true") => None,
                Ok(page) => Some(format!("{name}: {}", page.trim())),
                Err(error) => Some(format!("{name}: {error:#}")),
            }
        })
    }
}

/// A program that was built beside this one.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.parent().context("a program stands in a folder")?.join(name);
    ensure!(path.exists(), "{} isn't there; build every program first: `make build`", path.display());
    Ok(path)
}
