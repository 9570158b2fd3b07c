//! What a site is told from outside, on both brokers: who may say it, what is answered and journaled, what a restart
//! leaves of it, and what policies make of it.

use wattle_testkit::wait_for;
use wattle_wire::message::{self, Setpoint};
use wattle_wire::signal::Answer;

use crate::policy::component;
use crate::support::{Broker, Device, Edge, LIMIT};

/// A meter and a charger whose vehicle asks.
struct Vehicle {
    meter: Device,
    charger: Device,
    seq: u64,
    obeyed: Setpoint,
}

impl Vehicle {
    fn ask(edge: &Edge, first: u64) -> Self {
        let (meter, charger) = (edge.device("m-1").ready(), edge.device("cp-1").ready());
        charger.say("announce", r#"{"kind":"charger","boot":1}"#);
        let obeyed = message::decode(br#"{"number":0,"limit_ma":0,"validity_ms":1}"#).expect("as agreed");
        Self { meter, charger, seq: first, obeyed }
    }

    /// Both measure once; the vehicle draws what it was told.
    fn step(&mut self) {
        let (seq, Setpoint { number, limit_ma, .. }) = (self.seq, &self.obeyed);
        let state = if limit_ma.0 > 0 { "charging" } else { "waiting" };
        let drawn = format!(r#""state":"{state}","setpoint":{number},"current_ma":[{}]"#, limit_ma.0);
        self.charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},{drawn}}}"#));
        self.meter.say("reading", format!(r#"{{"boot":1,"seq":{seq},"current_ma":[{},0,0]}}"#, limit_ma.0));
        self.seq += 1;
        for told in self.charger.heard_so_far("/setpoint") {
            let told: Setpoint = message::decode(&told).expect("as agreed");
            if told.number > self.obeyed.number {
                self.obeyed = told;
            }
        }
    }

    /// Until it is told to draw so much, and so a hundred times more.
    fn is_given(&mut self, amps: i32) {
        let mut times = 0;
        wait_for(&format!("{amps} A"), LIMIT, || {
            self.step();
            times = if self.obeyed.limit_ma.0 == 1_000 * amps { times + 1 } else { 0 };
            (times == 100).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}; it was told {:?}", self.obeyed));
    }
}

fn signal(system: &Device, payload: &str) -> Answer {
    system.say("signal", payload);
    let answer = wait_for("an answer", LIMIT, || system.heard_so_far("/answer").pop()).expect("answered");
    message::decode(&answer).expect("as agreed")
}

#[track_caller]
fn take(system: &Device, payload: &str) {
    assert_eq!(signal(system, payload).refused, None, "{payload}");
}

#[track_caller]
fn refuse(system: &Device, payload: &str, expected: &str) {
    let refused = signal(system, payload).refused.expect("refused");
    assert!(refused.contains(expected), "{refused}");
}

fn check_limits(broker: Broker) {
    let mut edge = Edge::start(broker);
    let (ems, operator) = (edge.device("ems").ready(), edge.device("operator").ready());
    let mut vehicle = Vehicle::ask(&edge, 1);
    vehicle.is_given(30);
    take(&operator, r#"{"id":"1","limit":{"circuit":"grid","limit_w":4600,"for_ms":3600000}}"#);
    vehicle.is_given(6);
    take(&ems, r#"{"limit":{"circuit":"grid","limit_ma":25000,"for_ms":3600000}}"#);
    vehicle.is_given(6);
    take(&operator, r#"{"limit":{"circuit":"grid"}}"#);
    vehicle.is_given(25);
    take(&ems, r#"{"manual":{"charger":"cp-1","current_ma":11000,"for_ms":3600000}}"#);
    vehicle.is_given(11);

    // What holds, holds after a restart too.
    edge.kill_and_restart();
    let (ems, operator) = (edge.device("ems").ready(), edge.device("operator").ready());
    let mut vehicle = Vehicle::ask(&edge, 100_000);
    vehicle.is_given(11);
    take(&ems, r#"{"manual":{"charger":"cp-1"}}"#);
    vehicle.is_given(25);
    take(&ems, r#"{"limit":{"circuit":"grid","limit_ma":8000,"for_ms":1500}}"#);
    vehicle.is_given(30);

    refuse(&operator, r#"{"price":{"step_ms":60000,"values":[1]}}"#, "not_allowed: ");
    refuse(&operator, r#"{"limit":{"circuit":"roof","limit_w":1,"for_ms":1}}"#, "unknown_circuit: ");
    refuse(&operator, "{", "malformed: ");
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    for (kind, detail, times) in [
        ("signalled", r#""limit_w":4600,"until_us":"#, 1),
        // Taken, and known again after the restart.
        ("signalled", r#""current_ma":11000,"until_us":"#, 2),
        ("signalled", r#""limit_ma":25000,"until_us":"#, 2),
        ("malformed", "not_allowed: ", 1),
        ("malformed", "unknown_circuit: ", 1),
    ] {
        assert_eq!(journaled.count(kind, detail), times, "{kind} {detail}: {:#?}", journaled.events);
    }
}

#[test]
fn a_limit_or_a_current_by_hand_counts_until_it_is_over_or_taken_back_with_the_embedded_broker() {
    check_limits(Broker::Embedded);
}

#[test]
fn a_limit_or_a_current_by_hand_counts_until_it_is_over_or_taken_back_with_mosquitto() {
    check_limits(Broker::Mosquitto);
}

#[test]
fn no_login_signals_in_the_name_of_another_with_mosquitto() {
    let mut edge = Edge::start(Broker::Mosquitto);
    let payload = r#"{"limit":{"circuit":"grid","limit_ma":0,"for_ms":3600000}}"#;
    // The broker may end their connections for it.
    let strangers = ["operator", "cp-2"].map(|name| edge.device(name).ready());
    strangers.iter().for_each(|stranger| stranger.publish("wattle/v1/depot/ems/signal", payload));
    let mut vehicle = Vehicle::ask(&edge, 1);
    vehicle.is_given(30);
    vehicle.charger.say("signal", payload);
    vehicle.is_given(30);
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    assert_eq!(journaled.count("signalled", ""), 0);
    assert_eq!(journaled.count("malformed", "not_allowed: "), 1, "{:#?}", journaled.events);
}

#[test]
fn solar_surplus_charges_from_the_surplus_that_a_real_node_is_told() {
    let control = "policy = 'site'\nsettings = { start_after_s = 0, stop_after_s = 0 }";
    let mut edge = Edge::start_with(Broker::Embedded, control, Some(&component("solar-surplus")));
    let ems = edge.device("ems").ready();
    let mut vehicle = Vehicle::ask(&edge, 1);
    vehicle.is_given(0);
    take(&ems, r#"{"surplus_w":{"step_ms":3600000,"values":[3000]}}"#);
    vehicle.is_given(13);
    take(&ems, r#"{"surplus_w":{"step_ms":3600000,"values":[1500]}}"#);
    vehicle.is_given(6);
    assert_eq!(edge.status()["sites"][0]["signals"]["surplus_w"], 1_500);
    take(&ems, r#"{"surplus_w":{"step_ms":1,"values":[]}}"#);
    vehicle.is_given(0);
    assert_eq!(edge.stop(), Some(0));
}

#[test]
fn cost_aware_waits_for_the_cheap_hours_of_the_prices_that_a_real_node_is_told() {
    let control = "policy = 'site'";
    let mut edge = Edge::start_with(Broker::Embedded, control, Some(&component("cost-aware")));
    let ems = edge.device("ems").ready();
    let mut vehicle = Vehicle::ask(&edge, 1);
    vehicle.is_given(30);
    take(
        &ems,
        r#"{"price":{"step_ms":3600000,"values":[400000,100000,100000,100000,100000,100000,100000,100000]}}"#,
    );
    vehicle.is_given(0);
    take(
        &ems,
        r#"{"price":{"step_ms":3600000,"values":[100000,400000,400000,400000,400000,400000,400000,400000]}}"#,
    );
    vehicle.is_given(30);
    assert_eq!(edge.stop(), Some(0));
}
