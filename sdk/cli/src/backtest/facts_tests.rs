use super::*;
use wattle_site::SiteFile;
use wattle_wire::SiteId;
use wattle_wire::message::{ChargerState, Phases, Values};
use wattle_wire::row::{DecidedCharger, DecidedCircuit, Event};

const SITE: &str = "id = \"s\"\n[[circuits]]\nid = \"grid\"\nlimit_a = 63\n[[circuits]]\nid = \"board\"\nparent = \"grid\"\n\
                    limit_a = 32\n[[meters]]\nid = \"m\"\ncircuit = \"grid\"\n[[chargers]]\nid = \"A\"\ncircuit = \"board\"\n\
                    [[systems]]\nid = \"ems\"\nmay = [\"price\"]\n";
const SECOND: i64 = 1_000_000;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn model() -> SiteModel {
    wattle_edge::site_model(&SiteFile::parse("site.toml", SITE).expect("right"))
}

fn decision(amps: i32, load: i32) -> Row {
    let circuit = |id: &str| DecidedCircuit {
        circuit: name(id),
        limit_ma: PerPhase::default(),
        uncontrolled_ma: PerPhase::all(Milliamps::from_amps(load)),
        reserved_ma: PerPhase::default(),
    };
    let charger = DecidedCharger {
        charger: name("A"),
        proposed_ma: Milliamps::ZERO,
        setpoint_ma: Milliamps::from_amps(amps),
        number: 0,
        reason: String::new(),
    };
    Row::Decision(Decision {
        site: name("s"),
        cause: Cause::Interval,
        policy: String::new(),
        policy_digest: 0,
        settings_digest: 0,
        fuel: 0,
        circuits: ["grid", "board", "gone"].map(circuit).into(),
        chargers: vec![charger],
        state: Vec::new(),
    })
}

fn reading(currents: &[i32]) -> Row {
    let currents: Vec<_> = currents.iter().map(|amps| Milliamps::from_amps(*amps)).collect();
    Row::Reading(Reading {
        site: name("s"),
        device: name("A"),
        number: None,
        measured_us: None,
        state: Some(ChargerState::Charging),
        setpoint: None,
        session: Some(name("stay")),
        values: Values {
            current_ma: Some(Phases::new(&currents)),
            voltage_mv: Some(Phases::new(&[Millivolts(228_430)])),
            ..Values::default()
        },
    })
}

fn vehicle(rows: &[(i64, Row)]) -> Drawn {
    let model = model();
    let mut facts = Facts::new(&model);
    for (seconds, row) in rows {
        facts.take(Micros(seconds * SECOND), row);
    }
    facts.vehicle(&name("A"), &name("stay"))
}

fn check(rows: &[(i64, Row)], most: i32, own: Option<i32>) {
    let drawn = vehicle(rows);
    assert_eq!(
        (drawn.most_ma, drawn.own_most()),
        (Milliamps::from_amps(most), own.map(Milliamps::from_amps))
    );
}

#[test]
fn a_vehicle_that_draws_less_than_it_may_for_a_while_has_a_most_of_its_own() {
    check(&[(0, decision(32, 0)), (60, reading(&[16]))], 16, Some(16));
    // What it may draw it draws: nothing is known of what it could.
    check(&[(0, decision(16, 0)), (60, reading(&[16]))], 16, None);
    check(&[(0, decision(16, 0)), (60, reading(&[15]))], 15, None);
}

#[test]
fn a_vehicle_that_had_no_time_to_follow_or_grows_full_shows_no_most_of_its_own() {
    check(&[(0, decision(16, 0)), (60, decision(32, 0)), (61, reading(&[16]))], 16, None);
    check(
        &[(0, decision(16, 0)), (60, reading(&[16])), (61, decision(32, 0)), (120, reading(&[5]))],
        16,
        None,
    );
    check(&[], 0, None);
}

#[test]
fn phases_and_voltage_are_those_that_were_measured() {
    assert_eq!(vehicle(&[(1, reading(&[16, 15, 16])), (2, reading(&[6, 0, 0]))]).phases, 3);
    assert_eq!(vehicle(&[(1, reading(&[16, 0, 0]))]).phases, 1);
    let model = model();
    let mut facts = Facts::new(&model);
    assert_eq!((facts.voltage(), facts.usual_phases()), (None, 1));
    facts.take(Micros(0), &reading(&[8, 8, 8]));
    assert_eq!((facts.voltage(), facts.usual_phases()), (Some(Millivolts(228_400)), 3));
}

#[test]
fn other_load_is_that_of_circuits_with_a_meter_and_is_told_when_it_changes() {
    let model = model();
    let mut facts = Facts::new(&model);
    for (seconds, load) in [(1, 0), (2, 5), (3, 5), (4, 0)] {
        facts.take(Micros(seconds * SECOND), &decision(6, load));
    }
    let loads: Vec<_> =
        facts.loads.iter().map(|load| (load.at_ms, load.circuit, load.current.0[0].0)).collect();
    assert_eq!(loads, [(2_000, 0, 5_000), (4_000, 0, 0)]);
}

#[test]
fn signals_are_told_again_and_what_no_system_of_the_site_said_is_not() {
    let model = model();
    let mut facts = Facts::new(&model);
    let detail = r#"{"price":{"start_us":0,"step_ms":3600000,"values":[100,200]}}"#;
    for system in ["ems", "stranger"] {
        let event = Event::new(name::<SiteId>("s"), Some(name(system)), EventKind::Signalled, detail);
        facts.take(Micros(5 * SECOND), &Row::Event(event));
    }
    let [(5_000, SiteInput { heard: wattle_edge_core::Heard::Price(Some(price)), .. })] =
        facts.signals.as_slice()
    else {
        panic!("{:?}", facts.signals)
    };
    assert_eq!(price.values, [100, 200]);
}
