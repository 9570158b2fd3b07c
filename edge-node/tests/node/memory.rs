//! What the process has in memory while more comes than it can put away: it stops reading, and grows no further.

use std::fs;
use std::net::TcpListener;

use rumqttc::QoS;
use wattle_testkit::wait_for;

use crate::chain::{TOPIC, started, started_again};
use crate::fake::{Link, publish};
use crate::support::{Broker, Edge, LIMIT, reading};
use crate::trace::Trace;

const MB: u64 = 1 << 20;

/// The most that a process ever had in memory (`VmHWM`), bytes.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A reading of this many bytes.
fn padded(bytes: usize) -> String {
    let reading = reading(1, 1, 16_000);
    let blanks = " ".repeat(bytes - reading.len());
    reading + &blanks
}

/// Writes readings of this many bytes for as long as they are taken, up to `most` bytes; gives how many were.
fn flood(link: &mut Link, bytes: usize, most: usize) -> u64 {
    let payload = padded(bytes);
    link.flood(&publish(TOPIC, payload.as_bytes(), Some(2), false), most) as u64
}

#[test]
fn while_the_disk_fails_a_flood_is_left_with_the_broker_however_long_its_messages_are() {
    for bytes in [200, 4_000, 200_000] {
        let (_broker, edge, mut link) = started();
        let fault = Trace::fail(edge.id(), "pwritev2", "EIO");
        let before = peak(edge.id());
        let taken = flood(&mut link, bytes, 1 << 30);
        assert!(taken < 200 * MB, "{taken} bytes of messages of {bytes} were taken");
        let grown = peak(edge.id()) - before;
        assert!(grown < 150 * MB, "{grown} bytes more for messages of {bytes}");
        // It still answers, keeps its connection alive, and goes on as soon as the disk does.
        assert!(edge.health().contains("journal"), "{}", edge.health());
        if bytes == 4_000 {
            link.is_pinged();
        }
        fault.end();
        assert_eq!(link.acknowledged(), 2);
    }
}

/// Publishes readings with these numbers, as many at a time as a broker leaves unacknowledged.
fn stream(link: &mut Link, from: u64, to: u64) {
    for first in (from..=to).step_by(1_000) {
        let numbers = first..(first + 1_000).min(to + 1);
        for seq in numbers.clone() {
            link.publish(TOPIC, reading(1, seq, 16_000).as_bytes(), Some((seq % 60_000) as u16 + 1), false);
        }
        numbers.for_each(|seq| assert_eq!(link.acknowledged(), (seq % 60_000) as u16 + 1));
        link.published.clear();
    }
}

#[test]
fn while_the_fog_node_takes_nothing_readings_go_to_the_disk_and_not_to_memory() {
    // Takes connections, and never reads.
    let fog = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let (broker, mut edge, link) = started();
    edge.kill();
    drop(link);
    edge.replace(
        "[uplink]\naddress = ''",
        &format!("[uplink]\naddress = 'http://{}'", fog.local_addr().expect("bound")),
    );
    let (edge, mut link) = started_again(&broker, edge);
    stream(&mut link, 1, 10_000);
    let before = peak(edge.id());
    stream(&mut link, 10_001, 60_000);
    let grown = peak(edge.id()) - before;
    // In memory a reading takes more than 500 bytes: that would be 25 MB.
    assert!(grown < 16 * MB, "{grown} bytes more");
    // Told four times a second.
    wait_for("all to be in the journal", LIMIT, || {
        (edge.metric("wattle_edge_journal_depth") >= 60_000.0).then_some(())
    })
    .expect("journaled");
}

#[test]
fn a_flood_of_retained_messages_at_the_start_takes_no_more_memory_than_any_other() {
    let (broker, mut edge, link) = started();
    edge.kill();
    drop(link);
    let (edge, mut link) = started_again(&broker, edge);
    let before = peak(edge.id());
    let payload = "x".repeat(8_000);
    const WINDOW: u16 = 1_000;
    for window in 0..30_u16 {
        let ids = window * WINDOW + 1..=(window + 1) * WINDOW;
        for id in ids.clone() {
            let mut packet =
                publish(&format!("wattle/v1/depot/cp-1/old-{id}"), payload.as_bytes(), Some(id), false);
            // Retained.
            packet[0] |= 1;
            link.send(&packet);
        }
        ids.for_each(|id| assert_eq!(link.acknowledged(), id));
    }
    let grown = peak(edge.id()) - before;
    assert!(grown < 64 * MB, "{grown} bytes more for 240 MB of retained messages");
    assert!(edge.metric(r#"wattle_edge_refused_total{kind="wrong_topic"}"#) >= 30_000.0);
}

#[test]
fn what_the_embedded_broker_holds_for_an_edge_whose_disk_fails_is_bounded() {
    let edge = Edge::start(Broker::Embedded);
    let broker = edge.broker().0.expect("it runs") as u32;
    let fault = Trace::fail(edge.id(), "pwritev2", "EIO");
    let (before, broker_before) = (peak(edge.id()), peak(broker));
    let charger = edge.device("cp-1").ready();
    let payload = padded(100_000);
    const MESSAGES: u64 = 4_000;
    // In windows: what the test holds is not what is looked at.
    for sent in (0..MESSAGES).step_by(500) {
        (0..500).for_each(|_| charger.publish_as(QoS::AtLeastOnce, false, TOPIC, payload.as_str()));
        wait_for("the broker to take them", LIMIT, || charger.has_sent(sent + 500).then_some(()))
            .expect("taken");
    }
    let (grown, broker_grown) = (peak(edge.id()) - before, peak(broker) - broker_before);
    assert!(grown < 150 * MB, "{grown} bytes more at the edge");
    assert!(broker_grown < 250 * MB, "{broker_grown} bytes more at the broker for 400 MB");
    fault.end();
    edge.resends_until_acknowledged("cp-1", 1, 10);
}
