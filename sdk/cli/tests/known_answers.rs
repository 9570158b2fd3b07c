//! Known answers: a policy as the component that `make policies` builds, then the envelope. One vehicle in amperes for each
//! charger, minimum 6 A, in order of arrival.

mod built;

use built::component;
use wattle_edge_core::fit;
use wattle_policy_host::{Host, Limits};
use wattle_wire::message::ChargerState;
use wattle_wire::policy::{Charger, Circuit, Session, Signals, Snapshot};
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, WattHours,
};

const FAIR: (&str, &str) = ("fair-share", "");
const RESERVE: (&str, &str) = ("first-come", r#"{"mode":"reserve"}"#);
const SLOTS: (&str, &str) = ("first-come", r#"{"mode":"slots","slots":2}"#);

#[test]
fn whole_amps_are_shared_and_the_remainder_goes_by_order() {
    check(FAIR, site(35), &cars(&[16, 16, 16]), &[12, 12, 11]);
    check(FAIR, site(20), &cars(&[16, 16, 16]), &[7, 7, 6]);
}

#[test]
fn what_one_cannot_take_goes_to_the_others() {
    check(FAIR, site(32), &cars(&[32, 10, 32]), &[11, 10, 11]);
}

#[test]
fn the_last_stands_by_where_the_minima_do_not_fit() {
    check(FAIR, site(17), &cars(&[16, 16, 16]), &[9, 8, 0]);
    check(FAIR, site(14), &cars(&[32, 32]), &[7, 7]);
    check(FAIR, site(11), &cars(&[32, 32]), &[11, 0]);
}

#[test]
fn rotated_cars_do_not_share_a_phase() {
    check(FAIR, site(20), &cars(&[16, 16, 16]), &[7, 7, 6]);
    let wired = [Phase::L1, Phase::L3, Phase::L2];
    let rotated: Vec<Car> = wired.iter().map(|phase| Car { phase: *phase, ..CAR }).collect();
    check(FAIR, site(20), &rotated, &[16, 16, 16]);
}

#[test]
fn a_thin_cable_leaves_the_rest_to_the_thick_one() {
    let mut circuits = site(32);
    circuits.extend([circuit("thick", Some(0), 32), circuit("thin", Some(0), 8)]);
    let on = |circuit| Car { max: 32, circuit, ..CAR };
    check(FAIR, circuits, &[on(1), on(2)], &[24, 8]);
}

#[test]
fn a_reserved_minimum_is_kept_for_those_who_come_later() {
    check(RESERVE, site(35), &cars(&[16, 16, 16, 16]), &[16, 7, 6, 6]);
}

#[test]
fn at_most_two_at_once_get_full_power() {
    check(SLOTS, site(80), &cars(&[32, 32, 32]), &[32, 32, 0]);
}

#[derive(Clone, Copy)]
struct Car {
    max: i32,
    phase: Phase,
    circuit: u32,
}

const CAR: Car = Car { max: 16, phase: Phase::L1, circuit: 0 };

fn cars(maxima: &[i32]) -> Vec<Car> {
    maxima.iter().map(|max| Car { max: *max, ..CAR }).collect()
}

fn site(amps: i32) -> Vec<Circuit> {
    vec![circuit("grid", None, amps)]
}

fn circuit(id: &str, parent: Option<u32>, amps: i32) -> Circuit {
    let limit = PerPhase::all(Milliamps::from_amps(amps));
    let id = CircuitId::new(id).expect("a name");
    let uncontrolled_ma = PerPhase::all(Milliamps::ZERO);
    Circuit { id, parent, limit_ma: limit, available_ma: limit, uncontrolled_ma, stale: false }
}

fn charger(index: usize, car: &Car) -> Charger {
    let arrived_us = Micros::from_secs(1_700_000_000 + index as i64);
    Charger {
        id: DeviceId::new(&*format!("cp-{index}")).expect("a name"),
        circuit: car.circuit,
        phases: vec![car.phase],
        state: ChargerState::Waiting,
        online: true,
        min_ma: Milliamps::from_amps(6),
        max_ma: Milliamps::from_amps(car.max),
        step_ma: Milliamps::from_amps(1),
        safe_ma: Milliamps::ZERO,
        setpoint_ma: Milliamps::ZERO,
        draw_ma: PerPhase::all(Milliamps::ZERO),
        priority: 0,
        session: Some(Session {
            id: SessionId::new(&*format!("cp-{index}-1")).expect("a name"),
            user: None,
            arrived_us,
            departure_us: None,
            requested_wh: None,
            needed_wh: None,
            delivered_wh: WattHours::ZERO,
            soc_percent: None,
        }),
    }
}

fn check((policy, settings): (&str, &str), circuits: Vec<Circuit>, cars: &[Car], expected: &[i32]) {
    let snapshot = Snapshot {
        site: SiteId::new("depot").expect("a name"),
        now_us: Micros::from_secs(1_700_003_600),
        interval_ms: Millis(1000),
        circuits,
        chargers: cars.iter().enumerate().map(|(index, car)| charger(index, car)).collect(),
        signals: Signals::default(),
    };
    let limits = Limits { deadline: std::time::Duration::from_secs(20), ..Limits::default() };
    let host = Host::new(limits).expect("this machine runs the runtime");
    let policy = host.load(&component(policy)).expect("a sound component");
    let decided = policy.decide(&snapshot, settings, &[]).expect("a plan");
    let mut given = vec![0; cars.len()];
    for fitted in fit(&snapshot, &decided.plan) {
        assert_eq!(fitted.setpoint_ma, fitted.target_ma, "nothing has to be lowered first");
        given[fitted.charger] = fitted.setpoint_ma.0 / 1000;
    }
    assert_eq!(given, expected);
}
