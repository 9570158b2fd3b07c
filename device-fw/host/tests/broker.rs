//! Device processes against a real Mosquitto and an edge that only answers.

use std::process::Command;
use std::time::Duration;

use embedded_svc::mqtt::client::{Client, Enqueue, QoS, asynch::Connection as _};
use tempfile::TempDir;
use tokio::task::LocalSet;
use wattle_device::mqtt::{Broker, Connection, Received, Sender, Will, connect};
use wattle_testkit::{Mosquitto, Process};
use wattle_wire::message::{self, *};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{Milliamps, Millis, WattHours};

const USERS: [(&str, &str); 4] = [("edge", "e"), ("cp-1", "one"), ("cp-2", "two"), ("m-1", "three")];
const LIMIT: Duration = Duration::from_secs(20);

/// An edge that acknowledges everything and answers each reading of a charger with a setpoint.
struct Edge {
    sender: Sender,
    connection: Connection,
    limit_ma: i32,
    number: u64,
    heard: Vec<(String, Channel, Vec<u8>)>,
}

impl Edge {
    async fn new(broker: &Mosquitto, limit_ma: i32) -> Self {
        let edge = Broker {
            host: "127.0.0.1".into(),
            port: broker.port(),
            name: "edge".into(),
            password: Some("e".into()),
        };
        let (mut sender, mut connection) = connect(&edge, Will { topic: "edge".into(), payload: Vec::new() });
        while !matches!(connection.next().await.expect("open"), Received::Connected) {}
        sender.subscribe("wattle/v1/depot/#", QoS::AtLeastOnce).expect("room");
        Self { sender, connection, limit_ma, number: 0, heard: Vec::new() }
    }

    /// Serves until `done` finds in what was heard what it looks for.
    async fn until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let serve = async {
            loop {
                if let Some(found) = done(self) {
                    return found;
                }
                if let Received::Message { topic, payload } = self.connection.next().await.expect("open") {
                    self.message(&topic, payload);
                }
            }
        };
        tokio::time::timeout(LIMIT, serve).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
    }

    fn message(&mut self, name: &str, payload: Vec<u8>) {
        let (_, device, channel) = topic::parse(name).expect("ours");
        let device = device.to_owned();
        match channel {
            Channel::Reading => {
                let reading: Reading = message::decode(&payload).expect("a sound reading");
                let number = reading.number().expect("whole").expect("numbered");
                self.acknowledge(&device, number);
                if reading.state.is_some_and(ChargerState::asks) {
                    self.setpoint(&device, number);
                }
            }
            Channel::Session => {
                let step: Session = message::decode(&payload).expect("a sound step");
                self.acknowledge(&device, step.number().expect("whole").expect("numbered"));
            }
            _ => {}
        }
        self.heard.push((device, channel, payload));
    }

    fn acknowledge(&mut self, device: &str, number: Number) {
        let ack = Ack { boot: number.boot, from: number.seq, to: number.seq };
        self.say(device, Channel::Ack, message::encode(&ack));
    }

    fn setpoint(&mut self, device: &str, seen: Number) {
        self.number += 1;
        let setpoint = Setpoint {
            number: self.number,
            limit_ma: Milliamps(self.limit_ma),
            validity_ms: Millis(2000),
            seen: Some(seen),
        };
        self.say(device, Channel::Setpoint, message::encode(&setpoint));
    }

    fn say(&mut self, device: &str, channel: Channel, payload: Vec<u8>) {
        let name = format!("{}/depot/{device}/{}", topic::PREFIX, channel.as_str());
        self.sender.enqueue(&name, QoS::AtMostOnce, false, &payload).expect("room");
    }

    fn readings(&self, device: &str) -> impl Iterator<Item = Reading> {
        self.all(device, Channel::Reading)
    }

    fn all<T: serde::de::DeserializeOwned>(&self, device: &str, channel: Channel) -> impl Iterator<Item = T> {
        let own = self.heard.iter().filter(move |(d, c, _)| d == device && *c == channel);
        own.map(|(.., payload)| message::decode(payload).expect("sound"))
    }
}

fn device(broker: &Mosquitto, folder: &TempDir, words: &str) -> Process {
    let passwords = folder.path().join("passwords");
    // Once: a device that starts beside this one may be reading it.
    if !passwords.exists() {
        let lines: String = USERS.iter().map(|(name, password)| format!("{name}:{password}\n")).collect();
        std::fs::write(&passwords, lines).expect("writable");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-device"));
    command.args(words.split_whitespace()).args(["--site", "depot", "--interval-ms", "200"]);
    command.args(["--broker", &format!("127.0.0.1:{}", broker.port())]).arg("--password-file").arg(passwords);
    Process::start(command).expect("the device starts")
}

fn charger(broker: &Mosquitto, folder: &TempDir) -> Process {
    let state = folder.path().join("state");
    device(broker, folder, &format!("charger --id cp-1 --state {}", state.display()))
}

fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

fn first_draw(edge: &Edge) -> Option<Milliamps> {
    let drawn = |r: Reading| r.values().current_ma.and_then(|c| c.get(0)).filter(|c| c.0 > 0);
    edge.readings("cp-1").find_map(drawn)
}

#[test]
fn a_charger_obeys_confirms_and_tells_its_stay() {
    on_one_thread(async {
        let (broker, folder) =
            (Mosquitto::start(&USERS, "").expect("broker"), TempDir::new().expect("folder"));
        let mut edge = Edge::new(&broker, 16_000).await;
        let mut process = charger(&broker, &folder);
        process.say("plug alice").expect("listens");
        let drawn = edge.until("a current", first_draw).await;
        assert!((15_950..=16_000).contains(&drawn.0), "{drawn}");
        assert!(edge.all::<Confirm>("cp-1", Channel::Confirm).all(|c| c.refused.is_none()));
        process.say("unplug").expect("listens");
        edge.until("the last step", |e| {
            e.all::<Session>("cp-1", Channel::Session).find(|s| s.step == SessionStep::Unplug)
        })
        .await;
        let steps: Vec<_> = edge.all::<Session>("cp-1", Channel::Session).map(|s| s.step).collect();
        assert_eq!(steps, [SessionStep::Plug, SessionStep::Start, SessionStep::End, SessionStep::Unplug]);
    });
}

#[test]
fn a_killed_charger_comes_back_with_its_register_and_closes_its_stay() {
    on_one_thread(async {
        let (broker, folder) =
            (Mosquitto::start(&USERS, "").expect("broker"), TempDir::new().expect("folder"));
        let mut edge = Edge::new(&broker, 32_000).await;
        let mut process = charger(&broker, &folder);
        process.say("plug alice").expect("listens");
        let most = |e: &Edge| e.readings("cp-1").filter_map(|r| r.values().register_wh).max();
        edge.until("two watt-hours", |e| most(e).filter(|wh| *wh >= WattHours(2))).await;
        process.kill().expect("killed");
        let mut process = charger(&broker, &folder);
        let closing = edge
            .until("the closing of the stay", |e| {
                let mut steps = e.all::<Session>("cp-1", Channel::Session);
                steps.find(|s| s.boot == Some(2) && s.step == SessionStep::Unplug)
            })
            .await;
        assert!(closing.register_wh >= most(&edge), "{closing:?}");
        let wills = edge.all::<Status>("cp-1", Channel::Status).filter(|s| !s.online).count();
        assert!(wills >= 1, "the broker has told the last will");
        process.terminate(LIMIT).expect("ends");
    });
}

#[test]
fn a_meter_sees_what_chargers_draw_over_the_cable_and_a_silent_edge_ends_it() {
    on_one_thread(async {
        let (broker, folder) =
            (Mosquitto::start(&USERS, "").expect("broker"), TempDir::new().expect("folder"));
        let mut edge = Edge::new(&broker, 10_000).await;
        let cable = wattle_testkit::free_port().expect("a port");
        let meter = format!("meter --id m-1 --load 5 --noise-ma 0 --cable 127.0.0.1:{cable}");
        let _meter = device(&broker, &folder, &meter);
        let chargers = ["cp-1", "cp-2"].map(|id| {
            let words = format!("charger --id {id} --noise-ma 0 --plugged bob --cable 127.0.0.1:{cable}");
            device(&broker, &folder, &words)
        });
        let last = |e: &Edge| e.readings("m-1").last().and_then(|r| r.values().current_ma?.get(0));
        edge.until("home and two chargers", |e| last(e).filter(|c| *c == Milliamps(25_000))).await;
        // A setpoint below the minimum is standby, and so is none at all.
        edge.limit_ma = 5_000;
        edge.until("the home alone", |e| last(e).filter(|c| *c == Milliamps(5_000))).await;
        drop(chargers);
    });
}

#[test]
fn a_double_socket_is_one_device_whose_connectors_charge_each_its_own_vehicle() {
    on_one_thread(async {
        let (broker, folder) =
            (Mosquitto::start(&USERS, "").expect("broker"), TempDir::new().expect("folder"));
        let mut edge = Edge::new(&broker, 10_000).await;
        let state = folder.path().join("state");
        let words = format!("charger --id cp-1 --connectors 1,2 --noise-ma 0 --state {}", state.display());
        let mut process = device(&broker, &folder, &words);
        process.say("1 plug alice").expect("listens");
        let draws = |e: &Edge, of: &str, ma: i32| {
            let last = e.readings(of).last().and_then(|r| r.values().current_ma?.get(0));
            last.filter(|drawn| *drawn == Milliamps(ma))
        };
        edge.until("a current at one", |e| draws(e, "cp-1/1", 10_000)).await;
        assert_eq!(draws(&edge, "cp-1/2", 0), Some(Milliamps(0)), "nobody is there");
        process.say("dance").expect("listens");
        process.say("2 plug bob").expect("listens");
        edge.until("a current at both", |e| draws(e, "cp-1/1", 10_000).and(draws(e, "cp-1/2", 10_000))).await;
        process.say("1 unplug").expect("listens");
        edge.until("a current at the other", |e| draws(e, "cp-1/1", 0).and(draws(e, "cp-1/2", 10_000))).await;
        let users = |of: &str| edge.all::<Session>(of, Channel::Session).find_map(|s| s.user);
        assert_eq!(users("cp-1/1").map(String::from).as_deref(), Some("alice"));
        assert_eq!(users("cp-1/2").map(String::from).as_deref(), Some("bob"));
        assert!(edge.all::<Confirm>("cp-1/2", Channel::Confirm).all(|c| c.refused.is_none()));
        let is_named = |(device, channel, _): &(String, Channel, Vec<u8>)| match channel {
            Channel::Announce | Channel::Status => device == "cp-1",
            _ => device.starts_with("cp-1/"),
        };
        assert!(edge.heard.iter().all(is_named));

        // One of them alone was stored: the next start has one number for both all the same.
        process.kill().expect("killed");
        std::fs::remove_dir_all(state.join("2")).expect("it is there");
        let mut process = device(&broker, &folder, &words);
        for connector in ["cp-1/1", "cp-1/2"] {
            edge.until("the next start", |e| e.readings(connector).find(|r| r.boot == Some(2))).await;
        }
        process.terminate(LIMIT).expect("ends");
        edge.until("the goodbye", |e| {
            e.all::<Status>("cp-1", Channel::Status).find(|s| !s.online && s.boot == Some(2))
        })
        .await;
    });
}

#[test]
fn a_stopped_device_says_so_after_its_messages_are_acknowledged() {
    on_one_thread(async {
        let (broker, folder) =
            (Mosquitto::start(&USERS, "").expect("broker"), TempDir::new().expect("folder"));
        let mut edge = Edge::new(&broker, 16_000).await;
        let mut process = charger(&broker, &folder);
        edge.until("a reading", |e| e.readings("cp-1").next()).await;
        Command::new("kill").arg(process.id().to_string()).status().expect("a signal");
        edge.until("the goodbye", |e| e.all::<Status>("cp-1", Channel::Status).find(|s| !s.online)).await;
        assert!(process.ended_within(LIMIT).is_some_and(|ended| ended.success()));
    });
}

#[test]
fn the_python_charger_of_the_contract_charges_and_leaves_nothing_unacknowledged() {
    on_one_thread(async {
        let broker = Mosquitto::start(&USERS, "").expect("broker");
        let paho = Command::new("/usr/bin/python3").args(["-c", "import paho.mqtt.client"]).status();
        assert!(paho.is_ok_and(|s| s.success()), "python3 with paho-mqtt isn't there; run `make setup`");
        let mut edge = Edge::new(&broker, 16_000).await;
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/charger.py"));
        command.args(["127.0.0.1", &broker.port().to_string(), "depot", "cp-1", "one", "alice", "3"]);
        let mut process = Process::start(command).expect("python starts");
        assert_eq!(edge.until("a current", first_draw).await, Milliamps(16_000));
        edge.until("the goodbye", |e| e.all::<Status>("cp-1", Channel::Status).find(|s| !s.online)).await;
        assert!(process.ended_within(LIMIT).is_some_and(|ended| ended.success()));
        let end = edge.all::<Session>("cp-1", Channel::Session).find(|s| s.step == SessionStep::End);
        assert!(end.and_then(|s| s.register_wh) >= Some(WattHours(1)));
    });
}

fn refused(words: &str, expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_wattle-device")).args(words.split_whitespace()).output();
    let output = output.expect("starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}: {text}");
    assert!(text.contains(expected), "{words}: {text}");
}

#[test]
fn what_cannot_be_used_is_refused_with_a_sentence_and_exit_2() {
    refused("charger --site depot --id cp-1 --broker nowhere", "has no port");
    refused("charger --site depot --id cp-1 --password-file /nonexistent", "can't read /nonexistent");
    refused("charger --site depot --id cp-1 --password-file /dev/null", "no line for device cp-1");
    refused("charger --site depot --id cp-1 --scenario /nonexistent", "can't read");
    refused("charger --site depot --id cp/1", "holds '/'");
}
