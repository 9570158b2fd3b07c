//! The acknowledgement chain on real brokers: what they may do to it, and what devices may.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rumqttc::QoS;
use wattle_testkit::{Process, wait_for};

use crate::support::{Broker, Edge, Journaled, LIMIT, metric, reading};

const BOTH: [Broker; 2] = [Broker::Embedded, Broker::Mosquitto];
const READINGS: u64 = 200;

/// Each reading of these starts is in the journal, and once.
fn check_once(journaled: &Journaled, boots: &[i64], readings: u64) {
    for boot in boots {
        let of_boot = journaled.readings.iter().filter(|(_, b, _)| b == boot);
        let numbers: Vec<i64> = of_boot.map(|(_, _, seq)| *seq).collect();
        let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
        assert_eq!(distinct, (1..=readings as i64).collect(), "start {boot}");
        assert_eq!(numbers.len(), distinct.len(), "a reading of start {boot} was taken twice");
    }
    assert_eq!(journaled.count("conflict", ""), 0);
}

#[test]
fn whatever_qos_a_device_publishes_with_its_readings_are_acknowledged_and_journaled_once() {
    for broker in BOTH {
        let mut edge = Edge::start(broker);
        let charger = edge.device("cp-1").ready();
        for seq in 1..=READINGS {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][seq as usize % 3];
            charger.publish_as(qos, false, "wattle/v1/depot/cp-1/reading", reading(1, seq, 16_000));
        }
        charger.acknowledged(1, 1, READINGS);
        assert_eq!(edge.stop(), Some(0));
        check_once(&edge.journaled(), &[1], READINGS);
    }
}

#[test]
fn what_a_device_sends_again_after_a_restart_of_its_own_or_of_the_edge_is_journaled_once() {
    for broker in BOTH {
        let mut edge = Edge::start(broker);
        // The third start of the device sends again what the first has sent: it was not told that it had arrived.
        for (boot, restart) in [(1, false), (2, true), (1, true), (2, false)] {
            let charger = edge.device("cp-1").ready();
            (1..=READINGS).for_each(|seq| charger.say("reading", reading(boot, seq, 16_000)));
            charger.acknowledged(boot, 1, READINGS);
            if restart {
                edge.kill_and_restart();
            }
        }
        edge.kill();
        check_once(&edge.journaled(), &[1, 2], READINGS);
    }
}

#[test]
fn a_device_that_was_in_no_site_file_for_two_starts_of_the_edge_sends_again_and_is_journaled_once() {
    for killed in [false, true] {
        let mut edge = Edge::start(Broker::Mosquitto);
        let end = |edge: &mut Edge| if killed { edge.kill() } else { assert_eq!(edge.stop(), Some(0)) };
        let says_all = |edge: &Edge| {
            let charger = edge.device("cp-1").ready();
            (1..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
            charger.acknowledged(1, 1, READINGS);
        };
        says_all(&edge);
        end(&mut edge);
        let path = edge.folder.path().join("site.toml");
        let site = std::fs::read_to_string(&path).expect("there");
        let without = site.replace("[[chargers]]\nid = 'cp-1'\ncircuit = 'grid'\nphases = ['L1']\n", "");
        assert_ne!(site, without);
        std::fs::write(&path, without).expect("writable");
        for seq in 1..=2 {
            edge.start_again();
            let other = edge.device("cp-2").ready();
            other.say("reading", reading(1, seq, 16_000));
            other.acknowledged(1, seq, seq);
            end(&mut edge);
        }
        std::fs::write(&path, site).expect("writable");
        edge.start_again();
        says_all(&edge);
        edge.kill();
        let mut journaled = edge.journaled();
        journaled.readings.retain(|(device, ..)| device == "cp-1");
        check_once(&journaled, &[1], READINGS);
    }
}

#[test]
fn a_restart_of_the_broker_with_or_without_persistence_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept =
        format!("persistence true\npersistence_location {}/\nautosave_interval 1\n", folder.path().display());
    for lines in [kept.as_str(), "persistence false\n"] {
        let mut edge = Edge::start_on_mosquitto(&[], lines);
        let charger = edge.device("cp-1").ready();
        (1..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
        charger.acknowledged(1, 1, READINGS / 3);
        edge.mosquitto().restart().expect("it starts again");
        edge.resends_until_acknowledged("cp-1", 1, READINGS);
        edge.kill();
        check_once(&edge.journaled(), &[1], READINGS);
    }
}

#[test]
fn what_the_broker_keeps_for_an_edge_that_is_away_it_delivers_when_the_edge_is_back() {
    let mut edge = Edge::start(Broker::Mosquitto);
    let charger = edge.device("cp-1").ready();
    charger.say("reading", reading(1, 1, 16_000));
    charger.acknowledged(1, 1, 1);
    edge.kill();
    (2..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    // Said once: only the session that the broker has kept can bring them.
    edge.start_again();
    charger.acknowledged(1, 2, READINGS);
    edge.kill();
    check_once(&edge.journaled(), &[1], READINGS);
}

#[test]
fn a_broker_that_drops_as_mosquitto_does_as_installed_is_noticed_and_the_setting_is_named() {
    let without = ["max_queued", "max_inflight", "sys_interval"];
    let edge = Edge::start_on_mosquitto(&without, "sys_interval 1\n");
    let charger = edge.device("cp-1").ready();
    charger.say("reading", reading(1, 1, 16_000));
    charger.acknowledged(1, 1, 1);
    signal("-STOP", edge.id());
    (2..=4_000).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    wait_for("the broker to have more than it keeps", LIMIT, || charger.has_sent(3_999).then_some(()))
        .expect("taken");
    signal("-CONT", edge.id());
    let page = wait_for("the loss to be said", LIMIT, || {
        let page = Process::get(edge.http_port, "/healthz").ok()?;
        page.contains("max_queued_messages").then_some(page)
    })
    .expect("said");
    assert!(page.contains("broker_drops"), "{page}");
    assert!(edge.metric("wattle_edge_broker_dropped") > 0.0);
    assert!(edge.status()["broker"]["dropped"].as_u64().expect("a number") > 0);
    drop(charger);
    // Nothing is lost all the same: what was not acknowledged comes again.
    edge.resends_until_acknowledged("cp-1", 2, 4_000);
}

#[test]
fn a_message_that_is_too_large_is_refused_and_stands_in_nobodys_way_at_a_broker_that_takes_it() {
    const LARGE: usize = 3 << 20;
    let mut edge = Edge::start_on_mosquitto(&["message_size_limit", "max_packet_size"], "");
    let (charger, other, ems) =
        (edge.device("cp-1").ready(), edge.device("cp-2").ready(), edge.device("ems").ready());
    let large = || "x".repeat(LARGE);
    other.say("reading", large());
    other.publish_as(QoS::AtMostOnce, false, "wattle/v1/depot/cp-2/session", large());
    // It comes again whenever the edge subscribes.
    other.publish_as(QoS::AtLeastOnce, true, "wattle/v1/depot/cp-2/announce", large());
    other.publish_as(QoS::AtLeastOnce, true, "wattle/v1/depot/cp-2/nonsense", large());
    ems.say("signal", large());
    charger.say("reading", reading(1, 1, 16_000));
    charger.acknowledged(1, 1, 1);
    let answer = wait_for("an answer", LIMIT, || ems.heard_so_far("/answer").pop()).expect("answered");
    assert!(String::from_utf8_lossy(&answer).contains("too_large: payload has 3145728 bytes"), "{answer:?}");
    has_refused_large(&edge);
    assert_eq!(edge.stop(), Some(0));
    // These stand first in what the broker has for it.
    (1..=3).for_each(|_| other.say("confirm", large()));
    (2..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    edge.start_again();
    charger.acknowledged(1, 2, READINGS);
    has_refused_large(&edge);
    assert_eq!(edge.metric("wattle_edge_mqtt_short_connections_total"), 0.0);
    assert!(edge.health().contains("true"), "{}", edge.health());
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    check_once(&journaled, &[1], READINGS);
    let said = |channel: &str| {
        journaled.count(
            "malformed",
            &format!("too_large: {channel}: payload has 3145728 bytes; at most 4096 are read; it begins"),
        )
    };
    assert_eq!(["reading", "session", "announce", "confirm"].map(said), [1, 1, 2, 3]);
    assert_eq!(journaled.count("malformed", "too_large: payload has 3145728 bytes"), 1);
    assert_eq!(journaled.count("wrong_topic", "nonsense"), 2);
    // The broker has nothing more for the edge.
    edge.start_again();
    assert_eq!(edge.stop(), Some(0));
    assert_eq!(edge.journaled().count("malformed", "confirm"), 3);
}

/// Waits until all that was too large has been refused in this start.
fn has_refused_large(edge: &Edge) {
    let refused = |kind: &str| edge.metric(&format!(r#"wattle_edge_refused_total{{kind="{kind}"}}"#));
    let all = || (refused("malformed") >= 4.0 && refused("wrong_topic") >= 1.0).then_some(());
    wait_for("all to be refused", LIMIT, all).expect("refused");
}

#[test]
fn two_edges_with_one_client_id_notice_it_and_do_not_take_the_session_from_each_other_without_end() {
    let edge = Edge::start(Broker::Mosquitto);
    let (_folder, _twin, twin_port) = edge.twin();
    const SHORT: &str = "wattle_edge_mqtt_short_connections_total";
    for port in [edge.http_port, twin_port] {
        wait_for("both to notice", LIMIT, || {
            let page = Process::get(port, "/healthz").unwrap_or_default();
            page.contains("client_id").then_some(())
        })
        .expect("said");
    }
    let taken = || metric(edge.http_port, SHORT) + metric(twin_port, SHORT);
    // At the first waits they would do it ten times a second; now it gets less with each time.
    let mut looks = vec![(Instant::now(), taken())];
    wait_for("the waits to have grown", LIMIT, || {
        let now = (Instant::now(), taken());
        looks.retain(|look| now.0 - look.0 < Duration::from_secs(4));
        looks.push(now);
        let first = looks.first()?;
        (now.0 - first.0 > Duration::from_secs(3) && now.1 - first.1 <= 3.0).then_some(())
    })
    .expect("no storm");
}

#[test]
fn a_flood_of_retained_messages_at_the_start_is_taken_within_bounds() {
    const FLOOD: u64 = 3_000;
    let mut edge = Edge::start(Broker::Mosquitto);
    edge.kill();
    // A broker that has lost the edge's session: everything retained comes when it subscribes.
    edge.mosquitto().restart().expect("it starts again");
    let charger = edge.device("cp-1").ready();
    for n in 0..FLOOD {
        let topic = format!("wattle/v1/depot/cp-1/old-{n}");
        charger.publish_as(QoS::AtLeastOnce, true, &topic, "x".repeat(1_000));
    }
    let status = r#"{"online":true,"boot":1}"#;
    charger.publish_as(QoS::AtLeastOnce, true, "wattle/v1/depot/cp-1/status", status);
    wait_for("all to be there", LIMIT, || charger.has_sent(FLOOD + 1).then_some(())).expect("taken");
    edge.start_again();
    charger.say("reading", reading(1, 1, 16_000));
    charger.acknowledged(1, 1, 1);
    wait_for("all of them to be counted", LIMIT, || {
        let counted = edge.metric(r#"wattle_edge_refused_total{kind="wrong_topic"}"#);
        (counted >= FLOOD as f64).then_some(())
    })
    .expect("counted");
    edge.kill();
    let strays = edge.journaled().count("wrong_topic", "");
    assert!((1..=120).contains(&strays), "{strays} are journaled");
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args([name, &process.to_string()]).status().expect("kill runs");
    assert!(status.success());
}
