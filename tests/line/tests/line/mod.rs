//! A fog node, an edge node and a broker, each a process with ports and a folder of its own.

mod outside;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wattle_client::Client;
use wattle_testkit::{Mosquitto, Process, free_port, program};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(40);
/// Debian's, for which `make setup` installs the MQTT client.
pub const PYTHON: &str = "/usr/bin/python3";
/// 10 A on L1.
pub const METER_READING: &str = r#"{"current_ma":[10000,0,0]}"#;

const USERS: [(&str, &str); 6] = [
    ("m-1", "pw-m"),
    ("cp-1", "pw-1"),
    ("cp-2", "pw-2"),
    ("box-1", "pw-b"),
    ("ems", "pw-ems"),
    ("wattle-edge", "pw-e"),
];
const SITE: &str = "id = 'depot'
[control]
interval_ms = 200
validity_ms = 4000
raise_delay_ms = 0
resume_room_a = 0
least_off_ms = 0
[[circuits]]
id = 'grid'
limit_a = 30
[[meters]]
id = 'm-1'
circuit = 'grid'
[[chargers]]
id = 'cp-1'
circuit = 'grid'
phases = ['L1']
[[chargers]]
id = 'cp-2'
circuit = 'grid'
phases = ['L1']
[[chargers]]
id = 'box-1'
circuit = 'grid'
phases = ['L1']
max_a = 20
connectors = [{ id = '1' }, { id = '2' }]
[[systems]]
id = 'ems'
may = ['limit']
";

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    Embedded,
    Mosquitto,
}

/// The line, from broker to SQL.
pub struct Line {
    folder: TempDir,
    mqtt_port: u16,
    sql_port: u16,
    edge: Process,
    fog: Process,
    _mosquitto: Option<Mosquitto>,
}

impl Line {
    pub fn start(broker: Broker) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mosquitto = (broker == Broker::Mosquitto).then(|| {
            let limits = "use_username_as_clientid true\nmax_queued_messages 0\nmax_inflight_messages 8000\n";
            Mosquitto::start(&USERS, limits).expect("Mosquitto starts")
        });
        let port = || free_port().expect("a port");
        let mqtt_port = mosquitto.as_ref().map_or_else(port, Mosquitto::port);
        let (uplink, sql_port, fog_http, edge_http) = (port(), port(), port(), port());
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(at(name), text).expect("written");
        let fog = format!(
            "lake = {:?}\nuplink = '127.0.0.1:{uplink}'\nsql = '127.0.0.1:{sql_port}'\nhttp = '127.0.0.1:{fog_http}'\n\
             commit_interval_ms = 200\nderive_interval_ms = 500\n",
            at("lake")
        );
        let mode = if broker == Broker::Embedded { "embedded" } else { "external" };
        let edge = format!(
            "data = {:?}\n[broker]\nmode = '{mode}'\nlisten = '127.0.0.1:{mqtt_port}'\naddress = '127.0.0.1:{mqtt_port}'\n\
             password_file = {:?}\n[journal]\nseal_after_ms = 300\n[uplink]\naddress = 'http://127.0.0.1:{uplink}'\n\
             [http]\nlisten = '127.0.0.1:{edge_http}'\n",
            at("edge"),
            at("password")
        );
        fs::create_dir(at("edge")).expect("a folder");
        let passwords: String = USERS.iter().map(|(user, password)| format!("{user}:{password}\n")).collect();
        write("edge/passwords", &passwords);
        write("password", "pw-e\n");
        write("site.toml", SITE);
        write("fog.toml", &fog);
        write("edge.toml", &edge);
        let run = |name: &str, arguments: &[&str], http: u16| {
            let mut command = Command::new(program(name).expect("is built"));
            command.args(arguments).current_dir(folder.path());
            let mut process = Process::start(command).expect("starts");
            process.wait_healthy(http, LIMIT).expect("becomes healthy");
            process
        };
        let fog = run("wattle-fog", &["--config", "fog.toml"], fog_http);
        let edge = run("wattle-edge", &["--config", "edge.toml", "site.toml"], edge_http);
        Self { folder, mqtt_port, sql_port, edge, fog, _mosquitto: mosquitto }
    }

    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_port
    }

    /// A meter that publishes each line that it is told.
    pub fn meter(&self) -> Process {
        let mut command = self.mosquitto("mosquitto_pub", "m-1", "pw-m", "m-1");
        command.args(["-l", "-q", "1", "-t", "wattle/v1/depot/m-1/reading"]);
        Process::start(command).expect("mosquitto_pub starts")
    }

    /// Publishes one message and waits until the broker has it.
    pub fn say(&self, device: &str, password: &str, channel: &str, retained: bool, text: &str) {
        let mut command = self.mosquitto("mosquitto_pub", device, password, device);
        command.args(["-q", "1", "-t", &format!("wattle/v1/depot/{device}/{channel}"), "-m", text]);
        if retained {
            command.arg("-r");
        }
        assert!(
            command.status().expect("mosquitto_pub runs; if not, run `make setup`").success(),
            "{channel}: {text}"
        );
    }

    /// Someone who looks on at what comes down to a device.
    pub fn listen(&self, device: &str, password: &str, channel: &str) -> Listener {
        let mut command = self.mosquitto("mosquitto_sub", device, password, &format!("{device}@listen"));
        command.args(["-t", &format!("wattle/v1/depot/{device}/{channel}")]).stdout(Stdio::piped());
        let mut process = Process::start(command).expect("mosquitto_sub starts");
        let stdout = process.take_stdout().expect("it is piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.lock().expect("no panic while it is held").push(line);
            }
        });
        Listener { lines, _process: process }
    }

    fn mosquitto(&self, program: &str, user: &str, password: &str, client: &str) -> Command {
        let mut command = Command::new(program);
        let port = self.mqtt_port.to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-u", user, "-P", password, "-i", client]);
        command
    }

    /// A device of ours, with its password, that plays what these words say.
    pub fn device(&self, words: &str) -> Process {
        let mut command = Command::new(program("wattle-device").expect("is built"));
        command.args(words.split_whitespace()).args([
            "--site",
            "depot",
            "--interval-ms",
            "200",
            "--noise-ma",
            "0",
        ]);
        command.args(["--broker", &format!("127.0.0.1:{}", self.mqtt_port)]);
        command.arg("--password-file").arg(self.folder.path().join("edge/passwords"));
        Process::start(command).expect("starts")
    }

    /// `wattle signal` as `ems`, with these words: its exit code, and what it says.
    pub fn signal(&self, words: &str) -> (Option<i32>, String) {
        let mut command = Command::new(program("wattle").expect("is built"));
        command.args(["signal", "--site", "depot", "--as", "ems", "--passwords"]);
        command.arg(self.folder.path().join("edge/passwords"));
        command.args(["--broker", &format!("127.0.0.1:{}", self.mqtt_port)]).args(words.split_whitespace());
        let output = command.output().expect("runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The rows of an answer.
    pub fn sql(&self, sql: &str) -> Vec<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let batches = runtime.block_on(async {
            let mut client =
                Client::connect(&format!("http://127.0.0.1:{}", self.sql_port)).await.expect("it listens");
            client.query(sql).await.expect("a query").collect().await.expect("an answer")
        });
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        writer.write_batches(&batches.iter().collect::<Vec<_>>()).expect("plain values");
        writer.finish().expect("plain values");
        let text = writer.into_inner();
        if text.is_empty() { Vec::new() } else { serde_json::from_slice(&text).expect("JSON") }
    }

    /// What `wattle policy replay` makes of the lake.
    pub fn replay(&self) -> Value {
        let mut command = Command::new(program("wattle").expect("is built"));
        command.args(["policy", "replay", "--json", "--lake"]).arg(self.folder.path().join("lake"));
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one object")
    }

    /// SIGTERM to both nodes: each drains and ends well.
    pub fn stop(&mut self) {
        assert!(self.edge.terminate(LIMIT).expect("ends").success(), "edge");
        assert!(self.fog.terminate(LIMIT).expect("ends").success(), "fog");
        assert!(self.folder.path().exists());
    }
}

/// Lines that have come so far.
pub struct Listener {
    lines: Arc<Mutex<Vec<String>>>,
    _process: Process,
}

impl Listener {
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while it is held").clone()
    }
}
