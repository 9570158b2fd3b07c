//! The fourth published scenario through the real machine, setpoint by setpoint on virtual time: `first-come` as the component
//! that `make policies` builds, the envelope, messages that take time, and a watch over the limit at every step.

mod built;

use std::sync::{Arc, Mutex};

use built::component;
use wattle_edge_core::{Control, Heard, Part, Stay};
use wattle_policy_host::{Host, Limits};
use wattle_rig::Rig;
use wattle_rig::parts::{amps, input, model};
use wattle_wire::{Micros, Millis};

const TWO: &str = r#"{"mode":"slots","slots":2}"#;
const SECOND: i64 = 1_000;

/// A site of 80 A with three chargers of 32 A on one phase, at most two at once.
fn car_park() -> Rig {
    car_park_with(|_| {})
}

fn car_park_with(change: impl FnOnce(&mut Control)) -> Rig {
    let limits = Limits { deadline: std::time::Duration::from_secs(20), ..Limits::default() };
    let host = Host::new(limits).expect("this machine runs the runtime");
    let policy = host.load(&component("first-come")).expect("a sound component");
    let state = Arc::new(Mutex::new(Vec::new()));
    let mut model = model(80.0, &["cp-1", "cp-2", "cp-3"]);
    change(&mut model.control);
    let mut rig = Rig::new(model);
    rig.policy = Box::new(move |snapshot| {
        let mut state = state.lock().map_err(|error| error.to_string())?;
        let decided = policy.decide(snapshot, TWO, &state).map_err(|error| error.to_string())?;
        state.clone_from(&decided.plan.state);
        Ok(decided.plan)
    });
    // What an earlier edge may have told the chargers is over.
    rig.run_ms(3 * SECOND);
    rig
}

/// A vehicle comes and asks.
fn arrive(rig: &mut Rig, index: usize) {
    let stay = Stay {
        id: format!("s-{index}").parse().expect("a name"),
        user: None,
        arrived_us: rig.now,
        departure_us: None,
        requested_wh: None,
        register_wh: None,
    };
    rig.vehicles[index].asks = true;
    rig.tell(input(Part::Charger(index), Heard::Stay(Some(stay))));
}

fn leave(rig: &mut Rig, index: usize) {
    rig.vehicles[index].asks = false;
    rig.tell(input(Part::Charger(index), Heard::Stay(None)));
}

/// After so many seconds the chargers obey these setpoints, A.
#[track_caller]
fn check(rig: &mut Rig, seconds: i64, expected: [i32; 3]) {
    rig.run_ms(seconds * SECOND);
    assert_eq!(rig.setpoints(), expected, "at {}", rig.now);
}

#[test]
fn two_charge_the_third_waits_and_starts_when_one_is_full() {
    let mut rig = car_park();
    arrive(&mut rig, 2);
    check(&mut rig, 2, [0, 0, 32]);
    arrive(&mut rig, 0);
    check(&mut rig, 2, [32, 0, 32]);
    // Registered before the third, and came after it.
    arrive(&mut rig, 1);
    check(&mut rig, 2, [32, 0, 32]);
    check(&mut rig, 120, [32, 0, 32]);

    // The one that came first hardly draws any more. What it leaves is lent after half a minute.
    rig.vehicles[2].takes = amps(0.9);
    check(&mut rig, 29, [32, 0, 32]);
    check(&mut rig, 3, [32, 0, 6]);
    check(&mut rig, 27, [32, 0, 6]);
    let started = rig.now;
    check(&mut rig, 3, [32, 32, 0]);
    let first = rig
        .sent
        .iter()
        .find(|(at, charger, setpoint)| *at > started && *charger == 1 && setpoint.limit_ma == amps(32.0));
    let (at, ..) = first.expect("it starts");
    assert!(*at - started <= Micros::from_secs(3), "a minute after the last draw of 1 A");

    leave(&mut rig, 0);
    check(&mut rig, 2, [0, 32, 6]);
    leave(&mut rig, 2);
    check(&mut rig, 2, [0, 32, 0]);
}

#[test]
fn a_draw_of_an_amp_in_between_starts_the_minute_anew() {
    let mut rig = car_park();
    for index in 0..3 {
        arrive(&mut rig, index);
        rig.run_ms(SECOND);
    }
    for _ in 0..3 {
        rig.vehicles[0].takes = amps(0.5);
        check(&mut rig, 55, [6, 32, 0]);
        rig.vehicles[0].takes = amps(1.2);
        check(&mut rig, 2, [6, 32, 0]);
    }
    rig.vehicles[0].takes = amps(0.5);
    check(&mut rig, 63, [0, 32, 32]);
}

#[test]
fn a_full_vehicle_that_has_rested_for_its_least_time_off_takes_no_slot_back() {
    let mut rig = car_park_with(|control| control.least_off_ms = Millis(120_000));
    for index in 0..3 {
        arrive(&mut rig, index);
        rig.run_ms(SECOND);
    }
    rig.vehicles[0].takes = amps(0.5);
    check(&mut rig, 65, [0, 32, 32]);
    for _ in 0..50 {
        check(&mut rig, 10, [0, 32, 32]);
    }
}
