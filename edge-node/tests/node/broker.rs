//! The embedded broker's process: whatever ends it, it comes back, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use wattle_testkit::{Process, wait_for};

use crate::support::{Broker, Edge, LIMIT, reading};

const READINGS: u64 = 300;

/// rumqttd panics at the login that follows a reset, and would let nobody in after that. When it no longer does, this test
/// says so: then the broker needs no process of its own.
#[test]
fn a_device_whose_link_breaks_while_it_logs_in_keeps_no_other_out() {
    let edge = Edge::start(Broker::Embedded);
    wait_for("the broker to be started again", LIMIT, || {
        // Fails while there is no broker.
        let _ = ask_to_be_let_in_and_reset(edge.mqtt_port);
        // In turn with good logins, which may find no broker either.
        let _ = edge.device("cp-1").try_ready();
        Some(()).filter(|()| edge.broker().1 >= 3)
    })
    .expect("started again");
    edge.resends_until_acknowledged("cp-1", 1, 10);
    edge.resends_until_acknowledged("cp-2", 1, 10);
    let page = Process::get(edge.http_port, "/metrics").expect("answer");
    assert!(page.contains("wattle_edge_broker_restarts_total"), "{page}");
    wait_for("the node to be healthy again", LIMIT, || {
        Process::get(edge.http_port, "/healthz").ok().filter(|page| page.contains("\"healthy\":true"))
    })
    .expect("healthy");
}

#[test]
fn a_broker_that_is_killed_comes_back_and_nothing_acknowledged_is_lost() {
    let mut edge = Edge::start(Broker::Embedded);
    let charger = edge.device("cp-1").ready();
    (1..=READINGS).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    // Killed while the rest is on its way.
    charger.acknowledged(1, 1, READINGS / 3);
    let (Some(process), restarts) = edge.broker() else { panic!("there is no broker") };
    signal("-KILL", process);
    wait_for("another broker", LIMIT, || Some(()).filter(|()| edge.broker().1 > restarts)).expect("started");

    edge.resends_until_acknowledged("cp-1", 1, READINGS);
    assert_eq!(edge.stop(), Some(0));
    let journaled = edge.journaled();
    let numbers: Vec<i64> = journaled.readings.iter().map(|(_, _, seq)| *seq).collect();
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    assert_eq!(distinct, (1..=READINGS as i64).collect());
    assert_eq!(numbers.len(), distinct.len(), "a reading was taken twice");
    assert_eq!(journaled.count("conflict", ""), 0);
}

#[test]
fn the_broker_ends_with_an_edge_that_is_killed() {
    let mut edge = Edge::start(Broker::Embedded);
    let first = edge.broker().0.expect("there is a broker");
    edge.kill_and_restart();
    wait_for("the end of the first broker", LIMIT, || Some(()).filter(|()| !is_running(first)))
        .expect("gone");
    let second = edge.broker().0.expect("there is a broker");
    assert_ne!(first, second);
    edge.resends_until_acknowledged("cp-1", 1, 10);

    edge.kill();
    wait_for("the end of the broker", LIMIT, || Some(()).filter(|()| !is_running(second))).expect("gone");
}

#[test]
fn the_broker_outlasts_signals_and_ends_when_the_node_has_drained() {
    let mut edge = Edge::start(Broker::Embedded);
    let process = edge.broker().0.expect("there is a broker");
    for name in ["-TERM", "-INT"] {
        signal(name, process);
    }
    edge.resends_until_acknowledged("cp-1", 1, 10);
    assert_eq!(edge.broker(), (Some(process), 0));
    assert_eq!(edge.stop(), Some(0));
    assert!(!is_running(process));
}

#[test]
fn without_settings_there_is_no_broker() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-edge"));
    let output = command.arg("--embedded-broker").output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(r#"{"failed":"#), "{said}");
}

/// Sends a CONNECT with cp-1's right password and resets the connection before the answer can come.
fn ask_to_be_let_in_and_reset(port: u16) -> std::io::Result<()> {
    let mut rest = Vec::new();
    for text in ["MQTT", "cp-1", "cp-1", "pw-1"] {
        rest.extend_from_slice(&(text.len() as u16).to_be_bytes());
        rest.extend_from_slice(text.as_bytes());
        if text == "MQTT" {
            // Version 3.1.1; user name, password, clean session; keep-alive 60 s.
            rest.extend_from_slice(&[4, 0b1100_0010, 0, 60]);
        }
    }
    let mut packet = vec![0x10, rest.len() as u8];
    packet.extend(rest);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_zero_linger()?;
        let mut stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        stream.write_all(&packet).await
    })
}

fn signal(name: &str, process: u64) {
    let status = Command::new("kill").args([name, &process.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// Whether it is there and has not ended; who has ended and was not asked how has no command line.
fn is_running(process: u64) -> bool {
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}
