//! What a device must not send: each becomes one event, and nothing stops. On both brokers.

use crate::support::{Broker, Device, Edge, LIMIT, reading};

fn check(broker: Broker) {
    let mut edge = Edge::start(broker);
    let charger = edge.device("cp-1").ready();
    charger.say("reading", r#"{"boot":1,"seq":1,"curr"#);
    charger.say("reading", r#"{"current_ma":[NaN]}"#);
    charger.say("reading", r#"{"boot":1,"seq":3,"current_a":[16]}"#);
    charger.say("reading", vec![b'['; 100_000]);
    charger.say("reading", reading(1, 5, 16_000));
    charger.say("reading", reading(1, 5, 17_000));
    charger.say("session", r#"{"boot":1,"seq":6,"step":"plug","register_wh":-5}"#);
    charger.say("temperature", "20");
    let stranger = edge.device("stranger").ready();
    stranger.say("reading", reading(1, 1, 0));
    let wrong = Device::connect(edge.mqtt_port, "cp-2", "guess");
    wrong.fails();

    // Whatever came before, a good reading is taken.
    charger.say("reading", reading(1, 7, 16_000));
    charger.acknowledged(1, 5, 7);
    wattle_testkit::wait_for("the refused login to be counted", LIMIT, || {
        let page = wattle_testkit::Process::get(edge.http_port, "/metrics").ok()?;
        page.contains("login_refused").then_some(())
    })
    .expect("counted");
    assert_eq!(edge.stop(), Some(0));

    let journaled = edge.journaled();
    let once = [
        ("malformed", "EOF"),
        ("malformed", "expected value"),
        ("malformed", "unknown field `current_a`"),
        ("malformed", "too_large"),
        ("malformed", "negative_register"),
        ("conflict", "seq 5"),
        ("wrong_topic", "wattle/v1/depot/cp-1/temperature"),
        ("unknown_device", "wattle/v1/depot/stranger/reading"),
        ("login_refused", ""),
        ("node_started", ""),
        ("node_stopped", ""),
        ("configured", "id = 'depot'"),
    ];
    for (kind, detail) in once {
        assert_eq!(journaled.count(kind, detail), 1, "{kind} {detail}: {:#?}", journaled.events);
    }
    let numbers: Vec<i64> = journaled.readings.iter().map(|(_, _, seq)| *seq).collect();
    assert_eq!(numbers, [5, 7]);
}

#[test]
fn what_cannot_be_taken_is_one_event_each_with_the_embedded_broker() {
    check(Broker::Embedded);
}

#[test]
fn what_cannot_be_taken_is_one_event_each_with_mosquitto() {
    check(Broker::Mosquitto);
}
