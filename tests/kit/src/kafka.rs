//! Apache Kafka itself: one node in KRaft mode, on ports of its own, with a fresh folder.
//!
//! It has three listeners: plain; TLS, which asks for a certificate; and TLS with SASL (PLAIN and SCRAM). Their users and
//! certificates are made for it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Authority, Process, free_port, wait_for};

/// A user of the listener with SASL, and the password.
pub const KAFKA_USER: (&str, &str) = ("wattle", "open-sesame");

/// What starting may take on a machine that does much else.
const START: Duration = Duration::from_secs(120);
/// After how long without a word the controller takes a broker for dead, ms. Until then it takes no other of the same number: a
/// broker that was killed and is started again waits for the end of its former self. Kafka's own 9 s are what such a start
/// would take on any machine.
const SESSION_MS: u32 = 6000;
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
    files: KafkaFiles,
    process: Process,
}

/// What a broker needs to run, in a folder that somebody else keeps; for who starts and kills it by himself.
pub struct KafkaFiles {
    folder: PathBuf,
    jars: PathBuf,
    ports: Ports,
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
        let folder = TempDir::new()?;
        let files = KafkaFiles::make(folder.path())?;
        let process = run(&files)?;
        Ok(Self { folder, files, process })
    }

    /// The plain listener, as `host:port`.
    pub fn plain(&self) -> String {
        self.files.plain()
    }

    /// The listener that asks for a certificate.
    pub fn tls(&self) -> String {
        format!("localhost:{}", self.files.ports.tls)
    }

    /// The listener with TLS that asks for a user, see [`KAFKA_USER`].
    pub fn sasl(&self) -> String {
        format!("localhost:{}", self.files.ports.sasl)
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
        self.process = run(&self.files)?;
        Ok(())
    }
}

impl KafkaFiles {
    /// Makes a folder that is there and empty a broker's, with users and certificates.
    ///
    /// # Errors
    /// When Kafka wasn't fetched, or its tools fail.
    pub fn make(folder: &Path) -> Result<Self> {
        let jars = jars()?;
        let ports =
            Ports { plain: free_port()?, tls: free_port()?, sasl: free_port()?, controller: free_port()? };
        let authority = Authority::new()?;
        authority.write(folder)?;
        authority.certify("localhost")?.write(folder, "broker")?;
        authority.certify("client")?.write(folder, "client")?;
        fs::write(folder.join("server.properties"), properties(folder, ports)?)?;
        format(folder, &jars)?;
        Ok(Self { folder: folder.to_owned(), jars, ports })
    }

    /// The plain listener, as `host:port`.
    pub fn plain(&self) -> String {
        format!("localhost:{}", self.ports.plain)
    }

    /// The port of the plain listener.
    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// What starts the broker.
    pub fn command(&self) -> Command {
        let mut command = java(&self.jars, "kafka.Kafka");
        command.arg(self.folder.join("server.properties")).current_dir(&self.folder);
        command
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
    let heartbeat_ms = SESSION_MS / 6;
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
         broker.session.timeout.ms={SESSION_MS}\nbroker.heartbeat.interval.ms={heartbeat_ms}\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\nlog.cleaner.dedupe.buffer.size=2097152\nauto.create.topics.enable=false\n"
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

fn run(files: &KafkaFiles) -> Result<Process> {
    let KafkaFiles { folder, ports, .. } = files;
    let log = File::options().create(true).append(true).open(folder.join("kafka.log"))?;
    let mut command = files.command();
    command.stdout(log.try_clone()?).stderr(log);
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
