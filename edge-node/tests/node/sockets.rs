//! A charger of two connectors, by one login, on both brokers: each connector has its own vehicle, numbers, session, register,
//! setpoint and confirmation, and both share what their supply carries.

use std::collections::BTreeMap;

use wattle_testkit::wait_for;
use wattle_wire::message::{self, Ack, Setpoint};

use crate::support::{Broker, Device, Edge, LIMIT};

const BOX: &str = "[[chargers]]\nid = 'box-1'\ncircuit = 'grid'\nphases = ['L1']\nmax_a = 20\n\
    connectors = [{ id = 'left' }, { id = 'right' }]\n";

/// A double socket, a vehicle at each of those connectors that are named, and the site's meter.
struct Sockets {
    device: Device,
    meter: Device,
    asking: Vec<&'static str>,
    obeyed: BTreeMap<&'static str, Setpoint>,
    /// By connector the highest number that was acknowledged.
    acknowledged: BTreeMap<&'static str, u64>,
    seq: u64,
}

impl Sockets {
    fn plug(edge: &Edge) -> Self {
        let device =
            Device::connect_as(edge.mqtt_port, "box-1", "pw-b", &["box-1/left", "box-1/right"]).ready();
        let meter = edge.device("m-1").ready();
        device.say("announce", r#"{"kind":"charger","boot":1}"#);
        device.say("status", r#"{"online":true,"boot":1}"#);
        let mut sockets = Self {
            device,
            meter,
            asking: Vec::new(),
            obeyed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            seq: 1,
        };
        for (connector, user) in [("left", "ann"), ("right", "ben")] {
            sockets.session(connector, "plug", 1_000, "");
            sockets.session(connector, "start", 1_000, &format!(r#","user":"{user}""#));
        }
        sockets
    }

    fn session(&mut self, connector: &'static str, step: &str, register: i64, more: &str) {
        let number = format!(r#""boot":1,"seq":{}"#, self.seq);
        let step = format!(r#"{{{number},"step":"{step}","register_wh":{register}{more}}}"#);
        self.device.publish(&format!("wattle/v1/depot/box-1/{connector}/session"), step);
        self.seq += 1;
    }

    fn drawn(&self, connector: &str) -> i32 {
        let told = self.obeyed.get(connector).map_or(0, |setpoint| setpoint.limit_ma.0);
        if self.asking.contains(&connector) { told } else { 0 }
    }

    /// All measure once.
    fn step(&mut self) {
        for connector in ["left", "right"] {
            let (drawn, number) = (self.drawn(connector), self.obeyed.get(connector).map_or(0, |s| s.number));
            let state = match (self.asking.contains(&connector), drawn) {
                (false, _) => "finished",
                (true, 0) => "waiting",
                (true, _) => "charging",
            };
            let number = format!(r#""boot":1,"seq":{},"setpoint":{number}"#, self.seq);
            let reading =
                format!(r#"{{{number},"state":"{state}","current_ma":[{drawn}],"register_wh":1000}}"#);
            self.device.publish(&format!("wattle/v1/depot/box-1/{connector}/reading"), reading);
            self.seq += 1;
        }
        let all = self.drawn("left") + self.drawn("right");
        self.meter.say("reading", format!(r#"{{"boot":1,"seq":{},"current_ma":[{all},0,0]}}"#, self.seq));
        for (topic, payload) in self.device.heard_at_all() {
            let connector = if topic.contains("/left/") { "left" } else { "right" };
            if topic.ends_with("/ack") {
                let ack: Ack = message::decode(&payload).expect("as agreed");
                self.acknowledged.insert(connector, ack.to);
            } else if topic.ends_with("/setpoint") {
                let told: Setpoint = message::decode(&payload).expect("as agreed");
                if self.obeyed.get(connector).is_none_or(|before| before.number < told.number) {
                    self.obeyed.insert(connector, told);
                }
            }
        }
    }

    fn are_given(&mut self, asking: &[&'static str], left: i32, right: i32) {
        self.asking = asking.to_vec();
        let mut times = 0;
        wait_for(&format!("{left} A and {right} A"), LIMIT, || {
            self.step();
            let both = (self.drawn("left"), self.drawn("right"));
            times = if both == (1_000 * left, 1_000 * right) { times + 1 } else { 0 };
            (times == 50).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}; they obey {:?}", self.obeyed));
    }
}

fn check(broker: Broker) {
    let mut edge = Edge::start_and(broker, BOX);
    let mut sockets = Sockets::plug(&edge);
    sockets.are_given(&["left"], 20, 0);
    sockets.are_given(&["left", "right"], 10, 10);
    sockets.are_given(&["right"], 0, 20);
    let seq = sockets.seq;
    wait_for("both to be acknowledged", LIMIT, || {
        sockets.step();
        sockets.acknowledged.values().all(|to| *to >= seq).then_some(())
    })
    .expect("acknowledged");
    sockets.session("left", "end", 1_700, "");
    sockets.session("left", "unplug", 1_700, "");
    // What is a connector's is no device's, and the other way round.
    sockets.device.say("reading", r#"{"boot":1,"seq":1,"current_ma":[0]}"#);
    sockets.device.publish("wattle/v1/depot/box-1/left/status", r#"{"online":false}"#);
    sockets.device.publish("wattle/v1/depot/box-1/middle/reading", r#"{"current_ma":[0]}"#);
    sockets.device.say("status", r#"{"online":false,"boot":1}"#);
    sockets.are_given(&["right"], 0, 20);
    let status = edge.status();
    let circuits = status["sites"][0]["circuits"].as_array().expect("a list");
    assert!(circuits.iter().any(|circuit| circuit["id"] == "box-1"), "{status}");
    assert_eq!(edge.stop(), Some(0));

    let journaled = edge.journaled();
    for device in ["box-1:left", "box-1:right"] {
        assert!(journaled.readings.iter().any(|(id, ..)| id == device), "{device}");
    }
    for (kind, detail, times) in [
        ("plugged", "", 2),
        ("started", "", 2),
        ("unplugged", "", 1),
        ("announced", "", 2),
        ("online", "", 2),
        ("offline", "", 2),
        ("wrong_topic", "wattle/v1/depot/box-1/reading", 1),
        ("wrong_topic", "wattle/v1/depot/box-1/left/status", 1),
        ("unknown_device", "wattle/v1/depot/box-1/middle/reading", 1),
    ] {
        assert_eq!(journaled.count(kind, detail), times, "{kind} {detail}: {:#?}", journaled.events);
    }
}

#[test]
fn two_vehicles_share_one_double_socket_with_the_embedded_broker() {
    check(Broker::Embedded);
}

#[test]
fn two_vehicles_share_one_double_socket_with_mosquitto() {
    check(Broker::Mosquitto);
}
