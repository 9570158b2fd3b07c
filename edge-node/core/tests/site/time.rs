//! Clocks that jump, messages in every order, silence.

use wattle_wire::message::{ChargerState, Number};
use wattle_wire::policy::{Allocation, Plan};
use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Micros, Millis, Phase};

use wattle_edge_core::*;
use wattle_rig::parts::{amps, input, model, proposal, reading};
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
fn readings_of_before_a_jump_that_come_after_it_are_not_set_against_later_draws() {
    for ms in [6_000, 15_000, 3_600_000] {
        let mut site = model(30.0, &["cp-1", "cp-2"]);
        site.meters[0].lag_ms = Millis(5_000);
        let mut rig = Rig::new(site);
        rig.meter_lags_ms[0] = 5_000;
        rig.set_home(15.0);
        rig.run_ms(20_000);
        rig.ask(&[0]);
        rig.run_ms(1_500);
        assert_eq!(rig.setpoints()[0], 15);
        // What the meter shows now is from before the vehicle drew.
        rig.jump_ms(ms);
        rig.vehicles[1].asks = true;
        // The rig looks at each step whether the limit holds.
        rig.run_ms(20_000);
        assert_eq!(rig.setpoints(), [7, 7], "after {ms} ms");
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

#[test]
fn a_load_that_rises_when_a_silent_charger_s_setpoint_has_expired_is_seen() {
    let mut rig = two();
    rig.ask(&[0]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [25, 0]);
    rig.vanish(0, true);
    rig.vehicles[1].asks = true;
    rig.run_ms(5_000);
    assert_eq!(rig.setpoints(), [0, 25]);
    rig.set_home(20.0);
    rig.run_ms(300);
    assert_eq!(rig.setpoints(), [0, 10], "what the silent one drew last is no part of the load");
    rig.run_ms(8_000);
    assert_eq!(rig.setpoints(), [0, 10]);
    // A rise that passes no limit is seen too.
    rig.set_home(5.0);
    rig.vehicles[1].takes = amps(6.0);
    rig.run_ms(3_000);
    rig.set_home(15.0);
    rig.run_ms(3_000);
    let shown = rig.machine.begin_decision(rig.now, Cause::Interval);
    assert_eq!(shown.circuits[0].uncontrolled_ma[Phase::L1], amps(15.0));
}

#[test]
fn a_batch_that_is_told_with_its_time_between_later_decisions_makes_no_time_pass_twice() {
    let mut rig = two();
    rig.ask(&[0]);
    rig.run_ms(3_000);
    // So that only its setpoint counts.
    rig.vehicles[0].takes = amps(0.0);
    rig.run_ms(400);
    let at = rig.now;
    let before = rig.machine.may_draw(0, at);
    let mut last = at;
    for piece in 0..200 {
        rig.machine.handle(input(Part::Charger(1), Heard::Online(true)), at);
        last = at + Micros::from_millis(piece);
        rig.machine.begin_decision(last, Cause::Request);
        let plan = Err("none".into());
        rig.machine.finish_decision(proposal(plan), last);
    }
    assert_eq!(before[Phase::L1], amps(25.0));
    assert_eq!(rig.machine.may_draw(0, last), before, "200 ms have passed of 2 s");
    assert_eq!(rig.machine.clock(), last);
}

/// The second charger gets what the first had only when the first has stopped by itself, `validity_ms` after it was told,
/// with `change` made to the clock just after it has fallen silent.
fn check_expiry(validity_ms: i64, change: impl Fn(&mut Rig)) {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.validity_ms = Millis(validity_ms);
    site.control.meter_stale_ms = Millis(20_000);
    let mut rig = Rig::new(site);
    rig.set_home(5.0);
    rig.ask(&[0]);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [25, 0]);
    rig.vehicles[0].takes = amps(0.0);
    rig.run_ms(200);
    rig.vanish(0, true);
    rig.vehicles[1].asks = true;
    change(&mut rig);
    for _ in 0..(2 * validity_ms + 2_000) / 5 {
        rig.run_ms(5);
        let told = rig.setpoints();
        assert!(told[0] + told[1] <= 25, "{told:?}");
    }
    assert_eq!(rig.setpoints(), [0, 25]);
}

#[test]
fn a_clock_that_goes_fast_ends_no_reservation_before_the_setpoint_ends() {
    for validity_ms in [2_000, 8_000, 60_000] {
        check_expiry(validity_ms, |rig| rig.fast_percent = 5);
    }
}

#[test]
fn a_jump_within_two_intervals_ends_no_reservation_before_the_setpoint_ends() {
    for ms in [50, 150, 300, 395, -50, -150, -300, -395] {
        check_expiry(2_000, |rig| rig.jump_ms(ms));
    }
}

#[test]
fn a_setpoint_counts_from_its_confirmation_where_a_charger_can_t_tell_how_old_it_is() {
    for (seen, expected) in [(None, 6.0), (Some(Number { boot: 1, seq: 1 }), 0.0)] {
        let at = |ms| Micros::from_secs(1_000) + Micros::from_millis(ms);
        let mut site = model(30.0, &["cp-1"]);
        site.meters.clear();
        let mut machine = SiteMachine::new(site, 1, at(0)).expect("sound");
        let said = |heard| SiteInput { seen, ..input(Part::Charger(0), heard) };
        let asks = reading(Part::Charger(0), Some(ChargerState::Charging), None, &[]);
        machine.handle(said(asks.heard), at(0));
        machine.begin_decision(at(0), Cause::Request);
        let plan = Plan {
            allocations: vec![Allocation { charger: 0, limit_ma: amps(6.0), reason: String::new() }],
            state: Vec::new(),
        };
        let sent = machine.finish_decision(proposal(Ok(plan)), at(0)).setpoints;
        assert_eq!(sent[0].setpoint.limit_ma, amps(6.0));
        for ms in (200..=3_600).step_by(200) {
            if ms == 1_600 {
                machine.handle(said(Heard::Confirmed(sent[0].setpoint.number)), at(ms));
            }
            machine.begin_decision(at(ms), Cause::Interval);
        }
        assert_eq!(machine.may_draw(0, at(3_600))[Phase::L1], amps(expected), "{seen:?}");
    }
}

#[test]
fn a_charger_that_has_fallen_silent_is_told_nothing_that_would_last_longer() {
    let mut rig = Rig::new(model(30.0, &["cp-1"]));
    rig.ask(&[0]);
    rig.run_ms(3_000);
    rig.vanish(0, true);
    let (gone_at, patience) = (rig.now, Micros::from_secs(1));
    rig.run_ms(5_000);
    let told = rig.sent.iter().filter(|(_, _, setpoint)| setpoint.limit_ma > amps(0.0));
    let last = told.map(|(at, ..)| *at).max().expect("it was told something");
    assert!(last <= gone_at + patience, "{} ms after it has gone", (last - gone_at).0 / 1_000);
}
