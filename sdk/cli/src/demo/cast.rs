//! Who plays: the processes, their ports and their files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::script::{CHARGERS, METER};
use super::truth::Truth;

/// The edge node's name, by which a folder of a demo is known.
const EDGE: &str = "demo-edge";
const SITE: &str = include_str!("../../../../deploy/demo/site.toml");

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of the devices that wait to be read. A device that finds it full waits, which the demo would show as a late
/// reading; it is emptied many times a second.
const MAX_LINES: usize = 65_536;

/// The running demo. Dropping it kills what still runs.
pub struct Cast {
    folder: PathBuf,
    programs: PathBuf,
    ports: Ports,
    processes: BTreeMap<&'static str, Child>,
}

struct Ports {
    mqtt: u16,
    uplink: u16,
    sql: u16,
    fog_http: u16,
    edge_http: u16,
    cable: u16,
}

impl Ports {
    fn free() -> std::io::Result<Self> {
        let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // All are held at once, so that no two are the same.
        let held = [hold()?, hold()?, hold()?, hold()?, hold()?, hold()?];
        let mut ports = [0; 6];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr()?.port();
        }
        let [mqtt, uplink, sql, fog_http, edge_http, cable] = ports;
        Ok(Self { mqtt, uplink, sql, fog_http, edge_http, cable })
    }
}

impl Cast {
    /// Starts all: fog node, edge node, meter, chargers. Also gives the lines that the devices will write.
    pub fn start(folder: &Path) -> anyhow::Result<(Self, Receiver<String>)> {
        if folder.exists() {
            ensure!(is_of_a_demo(folder), "{} is not of a demo; give another --dir", folder.display());
            fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let programs = std::env::current_exe()?.parent().context("a program stands in a folder")?.to_owned();
        let ports = Ports::free()?;
        let mut cast = Self { folder, programs, ports, processes: BTreeMap::new() };
        cast.write_files()?;
        cast.start_fog()?;
        cast.wait_healthy("fog", cast.ports.fog_http)?;
        cast.start_edge()?;
        cast.wait_healthy("edge", cast.ports.edge_http)?;
        let (sender, lines) = sync_channel(MAX_LINES);
        cast.start_device(METER, "meter", &sender)?;
        for (charger, _) in CHARGERS {
            cast.start_device(charger, "charger", &sender)?;
        }
        Ok((cast, lines))
    }

    /// Where Flight SQL is answered.
    pub fn sql_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.sql)
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let Ports { mqtt, uplink, sql, fog_http, edge_http, .. } = self.ports;
        let lake = self.folder.join("lake");
        let data = self.folder.join("edge");
        let fog = format!(
            "lake = {lake:?}\nuplink = \"127.0.0.1:{uplink}\"\nsql = \"127.0.0.1:{sql}\"\nhttp = \"127.0.0.1:{fog_http}\"\n"
        );
        let edge = format!(
            "id = \"{EDGE}\"\ndata = {data:?}\n[broker]\nlisten = \"127.0.0.1:{mqtt}\"\n[uplink]\naddress = \
             \"http://127.0.0.1:{uplink}\"\n[http]\nlisten = \"127.0.0.1:{edge_http}\"\n"
        );
        for (name, text) in [("site.toml", SITE), ("fog.toml", &fog), ("edge.toml", &edge)] {
            fs::write(self.folder.join(name), text)?;
        }
        Ok(())
    }

    fn command(&self, program: &str, log: &str) -> anyhow::Result<Command> {
        let path = self.programs.join(program);
        ensure!(path.exists(), "{} isn't there; build every program first: `make build`", path.display());
        let log = File::options().create(true).append(true).open(self.folder.join(format!("{log}.log")))?;
        let mut command = Command::new(path);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command)
    }

    fn spawn(&mut self, name: &'static str, mut command: Command) -> anyhow::Result<&mut Child> {
        let child = command.spawn().with_context(|| format!("can't start {name}"))?;
        self.processes.insert(name, child);
        Ok(self.processes.get_mut(name).expect("was put there"))
    }

    /// Starts the fog node, and doesn't wait for it.
    pub fn start_fog(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("wattle-fog", "fog")?;
        command.args(["--config", "fog.toml"]);
        self.spawn("fog", command)?;
        Ok(())
    }

    fn start_edge(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("wattle-edge", "edge")?;
        command.args(["--config", "edge.toml", "site.toml"]);
        self.spawn("edge", command)?;
        Ok(())
    }

    fn start_device(
        &mut self,
        id: &'static str,
        kind: &str,
        lines: &SyncSender<String>,
    ) -> anyhow::Result<()> {
        let mut command = self.command("wattle-device", id)?;
        command
            .args([
                kind,
                "--site",
                "demo",
                "--id",
                id,
                "--interval-ms",
                "200",
                "--noise-ma",
                "0",
                "--trace-json",
            ])
            .args(["--broker", &format!("127.0.0.1:{}", self.ports.mqtt)])
            .args(["--cable", &format!("127.0.0.1:{}", self.ports.cable)])
            .args(["--password-file", "edge/passwords", "--state", id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = self.spawn(id, command)?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Tells a device what happens around it.
    pub fn say(&mut self, device: &'static str, words: &str) -> anyhow::Result<()> {
        let child = self.processes.get_mut(device).with_context(|| format!("{device} doesn't run"))?;
        let stdin = child.stdin.as_mut().context("standard input is piped")?;
        writeln!(stdin, "{words}").with_context(|| format!("{device} doesn't listen"))
    }

    /// Fails when a process has ended by itself.
    pub fn all_run(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.processes {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{name} has ended by itself ({status}); see {}",
                    self.folder.join(format!("{name}.log")).display()
                );
            }
        }
        Ok(())
    }

    fn wait_healthy(&mut self, name: &str, port: u16) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !healthy(port) {
            self.all_run()?;
            ensure!(Instant::now() < end, "{name} is not healthy after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill_fog(&mut self) -> anyhow::Result<()> {
        let mut fog = self.processes.remove("fog").context("the fog node runs")?;
        fog.kill()?;
        fog.wait()?;
        Ok(())
    }

    /// Stops the devices; what they say meanwhile goes to `truth`.
    pub fn stop_devices(&mut self, truth: &mut Truth) -> anyhow::Result<()> {
        let devices: Vec<&'static str> = CHARGERS.iter().map(|(id, _)| *id).chain([METER]).collect();
        for device in &devices {
            self.ask_to_stop(device)?;
        }
        for device in &devices {
            self.wait_end(device)?;
        }
        truth.follow(Duration::from_millis(200))
    }

    /// Stops the edge node, which first sends up what it has.
    pub fn stop_edge(&mut self) -> anyhow::Result<()> {
        self.ask_to_stop("edge")?;
        self.wait_end("edge")
    }

    /// Stops the fog node.
    pub fn stop_fog(&mut self) -> anyhow::Result<()> {
        self.ask_to_stop("fog")?;
        self.wait_end("fog")
    }

    fn ask_to_stop(&self, name: &str) -> anyhow::Result<()> {
        let id = self.processes.get(name).with_context(|| format!("{name} runs"))?.id();
        // SIGTERM has no way through the standard library.
        let told = Command::new("kill").arg(id.to_string()).status().context("can't run kill")?;
        ensure!(told.success(), "{name} can't be told to stop");
        Ok(())
    }

    fn wait_end(&mut self, name: &str) -> anyhow::Result<()> {
        let mut child = self.processes.remove(name).with_context(|| format!("{name} runs"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "{name} has ended with {status}");
                return Ok(());
            }
            if Instant::now() >= end {
                child.kill()?;
                bail!("{name} has not stopped within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            // It may have ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a folder may be emptied: it is empty, or a demo has written it. Any site's folder may hold a `site.toml`.
fn is_of_a_demo(folder: &Path) -> bool {
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let edge = fs::read_to_string(folder.join("edge.toml")).unwrap_or_default();
    is_empty || edge.starts_with(&format!("id = \"{EDGE}\"\n"))
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_folder_or_one_of_a_demo_is_emptied() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        assert!(is_of_a_demo(folder.path()));
        file("site.toml", SITE);
        assert!(!is_of_a_demo(folder.path()), "whoever runs a site may have begun with this one");
        file("edge.toml", "id = \"edge-1\"\ndata = \"/var/lib/wattle-edge\"\n");
        assert!(!is_of_a_demo(folder.path()));
        file("edge.toml", "id = \"demo-edge\"\ndata = \"edge\"\n");
        assert!(is_of_a_demo(folder.path()));
    }
}
