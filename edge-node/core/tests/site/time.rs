//! Clocks that jump, messages in every order, silence.

use wattle_wire::Millis;
use wattle_wire::row::EventKind;

use wattle_edge_core::*;
use wattle_rig::parts::{amps, input, model};
use wattle_rig::{Kind, Rig};

fn two() -> Rig {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    rig.set_home(5.0);
    rig
}

#[test]
fn a_jump_of_the_clock_ends_no_reservation_before_the_setpoint_ends() {
    for ms in [1_900, 60_000, 3_600_000, -1_900, -60_000, -3_600_000] {
        let mut rig = two();
        rig.ask(&[0]);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [25, 0]);
        // It pauses, so no meter shows what it may draw again at any moment.
        rig.vehicles[0].takes = amps(0.0);
        rig.run_ms(200);
        rig.vanish(0, true);
        rig.vehicles[1].asks = true;
        rig.jump_ms(ms);
        rig.run_ms(800);
        assert_eq!(rig.setpoints()[1], 0, "the first may still draw 25 A after {ms} ms");
        rig.run_ms(4_000);
        assert_eq!(rig.setpoints(), [0, 25], "after {ms} ms");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_decisions() {
    let mut rig = two();
    rig.ask(&[0, 1]);
    rig.run_ms(3_000);
    rig.jump_ms(-3_600_000);
    rig.set_home(9.0);
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [10, 10]);
    rig.run_ms(10_000);
    assert_eq!(rig.setpoints(), [10, 10], "setpoints are renewed");
}

#[test]
fn a_silent_charger_counts_with_its_last_setpoint_then_with_its_safe_current() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.chargers[0].safe_ma = amps(6.0);
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.run_ms(3_000);
    rig.vanish(0, true);
    rig.ask(&[0, 1]);
    rig.run_ms(800);
    assert_eq!(rig.setpoints(), [30, 0]);
    rig.run_ms(5_000);
    // The first draws its 6 A by itself; as it doesn't say so, they might be another load's.
    assert_eq!(rig.setpoints(), [0, 18]);
    rig.vehicles[0].asks = false;
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [0, 24]);
}

#[test]
fn a_vehicle_that_stops_while_its_charger_is_silent_makes_no_room() {
    let mut rig = two();
    rig.ask(&[0]);
    rig.run_ms(3_000);
    rig.vanish(0, true);
    // The charger hears what it is told and says nothing: it may draw again at any moment.
    rig.vehicles[0].asks = false;
    rig.vehicles[1].asks = true;
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints()[1], 0);
}

#[test]
fn the_order_in_which_meters_and_chargers_speak_changes_nothing() {
    for offset in (0..200).step_by(5) {
        let mut rig = two();
        rig.meter_offsets[0] = offset;
        rig.ask(&[0, 1]);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [12, 12], "{offset}");
        rig.set_home(12.0);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [9, 9], "{offset}");
    }
}

#[test]
fn answers_that_overtake_each_other_confirm_nothing_that_is_not_obeyed() {
    let mut rig = two();
    let mut late = false;
    rig.fate = Box::new(move |kind| {
        late = !late;
        vec![if kind == Kind::Answer && late { 300 } else { 5 }]
    });
    for round in 0..20 {
        rig.ask(if round % 2 == 0 { &[0] } else { &[0, 1] });
        rig.run_ms(1_135);
    }
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [12, 12]);
}

#[test]
fn without_a_meter_since_the_start_there_is_the_fallback_budget() {
    let mut rig = two();
    rig.silence(0, true);
    rig.ask(&[0, 1]);
    rig.run_ms(5_000);
    assert_eq!(rig.setpoints(), [6, 0]);
    assert_eq!(rig.events(EventKind::MeterStale).len(), 1);
    let status = |online| input(Part::Charger(0), Heard::Online(online));
    rig.tell(status(false));
    rig.tell(status(true));
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [6, 0]);
}

#[test]
fn a_validity_that_is_long_keeps_a_lost_charger_s_share_for_as_long() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.validity_ms = Millis(8_000);
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.run_ms(3_000);
    rig.vanish(0, true);
    rig.ask(&[0, 1]);
    rig.run_ms(3_500);
    assert_eq!(rig.setpoints()[1], 0);
    rig.run_ms(14_000);
    assert_eq!(rig.setpoints(), [0, 30]);
}
