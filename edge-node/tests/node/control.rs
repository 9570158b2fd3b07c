//! From a reading to a setpoint, on both brokers, and what the status page says of it.

use wattle_testkit::wait_for;
use wattle_wire::message::{self, Setpoint};

use crate::support::{Broker, Device, Edge, LIMIT};

fn check(broker: Broker) {
    let mut edge = Edge::start(broker);
    let (meter, charger) = (edge.device("m-1").ready(), edge.device("cp-1").ready());
    meter.say("announce", r#"{"kind":"meter","boot":1}"#);
    charger.say("announce", r#"{"kind":"charger","boot":1}"#);
    let first = granted(&meter, &charger, 1);
    assert!(first.limit_ma.0 <= 25_000, "{first:?}");
    let page = edge.status();
    assert_eq!(page["sites"][0]["id"], "depot");
    assert_eq!(page["sync"], "batch");

    // Numbers grow across a restart.
    edge.kill_and_restart();
    let (meter, charger) = (edge.device("m-1").ready(), edge.device("cp-1").ready());
    let second = granted(&meter, &charger, 10_000);
    assert!(second.number > first.number, "{second:?} after {first:?}");
    assert_eq!(edge.stop(), Some(0));
}

/// Lets meter and charger measure until the charger, whose vehicle asks, is granted something.
fn granted(meter: &Device, charger: &Device, first: u64) -> Setpoint {
    let (mut seq, mut obeyed) = (first, 0);
    wait_for("a setpoint", LIMIT, || {
        meter.say("reading", format!(r#"{{"boot":1,"seq":{seq},"current_ma":[5000,0,0]}}"#));
        let values = format!(r#""state":"waiting","setpoint":{obeyed},"current_ma":[0]"#);
        charger.say("reading", format!(r#"{{"boot":1,"seq":{seq},{values}}}"#));
        seq += 1;
        let payloads = charger.heard_so_far("/setpoint");
        let setpoints =
            payloads.iter().map(|payload| message::decode::<Setpoint>(payload).expect("as agreed"));
        let newest = setpoints.max_by_key(|setpoint| setpoint.number)?;
        obeyed = newest.number;
        Some(newest).filter(|setpoint| setpoint.limit_ma.0 > 0)
    })
    .expect("granted")
}

#[test]
fn a_vehicle_that_asks_gets_a_setpoint_with_the_embedded_broker() {
    check(Broker::Embedded);
}

#[test]
fn a_vehicle_that_asks_gets_a_setpoint_with_mosquitto() {
    check(Broker::Mosquitto);
}
