//! The folder of a run: configurations, what each process keeps on the disk, and what it says.
//!
//! The broker and the access rules are those of `deploy/edge`, with ports and paths of the run put in; a line that is to be
//! changed and isn't there is an error, so that what is tested stays what ships.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use wattle_testkit::{free_port, hash_passwords};

use crate::{EDGE, METER, SITE, chargers, device_names, devices, password};

const MOSQUITTO: &str = include_str!("../../../deploy/edge/mosquitto.conf");
const MOSQUITTO_ACL: &str = include_str!("../../../deploy/edge/mosquitto-acl");
/// The edge's user, as the shipped access rules name it.
const EDGE_USER: &str = "wattle-edge";
/// A file that tells a folder of a run from any other.
const MARK: &str = "torture.seed";

/// Where each process listens on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The MQTT broker.
    pub mqtt: u16,
    /// The fog node, for the edge.
    pub uplink: u16,
    /// The fog node, for SQL.
    pub sql: u16,
    /// The fog node's health and status.
    pub fog_http: u16,
    /// The edge's health and status.
    pub edge_http: u16,
}

/// The folder of a run, with its ports.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    /// Where everyone listens.
    pub ports: Ports,
}

impl Place {
    /// Empties the folder, and writes every configuration.
    ///
    /// # Errors
    /// When the folder is another's, or can't be written.
    pub fn new(folder: &Path, seed: u64) -> Result<Self> {
        if folder.exists() {
            let is_empty = fs::read_dir(folder)?.next().is_none();
            ensure!(
                is_empty || folder.join(MARK).exists(),
                "{} is not of a run like this; give another --dir",
                folder.display()
            );
            fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        fs::write(folder.join(MARK), format!("{seed}\n"))?;
        let ports = Ports {
            mqtt: free_port()?,
            uplink: free_port()?,
            sql: free_port()?,
            fog_http: free_port()?,
            edge_http: free_port()?,
        };
        let place = Self { folder: folder.canonicalize()?, ports };
        for folder in ["mosquitto", "devices", "kafka"] {
            fs::create_dir(place.at(folder))?;
        }
        Ok(place)
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the lake is.
    pub fn lake(&self) -> PathBuf {
        self.at("lake")
    }

    /// Where the edge's journal is.
    pub fn journal(&self) -> PathBuf {
        self.edge_data().join("journal")
    }

    fn edge_data(&self) -> PathBuf {
        self.at("edge")
    }

    /// Where the devices' books are.
    pub fn books(&self) -> PathBuf {
        devices::folder(&self.folder)
    }

    /// Where Kafka has everything.
    pub fn kafka(&self) -> PathBuf {
        self.at("kafka")
    }

    /// Writes the configuration of every process; with brokers of Kafka the edge's way up goes through them.
    ///
    /// # Errors
    /// When a file can't be written, or what ships can't be adapted any more.
    pub fn configure(&self, brokers: Option<&str>) -> Result<()> {
        self.write("site.toml", &site())?;
        self.write("edge-password", &password(EDGE_USER))?;
        self.write("edge.toml", &self.edge(brokers))?;
        self.write("fog.toml", &self.fog(brokers))?;
        self.write("mosquitto-acl", MOSQUITTO_ACL)?;
        self.write("mosquitto.conf", &self.mosquitto()?)?;
        let users = device_names().chain([EDGE_USER.to_owned()]).map(|user| (password(&user), user));
        let users: Vec<(String, String)> = users.collect();
        let users: Vec<(&str, &str)> =
            users.iter().map(|(password, user)| (user.as_str(), password.as_str())).collect();
        hash_passwords(&self.at("mosquitto-passwords"), &users)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.at(name), text).with_context(|| format!("can't write {name}"))
    }

    fn edge(&self, brokers: Option<&str>) -> String {
        let Ports { mqtt, uplink, edge_http, .. } = self.ports;
        let up = match brokers {
            Some(brokers) => format!("way = 'kafka'\n[kafka]\nbrokers = '{brokers}'\n"),
            None => format!("address = 'http://127.0.0.1:{uplink}'\n"),
        };
        // Often sealed, so that there is often something under way.
        format!(
            "id = '{EDGE}'\ndata = {data:?}\n[http]\nlisten = '127.0.0.1:{edge_http}'\n[broker]\nmode = 'external'\n\
             address = '127.0.0.1:{mqtt}'\npassword_file = {password:?}\n[journal]\nseal_after_ms = 300\n[uplink]\n\
             drain_ms = 60000\n{up}",
            data = self.edge_data(),
            password = self.at("edge-password"),
        )
    }

    fn fog(&self, brokers: Option<&str>) -> String {
        let Ports { uplink, sql, fog_http, .. } = self.ports;
        let kafka = brokers.map(|brokers| format!("[kafka]\nbrokers = '{brokers}'\n")).unwrap_or_default();
        // Often committed, derived and merged, so that a kill meets each.
        format!(
            "lake = {lake:?}\nuplink = '127.0.0.1:{uplink}'\nsql = '127.0.0.1:{sql}'\nhttp = '127.0.0.1:{fog_http}'\n\
             commit_interval_ms = 200\nderive_interval_ms = 500\ncompact_interval_ms = 2000\n{kafka}",
            lake = self.lake(),
        )
    }

    fn mosquitto(&self) -> Result<String> {
        let at = |name: &str| self.at(name).display().to_string();
        let text = replace(MOSQUITTO, "listener ", &format!("{} 127.0.0.1", self.ports.mqtt))?;
        let text = replace(&text, "password_file ", &at("mosquitto-passwords"))?;
        let text = replace(&text, "acl_file ", &at("mosquitto-acl"))?;
        let text = replace(&text, "persistence_location ", &format!("{}/", at("mosquitto")))?;
        // As root it would become another user, who may not read the folder.
        Ok(format!("{text}user root\n"))
    }
}

/// Gives the one line that begins with `key` another value.
fn replace(text: &str, key: &str, value: &str) -> Result<String> {
    let found = text.lines().filter(|line| line.starts_with(key)).count();
    ensure!(found == 1, "the shipped configuration has {found} lines that begin with `{key}`, and not one");
    let lines = text
        .lines()
        .map(|line| if line.starts_with(key) { format!("{key}{value}\n") } else { format!("{line}\n") });
    Ok(lines.collect())
}

fn site() -> String {
    let chargers: String = chargers()
        .map(|charger| format!("[[chargers]]\nid = '{charger}'\ncircuit = 'grid'\nphases = ['L1']\n"))
        .collect();
    format!(
        "id = '{SITE}'\n[control]\ninterval_ms = 500\nvalidity_ms = 5000\nraise_delay_ms = 0\nresume_room_a = 0\nleast_off_ms = 0\n\
         [[circuits]]\nid = 'grid'\nlimit_a = 200\n[[meters]]\nid = '{METER}'\ncircuit = 'grid'\n{chargers}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_of_the_broker_is_kept_but_for_ports_and_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path(), 1).expect("a place");
        let text = place.mosquitto().expect("adapted");
        let changed: Vec<&str> = text.lines().filter(|line| !MOSQUITTO.contains(line)).collect();
        assert_eq!(changed.len(), 5, "{changed:?}");
        assert!(text.contains("persistence true"));
    }

    #[test]
    fn a_shipped_line_that_is_gone_is_an_error() {
        assert!(replace("a 1\n", "b ", "2").is_err());
        assert!(replace("a 1\na 2\n", "a ", "2").is_err());
        assert_eq!(replace("a 1\nb 2\n", "a ", "3").expect("one"), "a 3\nb 2\n");
    }

    #[test]
    fn a_folder_that_is_not_of_a_run_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("letter"), "dear").expect("written");
        assert!(Place::new(folder.path(), 1).is_err());
        assert!(folder.path().join("letter").exists());
        fs::remove_file(folder.path().join("letter")).expect("removed");
        Place::new(folder.path(), 1).expect("an empty one will do");
        Place::new(folder.path(), 2).expect("and so will that of a run");
    }
}
