//! What looks wrong with a charger is told once.

use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::row::{Cause, EventKind, Row};
use wattle_wire::{Micros, Milliamps};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{amps, input, model, proposal, stay};

fn check(rig: &Rig, codes: &[&str]) {
    let events = rig.events(EventKind::Anomaly);
    let found: Vec<&str> = events.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(found, codes, "{events:?}");
}

/// A charger in a stay, whose vehicle asks.
fn rig() -> Rig {
    let mut rig = Rig::new(model(40.0, &["cp-1"]));
    rig.tell(input(Part::Charger(0), stay(None)));
    rig.ask(&[0]);
    rig
}

#[test]
fn a_charge_as_it_should_be_is_no_anomaly() {
    let mut rig = rig();
    rig.run_ms(700_000);
    check(&rig, &[]);
}

#[test]
fn more_than_a_charger_can_give_is_told_once_it_has_lasted() {
    let mut rig = rig();
    rig.run_ms(2_000);
    rig.disobey(0, Some(amps(33.5)));
    rig.run_ms(4_000);
    check(&rig, &[]);
    rig.run_ms(30_000);
    check(&rig, &["over_current"]);
    rig.disobey(0, None);
    rig.run_ms(1_000);
    rig.disobey(0, Some(amps(33.5)));
    rig.run_ms(6_000);
    check(&rig, &["over_current", "over_current"]);
}

#[test]
fn energy_without_a_session_is_told() {
    let mut rig = rig();
    rig.tell(input(Part::Charger(0), Heard::Stay(None)));
    rig.run_ms(59_000);
    check(&rig, &[]);
    rig.run_ms(10_000);
    check(&rig, &["no_session"]);
}

#[test]
fn readings_that_come_too_seldom_for_raises_are_told_once() {
    for (pause_ms, codes) in [(1_500, &[][..]), (2_500, &["slow_readings"])] {
        let mut rig = rig();
        rig.pace.reading_ms = pause_ms;
        rig.run_ms(60_000);
        check(&rig, &[]);
        rig.run_ms(240_000);
        check(&rig, codes);
    }
}

#[test]
fn a_vehicle_that_may_draw_and_does_not_is_told() {
    let mut rig = rig();
    rig.vehicles[0].takes = amps(0.9);
    rig.run_ms(595_000);
    check(&rig, &[]);
    rig.run_ms(10_000);
    check(&rig, &["no_draw"]);
}

#[test]
fn of_a_vehicle_whose_charger_measures_nothing_nobody_says_that_it_does_not_draw() {
    let mut rig = rig();
    rig.vehicles[0].measures = 0;
    rig.run_ms(700_000);
    check(&rig, &[]);
    // To a policy it draws what it was told, so none takes it for one that is full.
    let snapshot = rig.machine.begin_decision(rig.now, wattle_wire::row::Cause::Interval);
    assert_eq!(snapshot.chargers[0].draw_ma.0[0], amps(32.0));
}

#[test]
fn a_hot_charger_and_one_that_is_asked_of_for_a_day_are_told() {
    let mut machine = SiteMachine::new(model(40.0, &["cp-1"]), 1, Micros::ZERO).expect("sound");
    let mut told = Vec::new();
    for minute in 0..1_500_i64 {
        let now = Micros::from_secs(60 * minute);
        let heard = Heard::Reading {
            state: Some(ChargerState::Charging),
            setpoint: None,
            current_ma: Some(Phases::new(&[Milliamps::ZERO])),
            register_wh: None,
            soc_percent: None,
            temperature_mc: Some(if minute < 10 { 79_000 } else { 80_001 }),
            voltage_mv: None,
        };
        machine.handle(input(Part::Charger(0), heard), now);
        let snapshot = machine.begin_decision(now, Cause::Interval);
        let outcome = machine.finish_decision(proposal(Ok(equal_share(&snapshot))), now);
        told.extend(outcome.rows.into_iter().filter_map(|row| match row {
            Row::Event(event) if event.kind == EventKind::Anomaly => Some((minute, event.detail)),
            _ => None,
        }));
    }
    let codes: Vec<(i64, &str)> =
        told.iter().map(|(minute, text)| (*minute, text.split(':').next().unwrap_or_default())).collect();
    assert!(codes.contains(&(11, "hot")) && codes.contains(&(1_440, "long_charge")), "{codes:?}");
    assert_eq!(codes.iter().filter(|(_, code)| *code == "hot").count(), 1);
}
