//! Who has nothing but docs/mqtt.md can be a charger: with `mosquitto_pub` by hand, and with a page of Python. What they say
//! is found in the lake, by either broker.

mod line;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use line::{Broker, LIMIT, Line, PYTHON};
use serde_json::Value;
use wattle_testkit::{Process, wait_for};

const PAHO: &str = "import paho.mqtt.client";

fn python_charger(line: &Line) -> Process {
    let paho = Command::new(PYTHON).args(["-c", PAHO]).status();
    assert!(paho.is_ok_and(|status| status.success()), "{PYTHON} has no paho-mqtt; run `make setup`");
    let mut command = Command::new(PYTHON);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/charger.py"))
        .args(["127.0.0.1", &line.mqtt_port().to_string(), "depot", "cp-1", "pw-1", "alice", "8"])
        .stdout(Stdio::null());
    Process::start(command).expect("python starts")
}

/// A node that has just started keeps free what cp-2 may still draw for one validity, so the charge begins after that.
fn a_page_of_python_charges_and_is_billed_by(broker: Broker) {
    let mut line = Line::start(broker);
    let mut meter = line.meter();
    let mut charger = python_charger(&line);
    let end = Instant::now() + LIMIT;
    let status = loop {
        meter.say(line::METER_READING).expect("the meter's connection is up");
        if let Some(status) = charger.ended_within(Duration::from_millis(300)) {
            break status;
        }
        assert!(Instant::now() < end, "the charger has not ended");
    };
    assert!(status.success(), "the charger has messages that were not acknowledged");
    let sql = "SELECT device, \"user\", energy_wh FROM sessions WHERE state = 'closed'";
    let session =
        wait_for("the session in the lake", LIMIT, || line.sql(sql).into_iter().next()).expect("closed");
    assert_eq!((&session["device"], &session["user"]), (&Value::from("cp-1"), &Value::from("alice")));
    assert!(session["energy_wh"].as_i64() >= Some(1), "{session}");
    let twice =
        line.sql("SELECT count(*) - count(DISTINCT seq) AS n FROM readings_raw WHERE device = 'cp-1'");
    assert_eq!(twice[0]["n"], 0);
    line.stop();
    let replayed = line.replay();
    assert_eq!((&replayed["different"], &replayed["not_replayed"]), (&Value::from(0), &Value::from(0)));
    assert!(replayed["same"].as_u64() >= Some(1), "{replayed}");
}

#[test]
fn a_page_of_python_charges_over_the_embedded_broker() {
    a_page_of_python_charges_and_is_billed_by(Broker::Embedded);
}

#[test]
fn a_page_of_python_charges_over_mosquitto() {
    a_page_of_python_charges_and_is_billed_by(Broker::Mosquitto);
}

#[test]
fn a_person_with_mosquitto_pub_is_a_charger() {
    let mut line = Line::start(Broker::Embedded);
    let mut meter = line.meter();
    let listener = line.listen("cp-2", "pw-2", "setpoint");
    let say = |channel: &str, retained: bool, text: &str| line.say("cp-2", "pw-2", channel, retained, text);
    say("announce", true, r#"{"kind":"charger"}"#);
    say("status", true, r#"{"online":true}"#);
    say("session", false, r#"{"step":"plug","register_wh":1000}"#);
    say("session", false, r#"{"step":"start","register_wh":1000,"user":"bob"}"#);
    let granted = wait_for("a setpoint above standby", LIMIT, || {
        meter.say(line::METER_READING).ok()?;
        let told =
            listener.lines().into_iter().rev().filter_map(|text| serde_json::from_str::<Value>(&text).ok());
        let Some(newest) = told.into_iter().next() else {
            say("reading", false, r#"{"state":"waiting","setpoint":0,"current_ma":[0],"register_wh":1000}"#);
            return None;
        };
        // Standby is a setpoint too: who doesn't confirm it gets no other.
        say("confirm", false, &format!(r#"{{"setpoint":{}}}"#, newest["number"]));
        let obeyed = &newest["number"];
        let reading =
            format!(r#"{{"state":"waiting","setpoint":{obeyed},"current_ma":[0],"register_wh":1000}}"#);
        say("reading", false, &reading);
        (newest["limit_ma"].as_i64() > Some(0)).then_some(newest)
    })
    .expect("granted");
    assert_eq!(granted["limit_ma"], 20_000, "30 A less the 10 A of the meter");
    assert_eq!(granted.get("seen"), None, "who doesn't number is told no number");
    say("session", false, r#"{"step":"end","register_wh":1010}"#);
    say("session", false, r#"{"step":"unplug","register_wh":1010}"#);
    let sql = "SELECT \"user\", energy_wh FROM sessions WHERE state = 'closed'";
    let session =
        wait_for("the session in the lake", LIMIT, || line.sql(sql).into_iter().next()).expect("closed");
    assert_eq!((&session["user"], &session["energy_wh"]), (&Value::from("bob"), &Value::from(10)));
    line.stop();
}
