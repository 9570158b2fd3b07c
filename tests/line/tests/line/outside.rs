//! A person who tells a site a limit by `wattle signal`, and a double socket with two vehicles, by either broker. What they say
//! is found in the lake.

use serde_json::Value;
use wattle_testkit::wait_for;

use super::{Broker, LIMIT, Line};

fn check(line: &Line, words: &str, code: i32, said: &str) {
    let (found, text) = line.signal(words);
    assert_eq!(found, Some(code), "{words}: {text}");
    assert!(text.contains(said), "{words}: {text}");
}

/// Waits until the newest readings of the double socket's connectors show these currents, A.
fn draw(line: &Line, expected: [i64; 2]) {
    wait_for(&format!("{expected:?} A"), LIMIT, || {
        let newest = |connector: u32| {
            let sql = format!(
                "SELECT current_1_ma FROM readings_raw WHERE device = 'box-1:{connector}' ORDER BY seq DESC LIMIT 1"
            );
            line.sql(&sql).first().and_then(|row| row["current_1_ma"].as_i64())
        };
        ([newest(1)?, newest(2)?] == expected.map(|amps| 1_000 * amps)).then_some(())
    })
    .expect("drawn");
}

fn two_vehicles_on_a_double_socket_and_a_limit_from_outside(broker: Broker) {
    let mut line = Line::start(broker);
    let cable = wattle_testkit::free_port().expect("a port");
    let meter = line.device(&format!("meter --id m-1 --load 5 --phases L1,L2,L3 --cable 127.0.0.1:{cable}"));
    let words = format!("charger --id box-1 --connectors 1,2 --cable 127.0.0.1:{cable}");
    let mut socket = line.device(&words);
    socket.say("1 plug alice").expect("it listens");
    draw(&line, [20, 0]);
    socket.say("2 plug bob").expect("it listens");
    draw(&line, [10, 10]);

    check(&line, "limit --circuit box-1 --amps 14 --for 1h", 0, "taken");
    draw(&line, [7, 7]);
    check(
        &line,
        "limit --circuit roof --amps 14 --for 1h",
        1,
        "unknown_circuit: the site has no circuit roof",
    );
    check(&line, "price 0.3", 1, "not_allowed: ");
    check(&line, "price 0.3 --json", 1, r#"{"refused":"not_allowed: "#);
    check(&line, "limit --circuit box-1 --amps 14", 2, "--for");
    check(&line, "limit --circuit box-1 --clear --json", 0, r#"{"refused":null,"taken":true}"#);
    draw(&line, [10, 10]);
    socket.say("1 unplug").expect("it listens");
    draw(&line, [0, 20]);
    socket.say("2 unplug").expect("it listens");

    let sql = "SELECT device, \"user\" FROM sessions WHERE state = 'closed' ORDER BY device";
    let sessions = wait_for("both sessions in the lake", LIMIT, || {
        Some(line.sql(sql)).filter(|sessions| sessions.len() == 2)
    })
    .expect("closed");
    let named =
        |row: &Value| (row["device"].as_str().map(String::from), row["user"].as_str().map(String::from));
    let expected = [("box-1:1", "alice"), ("box-1:2", "bob")].map(|(d, u)| (Some(d.into()), Some(u.into())));
    assert_eq!(sessions.iter().map(named).collect::<Vec<_>>(), expected);
    let signals = line.sql("SELECT device, detail FROM events WHERE kind = 'signalled' ORDER BY sequence");
    assert_eq!(signals.len(), 2, "{signals:?}");
    assert!(signals[0]["detail"].as_str().is_some_and(|detail| detail.contains(r#""limit_ma":14000"#)));
    drop((meter, socket));
    line.stop();
}

#[test]
fn two_vehicles_share_a_double_socket_over_the_embedded_broker() {
    two_vehicles_on_a_double_socket_and_a_limit_from_outside(Broker::Embedded);
}

#[test]
fn two_vehicles_share_a_double_socket_over_mosquitto() {
    two_vehicles_on_a_double_socket_and_a_limit_from_outside(Broker::Mosquitto);
}
