//! A node that is killed: what it has acknowledged is in its journal, once. On both brokers.

use std::collections::BTreeSet;

use crate::support::{Broker, Edge, reading};

const READINGS: u64 = 600;

fn check(broker: Broker) {
    let mut edge = Edge::start(broker);
    let charger = edge.device("cp-1").ready();
    (1..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    // Killed while the rest is on its way.
    charger.acknowledged(1, 1, READINGS / 3);
    edge.kill_and_restart();
    drop(charger);

    // As a device does that was not acknowledged: it sends again.
    let charger = edge.device("cp-1").ready();
    (1..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    charger.acknowledged(1, 1, READINGS);
    edge.kill();

    let journaled = edge.journaled();
    let numbers: Vec<i64> = journaled.readings.iter().map(|(_, _, seq)| *seq).collect();
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    assert_eq!(distinct, (1..=READINGS as i64).collect());
    assert_eq!(numbers.len(), distinct.len(), "a reading was taken twice");
    assert_eq!(journaled.count("conflict", ""), 0);
    assert_eq!(journaled.count("node_started", ""), 2);
}

#[test]
fn what_was_acknowledged_is_journaled_once_with_the_embedded_broker() {
    check(Broker::Embedded);
}

#[test]
fn what_was_acknowledged_is_journaled_once_with_mosquitto() {
    check(Broker::Mosquitto);
}
