//! An edge node as a process, on either broker, and devices that speak to it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;
use wattle_columns::Segment;
use wattle_edge::journal::{Journal, Options};
use wattle_testkit::{Mosquitto, Process, free_port, wait_for};
use wattle_wire::message::{self, Ack};
use wattle_wire::{EdgeId, Micros};

pub const LIMIT: Duration = Duration::from_secs(30);
/// After which a device sends again what was not acknowledged.
const RESEND_AFTER: Duration = Duration::from_secs(1);
const SITE: &str = "id = 'depot'\n[control]\ninterval_ms = 200\nvalidity_ms = 2000\nraise_delay_ms = 0\n\
    resume_room_a = 0\nleast_off_ms = 0\n[[circuits]]\nid = 'grid'\nlimit_a = 30\nfallback_a = 6\n[[meters]]\nid = 'm-1'\ncircuit = 'grid'\n\
    [[chargers]]\nid = 'cp-1'\ncircuit = 'grid'\nphases = ['L1']\n\
    [[chargers]]\nid = 'cp-2'\ncircuit = 'grid'\nphases = ['L1']\n\
    [[systems]]\nid = 'ems'\nmay = ['limit', 'price', 'surplus', 'manual']\n\
    [[systems]]\nid = 'operator'\nmay = ['limit']\n";
const USERS: [(&str, &str); 8] = [
    ("m-1", "pw-m"),
    ("box-1", "pw-b"),
    ("cp-1", "pw-1"),
    ("cp-2", "pw-2"),
    ("ems", "pw-ems"),
    ("operator", "pw-o"),
    ("stranger", "pw-s"),
    ("wattle-edge", "pw-e"),
];
/// What a device or a system hears.
const DOWN: [&str; 3] = ["setpoint", "ack", "answer"];

/// Which broker a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    Embedded,
    Mosquitto,
}

/// A node with a folder and ports of its own.
pub struct Edge {
    pub folder: TempDir,
    pub mqtt_port: u16,
    pub http_port: u16,
    process: Process,
    mosquitto: Option<Mosquitto>,
}

impl Edge {
    pub fn start(broker: Broker) -> Self {
        Self::start_with(broker, "", None)
    }

    /// A node whose site has these lines more in `[control]`, and whose policy `site`, if given, is this component.
    pub fn start_with(broker: Broker, control: &str, policy: Option<&[u8]>) -> Self {
        let mosquitto = (broker == Broker::Mosquitto).then(|| start_mosquitto(&[], ""));
        let site = SITE.replace("[control]\n", &format!("[control]\n{control}\n"));
        Self::start_site(broker, mosquitto, None, &site, policy)
    }

    /// A node whose site has these lines more.
    pub fn start_and(broker: Broker, lines: &str) -> Self {
        let mosquitto = (broker == Broker::Mosquitto).then(|| start_mosquitto(&[], ""));
        Self::start_site(broker, mosquitto, None, &format!("{SITE}{lines}"), None)
    }

    /// A node on the broker that ships, but with other lines for those that begin with one of `without`.
    pub fn start_on_mosquitto(without: &[&str], lines: &str) -> Self {
        Self::start_site(Broker::Mosquitto, Some(start_mosquitto(without, lines)), None, SITE, None)
    }

    /// A node whose broker somebody else plays on this port.
    pub fn start_at(port: u16) -> Self {
        Self::start_site(Broker::Mosquitto, None, Some(port), SITE, None)
    }

    fn start_site(
        broker: Broker,
        mosquitto: Option<Mosquitto>,
        port: Option<u16>,
        site: &str,
        policy: Option<&[u8]>,
    ) -> Self {
        let folder = TempDir::new().expect("folder");
        let http_port = free_port().expect("port");
        let mqtt_port = port.or(mosquitto.as_ref().map(Mosquitto::port));
        let mqtt_port = mqtt_port.unwrap_or_else(|| free_port().expect("port"));
        write(&folder, "site.toml", site);
        write(&folder, "password", "pw-e\n");
        fs::create_dir(folder.path().join("data")).expect("folder");
        let lines: String = USERS.iter().map(|(user, password)| format!("{user}:{password}\n")).collect();
        write(&folder, "data/passwords", &lines);
        let mode = if broker == Broker::Embedded { "embedded" } else { "external" };
        let path = folder.path().display();
        let policies = policy.map_or_else(String::new, |component| {
            fs::create_dir(folder.path().join("policies")).expect("folder");
            fs::write(folder.path().join("policies/site.wasm"), component).expect("writable");
            format!("policies = '{path}/policies'\n")
        });
        let config = format!(
            "id = 'edge-t'\ndata = '{path}/data'\n{policies}[broker]\nmode = '{mode}'\nlisten = '127.0.0.1:{mqtt_port}'\n\
             address = '127.0.0.1:{mqtt_port}'\npassword_file = '{path}/password'\n\
             [uplink]\naddress = ''\n[http]\nlisten = '127.0.0.1:{http_port}'\n"
        );
        write(&folder, "edge.toml", &config);
        let process = run(folder.path(), http_port);
        Self { folder, mqtt_port, http_port, process, mosquitto }
    }

    /// Another node with a folder of its own that logs in at this one's broker with the same client id. It is not waited for.
    pub fn twin(&self) -> (TempDir, Process, u16) {
        let folder = TempDir::new().expect("folder");
        let http_port = free_port().expect("port");
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).expect("there");
        let (mine, other) = (self.folder.path().display().to_string(), folder.path().display().to_string());
        let config = read("edge.toml").replace(&mine, &other);
        let config = config.replace(&format!(":{}'\n", self.http_port), &format!(":{http_port}'\n"));
        for (name, text) in
            [("edge.toml", config), ("site.toml", read("site.toml")), ("password", read("password"))]
        {
            write(&folder, name, &text);
        }
        let process = Process::start(command(folder.path())).expect("started");
        (folder, process, http_port)
    }

    /// The external broker.
    pub fn mosquitto(&mut self) -> &mut Mosquitto {
        self.mosquitto.as_mut().expect("it is on Mosquitto")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What a metric says now; 0 when there is none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        metric(self.http_port, name)
    }

    /// What `/healthz` says.
    pub fn health(&self) -> String {
        Process::get(self.http_port, "/healthz").unwrap_or_default()
    }

    /// SIGKILL, then the same node again.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().expect("killed");
        self.process = run(self.folder.path(), self.http_port);
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
    }

    /// Lines more at the end of its configuration, for the next start.
    pub fn configure(&self, lines: &str) {
        let path = self.folder.path().join("edge.toml");
        let text = fs::read_to_string(&path).expect("there");
        fs::write(path, format!("{text}{lines}")).expect("writable");
    }

    /// Other lines in its configuration, for the next start.
    pub fn replace(&self, old: &str, new: &str) {
        let path = self.folder.path().join("edge.toml");
        let text = fs::read_to_string(&path).expect("there");
        assert!(text.contains(old), "{text}");
        fs::write(path, text.replace(old, new)).expect("writable");
    }

    /// The same node again, after it was killed.
    pub fn start_again(&mut self) {
        self.process = run(self.folder.path(), self.http_port);
    }

    /// The same by another command, made of its own; it is not waited for.
    pub fn start_again_as(&mut self, make: impl FnOnce(Command) -> Command) {
        self.process = Process::start(make(command(self.folder.path()))).expect("started");
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.process.terminate(LIMIT).expect("it ends").code()
    }

    pub fn device(&self, name: &str) -> Device {
        let (_, password) = USERS.iter().find(|(user, _)| *user == name).expect("a user");
        Device::connect(self.mqtt_port, name, password)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&Process::get(self.http_port, "/status").expect("answer")).expect("JSON")
    }

    /// The process of the embedded broker, and how often it was started again.
    pub fn broker(&self) -> (Option<u64>, u64) {
        let page = self.status();
        (page["broker"]["process"].as_u64(), page["broker"]["restarts"].as_u64().expect("a number"))
    }

    /// A device as it should be: it says the readings of these numbers, again after a while and when its connection
    /// has ended, until each was acknowledged.
    pub fn resends_until_acknowledged(&self, name: &str, from: u64, to: u64) {
        let mut missing: BTreeSet<u64> = (from..=to).collect();
        let mut connected = None;
        wait_for("all to be acknowledged", LIMIT, || {
            let device = connected.take().unwrap_or_else(|| self.device(name));
            let topic = format!("wattle/v1/depot/{name}/reading");
            for seq in &missing {
                let payload = reading(1, *seq, 16_000);
                device.client.publish(&topic, QoS::AtLeastOnce, false, payload).ok()?;
            }
            device.take_acknowledgements(1, &mut missing, RESEND_AFTER).ok()?;
            connected = Some(device);
            missing.is_empty().then_some(())
        })
        .expect("acknowledged");
    }

    /// Everything that the journal holds; the node must not run.
    pub fn journaled(&self) -> Journaled {
        let id = EdgeId::new("edge-t").expect("name");
        let (mut journal, _) =
            Journal::open(Options::new(self.folder.path().join("data/journal"), id), Micros(0))
                .expect("opened");
        journal.seal(Micros::from_secs(i64::from(u32::MAX))).expect("sealed");
        let mut all = Journaled::default();
        let mut after = None;
        while let Some((header, bytes)) = journal.read_after(after).expect("readable") {
            all.take(&Segment::decode(&bytes).expect("a segment"));
            after = Some(header.to);
        }
        all
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Journaled {
    /// Sequence numbers of the devices' readings, as `(device, boot, seq)`.
    pub readings: Vec<(String, i64, i64)>,
    /// Kinds and details of the events.
    pub events: Vec<(String, String)>,
}

impl Journaled {
    fn take(&mut self, segment: &Segment) {
        let text = |batch: &arrow::array::RecordBatch, name: &str, row: usize| {
            batch.column_by_name(name).expect("column").as_string::<i32>().value(row).to_owned()
        };
        let number = |name: &str, row: usize| {
            let column = segment.readings.column_by_name(name).expect("column");
            if column.is_null(row) { -1 } else { column.as_primitive::<Int64Type>().value(row) }
        };
        for row in 0..segment.readings.num_rows() {
            let device = text(&segment.readings, "device", row);
            self.readings.push((device, number("boot", row), number("seq", row)));
        }
        for row in 0..segment.events.num_rows() {
            self.events.push((text(&segment.events, "kind", row), text(&segment.events, "detail", row)));
        }
    }

    pub fn count(&self, kind: &str, detail: &str) -> usize {
        self.events.iter().filter(|(k, d)| k == kind && d.contains(detail)).count()
    }
}

fn write(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).expect("writable");
}

/// What a node's metric says now; 0 when there is none of that name, or no answer.
pub fn metric(http_port: u16, name: &str) -> f64 {
    let page = Process::get(http_port, "/metrics").unwrap_or_default();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-edge"));
    command.arg("--config").arg(folder.join("edge.toml")).arg(folder.join("site.toml"));
    command
}

fn run(folder: &Path, http_port: u16) -> Process {
    let mut process = Process::start(command(folder)).expect("started");
    process.wait_healthy(http_port, LIMIT).expect("healthy");
    wait_for("the edge to be connected", LIMIT, || {
        Process::get(http_port, "/status").ok().filter(|page| page.contains("\"connected\":true"))
    })
    .expect("connected");
    process
}

/// Mosquitto with the configuration that ships, but for its paths and its port, without the lines that begin with one of
/// these, and with some more.
fn start_mosquitto(without: &[&str], lines: &str) -> Mosquitto {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/edge");
    let acl: PathBuf = shipped.join("mosquitto-acl");
    let own = [
        "listener",
        "allow_anonymous",
        "password_file",
        "acl_file",
        "persistence",
        "autosave",
        "log_dest stderr",
    ];
    let text = fs::read_to_string(shipped.join("mosquitto.conf")).expect("it ships");
    let left_out = |line: &&str| own.iter().chain(without).any(|key| line.starts_with(key));
    let kept: Vec<&str> = text.lines().filter(|line| !left_out(line)).collect();
    let text = format!("{}\nacl_file {}\n{lines}", kept.join("\n"), acl.display());
    Mosquitto::start(&USERS, &text).expect("started")
}

/// A device: publishes, and hears what is on its own topics.
pub struct Device {
    name: String,
    subscriptions: usize,
    client: Client,
    heard: mpsc::Receiver<Result<(String, Vec<u8>), String>>,
    /// What has come while acknowledgements were waited for, and was none.
    kept: RefCell<Vec<(String, Vec<u8>)>>,
    /// How many messages the broker has acknowledged.
    taken: Arc<AtomicU64>,
}

impl Device {
    pub fn connect(port: u16, name: &str, password: &str) -> Self {
        Self::connect_as(port, name, password, &[name])
    }

    /// A device that hears what is for these of its names, `device` or `device/connector`.
    pub fn connect_as(port: u16, name: &str, password: &str, names: &[&str]) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_credentials(name, password).set_max_packet_size(1 << 20, 4 << 20);
        let (client, mut connection) = Client::new(options, 10_000);
        let (say, heard) = mpsc::channel();
        for (name, channel) in names.iter().flat_map(|name| DOWN.map(|channel| (name, channel))) {
            let filter = format!("wattle/v1/depot/{name}/{channel}");
            client.subscribe(filter, QoS::AtMostOnce).expect("queued");
        }
        let taken = Arc::new(AtomicU64::new(0));
        let counter = taken.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                if matches!(event, Ok(Event::Incoming(Packet::PubAck(_)))) {
                    counter.fetch_add(1, Ordering::AcqRel);
                }
                let told = match event {
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        say.send(Ok((publish.topic, publish.payload.to_vec())))
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => say.send(Ok(("ready".into(), Vec::new()))),
                    Ok(_) => Ok(()),
                    Err(error) => {
                        // The first failure ends the device, so that a refused login is tried once.
                        let _ = say.send(Err(error.to_string()));
                        return;
                    }
                };
                if told.is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.into(),
            subscriptions: names.len() * DOWN.len(),
            client,
            heard,
            kept: RefCell::default(),
            taken,
        }
    }

    /// Whether the broker has taken so many messages of QoS 1.
    pub fn has_sent(&self, messages: u64) -> bool {
        self.taken.load(Ordering::Acquire) >= messages
    }

    /// Waits until its subscriptions stand.
    pub fn ready(self) -> Self {
        self.try_ready().expect("connected");
        self
    }

    /// The same; the error when the connection ends.
    pub fn try_ready(&self) -> Result<(), String> {
        let mut stand = 0;
        while stand < self.subscriptions {
            let (topic, _) = self.heard.recv_timeout(LIMIT).expect("heard in time")?;
            stand += usize::from(topic == "ready");
        }
        Ok(())
    }

    pub fn say(&self, channel: &str, payload: impl Into<Vec<u8>>) {
        self.publish(&format!("wattle/v1/depot/{}/{channel}", self.name), payload);
    }

    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish_as(QoS::AtLeastOnce, false, topic, payload);
    }

    pub fn publish_as(&self, qos: QoS, retained: bool, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, qos, retained, payload).expect("queued");
    }

    /// All that has come since the last look, with its topics.
    pub fn heard_at_all(&self) -> Vec<(String, Vec<u8>)> {
        let mut heard = self.kept.take();
        heard.extend(self.heard.try_iter().map(|heard| heard.expect("connected")));
        heard
    }

    /// What has come on the topic that ends so since the last look.
    pub fn heard_so_far(&self, end: &str) -> Vec<Vec<u8>> {
        let heard = self.heard_at_all().into_iter();
        heard.filter(|(topic, _)| topic.ends_with(end)).map(|(_, payload)| payload).collect()
    }

    /// Waits for the end of the connection.
    pub fn fails(&self) -> String {
        loop {
            if let Err(error) = self.heard.recv_timeout(LIMIT).expect("fails in time") {
                return error;
            }
        }
    }

    /// Waits until every number from `from` to `to` of the start was acknowledged.
    pub fn acknowledged(&self, boot: u32, from: u64, to: u64) {
        let mut missing = (from..=to).collect();
        self.take_acknowledgements(boot, &mut missing, LIMIT).expect("connected");
        assert!(missing.is_empty(), "not acknowledged in time: {missing:?}");
    }

    /// Takes away from `missing` what is acknowledged, until nothing is missing or the time is up; the error when the
    /// connection ends.
    fn take_acknowledgements(
        &self,
        boot: u32,
        missing: &mut BTreeSet<u64>,
        span: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + span;
        while !missing.is_empty() {
            let heard = self.heard.recv_timeout(end.saturating_duration_since(Instant::now()));
            let (topic, payload) = match heard {
                Ok(heard) => heard?,
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err("it has ended before".into()),
            };
            if !topic.ends_with("/ack") {
                self.kept.borrow_mut().push((topic, payload));
                continue;
            }
            let ack: Ack = message::decode(&payload).expect("as agreed");
            if ack.boot == boot {
                missing.retain(|seq| !(ack.from..=ack.to).contains(seq));
            }
        }
        Ok(())
    }
}

/// A reading with this number.
pub fn reading(boot: u32, seq: u64, ma: i32) -> String {
    format!(r#"{{"boot":{boot},"seq":{seq},"current_ma":[{ma}],"register_wh":1000}}"#)
}
