//! Apache Kafka itself: one node in KRaft mode, on ports of its own, with a fresh folder.
//!
//! It has three listeners: plain; TLS, which asks for a certificate; and TLS with SASL (PLAIN and SCRAM). Their users and
//! certificates are made for it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Authority, Process, free_port, wait_for};

/// A user of the listener with SASL, and the password.
pub const KAFKA_USER: (&str, &str) = ("wattle", "open-sesame");

/// What starting may take on a machine that does much else.
const START: Duration = Duration::from_secs(120);
/// Small heap, quick start.
const JAVA: [&str; 6] = [
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
];

/// A running broker. Dropping it kills it.
pub struct Kafka {
    folder: TempDir,
    jars: PathBuf,
    ports: Ports,
    process: Process,
}

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    tls: u16,
    sasl: u16,
    controller: u16,
}

impl Kafka {
    /// Starts one.
    ///
    /// # Errors
    /// When Kafka wasn't fetched, or doesn't start.
    pub fn start() -> Result<Self> {
        let jars = jars()?;
        let folder = TempDir::new()?;
        let ports =
            Ports { plain: free_port()?, tls: free_port()?, sasl: free_port()?, controller: free_port()? };
        let authority = Authority::new()?;
        authority.write(folder.path())?;
        authority.certify("localhost")?.write(folder.path(), "broker")?;
        authority.certify("client")?.write(folder.path(), "client")?;
        fs::write(folder.path().join("server.properties"), properties(folder.path(), ports)?)?;
        format(folder.path(), &jars)?;
        let process = run(folder.path(), &jars, ports)?;
        Ok(Self { folder, jars, ports, process })
    }

    /// The plain listener, as `host:port`.
    pub fn plain(&self) -> String {
        format!("localhost:{}", self.ports.plain)
    }

    /// The listener that asks for a certificate.
    pub fn tls(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// The listener with TLS that asks for a user, see [`KAFKA_USER`].
    pub fn sasl(&self) -> String {
        format!("localhost:{}", self.ports.sasl)
    }

    /// Where `ca.pem`, `client.pem` and `client.key` are.
    pub fn certificates(&self) -> &Path {
        self.folder.path()
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When the system can't.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The same broker again, on the same ports and folder, after [`Kafka::kill`].
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = run(self.folder.path(), &self.jars, self.ports)?;
        Ok(())
    }
}

/// Where `make kafka` has put it.
fn jars() -> Result<PathBuf> {
    let tools = std::env::var_os("WATTLE_TOOLS").map(PathBuf::from);
    let tools = tools.or_else(|| {
        // target/debug/deps/test-1234 -> target/tools
        Some(std::env::current_exe().ok()?.ancestors().nth(3)?.join("tools"))
    });
    let jars = tools.context("a test lives three folders below its target folder")?.join("kafka");
    ensure!(jars.join(".fetched").exists(), "no Apache Kafka in {}; run `make kafka`", jars.display());
    Ok(jars)
}

fn properties(folder: &Path, ports: Ports) -> Result<String> {
    let Ports { plain, tls, sasl, controller } = ports;
    let folder = folder.display();
    let (user, password) = KAFKA_USER;
    let mut text = String::new();
    write!(
        text,
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@localhost:{controller}\n\
         listeners=PLAIN://localhost:{plain},TLS://localhost:{tls},SASL://localhost:{sasl},CONTROLLER://localhost:{controller}\n\
         listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAIN\ncontroller.listener.names=CONTROLLER\nlog.dirs={folder}/data\n\
         ssl.keystore.type=PEM\nssl.keystore.location={folder}/broker.both.pem\n\
         ssl.truststore.type=PEM\nssl.truststore.location={folder}/ca.pem\n\
         listener.name.tls.ssl.client.auth=required\nlistener.name.sasl.ssl.client.auth=none\n\
         listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
         listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\nlog.cleaner.dedupe.buffer.size=2097152\nauto.create.topics.enable=false\n"
    )?;
    Ok(text)
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(JAVA).arg("-cp").arg(jars.join("*")).arg(class);
    command
}

/// Makes the folder a broker's, with its users.
fn format(folder: &Path, jars: &Path) -> Result<()> {
    let (user, password) = KAFKA_USER;
    let mut command = java(jars, "kafka.tools.StorageTool");
    command.args(["format", "-t", "d2F0dGxlLXRlc3RzLTAwMQ", "-c"]).arg(folder.join("server.properties"));
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        command.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
    }
    let output = command.output().context("can't run java; run `make setup`")?;
    ensure!(output.status.success(), "Kafka's storage: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn run(folder: &Path, jars: &Path, ports: Ports) -> Result<Process> {
    let log = File::options().create(true).append(true).open(folder.join("kafka.log"))?;
    let mut command = java(jars, "kafka.Kafka");
    command.arg(folder.join("server.properties")).stdout(log.try_clone()?).stderr(log);
    command.current_dir(folder).stdin(Stdio::null());
    let mut process = Process::start(command)?;
    let listening = wait_for("Kafka to listen", START, || {
        if process.ended_within(Duration::ZERO).is_some() {
            return Some(false);
        }
        let all = [ports.plain, ports.tls, ports.sasl];
        all.iter().all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok()).then_some(true)
    });
    let said = || fs::read_to_string(folder.join("kafka.log")).unwrap_or_default();
    ensure!(listening.with_context(said)?, "Kafka has ended: {}", said());
    Ok(process)
}
