//! What a real node has journaled comes out again: while it runs, after it was killed, and after it has ended. On both brokers.

use std::path::PathBuf;
use std::process::Command;

use wattle_edge::journal::Reader;
use wattle_edge::replay::{Replay, Shelf, Silent, Tally};
use wattle_testkit::wait_for;
use wattle_wire::Micros;
use wattle_wire::message::{self, Setpoint};
use wattle_wire::row::{Record, Row};

use crate::policy::component;
use crate::support::{Broker, Device, Edge, LIMIT};

/// A vehicle at a charger that obeys, for so many readings, each acknowledged before the next.
struct Vehicle {
    charger: Device,
    meter: Device,
    seq: u64,
    obeyed: Setpoint,
}

impl Vehicle {
    fn new(edge: &Edge, seq: u64) -> Self {
        let (charger, meter) = (edge.device("cp-1").ready(), edge.device("m-1").ready());
        charger.say("announce", r#"{"kind":"charger","boot":1}"#);
        charger.say("status", r#"{"online":true,"boot":1}"#);
        let nothing = r#"{"number":0,"limit_ma":0,"validity_ms":1}"#;
        Self { charger, meter, seq, obeyed: message::decode(nothing.as_bytes()).expect("as agreed") }
    }

    fn step(&mut self, step: &str) {
        let seq = self.seq;
        self.charger
            .say("session", format!(r#"{{"boot":1,"seq":{seq},"step":"{step}","register_wh":{seq}}}"#));
        self.charger.acknowledged(1, seq, seq);
        self.seq += 1;
    }

    fn charge(&mut self, readings: u64) {
        for _ in 0..readings {
            for told in self.charger.heard_so_far("/setpoint") {
                let told: Setpoint = message::decode(&told).expect("as agreed");
                self.charger.say("confirm", format!(r#"{{"boot":1,"setpoint":{}}}"#, told.number));
                self.obeyed = told;
            }
            let (seq, number, ma) = (self.seq, self.obeyed.number, self.obeyed.limit_ma.0);
            let state = if ma > 0 { "charging" } else { "waiting" };
            let total = ma + 4_000 + (seq % 7) as i32 * 10;
            self.meter.say("reading", format!(r#"{{"current_ma":[{total},4000,4000]}}"#));
            let values = format!(r#""state":"{state}","setpoint":{number},"current_ma":[{ma}]"#);
            self.charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},{values}}}"#));
            self.charger.acknowledged(1, seq, seq);
            self.seq += 1;
        }
    }
}

fn folders(edge: &Edge) -> (PathBuf, PathBuf) {
    (edge.folder.path().join("data/journal"), edge.folder.path().join("policies"))
}

pub fn replayed(edge: &Edge) -> (Tally, u64) {
    let (journal, policies) = folders(edge);
    let shelf = Shelf::new(&[policies]).expect("a shelf");
    let site = "depot".parse().expect("a name");
    let mut replay = Replay::new(site, shelf, Micros(i64::MIN)..=Micros::MAX, Silent);
    let records: Vec<Record> =
        Reader::open(&journal).expect("a journal").map(|record| record.expect("readable")).collect();
    records.iter().for_each(|record| replay.take(record));
    let recorded = records.iter().filter(|record| matches!(record.row, Row::Decision(_))).count();
    (replay.end().0, recorded as u64)
}

fn check(broker: Broker) {
    let fair_share = component("fair-share");
    let mut edge = Edge::start_with(broker, "policy = 'site'", Some(&fair_share));
    let mut vehicle = Vehicle::new(&edge, 1);
    vehicle.step("plug");
    vehicle.step("start");
    wait_for("a charge", LIMIT, || {
        vehicle.charge(3);
        (vehicle.obeyed.limit_ma.0 > 0).then_some(())
    })
    .expect("it charges");
    wait_for("decisions to be recorded", LIMIT, || {
        vehicle.charge(3);
        let (running, _) = replayed(&edge);
        assert_eq!((running.differences, running.different), (vec![], 0));
        (running.same > 2).then_some(())
    })
    .expect("recorded while it runs");

    edge.kill_and_restart();
    let mut vehicle = Vehicle::new(&edge, vehicle.seq);
    vehicle.charge(20);
    vehicle.step("end");
    vehicle.step("unplug");
    assert_eq!(edge.stop(), Some(0));
    let (tally, recorded) = replayed(&edge);
    assert_eq!((tally.differences, tally.stretches), (vec![], vec![]));
    assert_eq!((tally.same, tally.begun, tally.keyframes_different), (recorded, 2, 0));

    let (_, policies) = folders(&edge);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-edge"));
    command.arg("explain").arg("--data").arg(edge.folder.path().join("data"));
    let explained = command.arg("--policies").arg(policies).output().expect("it runs");
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(explained.status.success(), "{}", String::from_utf8_lossy(&explained.stderr));
    assert!(text.contains("Site depot, decided") && text.contains("Charger cp-1: "), "{text}");
    assert!(!text.contains("NOT"), "{text}");
}

#[test]
fn what_a_node_with_the_embedded_broker_has_decided_comes_out_again() {
    check(Broker::Embedded);
}

#[test]
fn what_a_node_with_mosquitto_has_decided_comes_out_again() {
    check(Broker::Mosquitto);
}
