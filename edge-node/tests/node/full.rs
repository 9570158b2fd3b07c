//! A node that is started while its disk takes no byte: the shell's limit for files makes every write fail, for whoever runs it.

use std::fs::File;
use std::process::Command;

use wattle_testkit::{Process, wait_for};

use crate::support::{Broker, Edge, LIMIT, reading};

#[test]
fn a_node_starts_on_a_disk_that_takes_nothing_and_controls_and_says_it_and_has_lost_nothing() {
    let mut edge = Edge::start(Broker::Embedded);
    let charger = edge.device("cp-1").ready();
    (1..=50).for_each(|seq| charger.say("reading", reading(1, seq, 16_000)));
    charger.acknowledged(1, 1, 50);
    drop(charger);
    edge.kill();
    let log = File::create(edge.folder.path().join("log")).expect("writable");
    edge.start_again_as(|command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap '' XFSZ; ulimit -f 0; exec "$0" "$@""#]).arg(command.get_program());
        shell.args(command.get_args());
        // Its log is on that disk too.
        shell.stderr(log);
        shell
    });
    let connected = |name: &str| {
        let device = wait_for("a device to be let in", LIMIT, || {
            let device = edge.device(name);
            device.try_ready().ok().map(|()| device)
        });
        device.expect("let in")
    };
    let (meter, charger) = (connected("m-1"), connected("cp-1"));
    let mut seq = 50;
    wait_for("a setpoint for a vehicle that asks", LIMIT, || {
        seq += 1;
        meter.say("reading", format!(r#"{{"boot":1,"seq":{seq},"current_ma":[5000,0,0]}}"#));
        charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},"state":"waiting","current_ma":[0]}}"#));
        let heard = charger.heard_at_all();
        assert!(!heard.iter().any(|(topic, _)| topic.ends_with("/ack")), "it is not on the disk");
        heard.iter().any(|(topic, _)| topic.ends_with("/setpoint")).then_some(())
    })
    .expect("it controls");
    let health = || Process::get(edge.http_port, "/healthz").unwrap_or_default();
    wait_for("it to be said", LIMIT, || health().contains("journal").then_some(())).expect("said");
    drop((meter, charger));
    edge.kill();
    edge.start_again();
    edge.resends_until_acknowledged("cp-1", 51, 60);
    edge.kill();
    let numbers: Vec<i64> = edge.journaled().readings.iter().map(|(_, _, seq)| *seq).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
}
