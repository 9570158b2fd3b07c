//! The published scenarios on virtual time, and what must hold around them.

use wattle_wire::message::Setpoint;
use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Micros, Milliamps, Phase};

use wattle_edge_core::*;
use wattle_rig::parts::{self, amps, charger, input, model};
use wattle_rig::{Kind, Rig};

fn check(rig: &mut Rig, home: f64, asking: &[usize], expected: &[i32]) {
    rig.set_home(home);
    rig.ask(asking);
    rig.run_ms(3_000);
    let setpoints = rig.setpoints();
    let given: Vec<i32> = asking.iter().map(|i| setpoints[*i]).collect();
    assert_eq!(given, expected, "home {home}, asking {asking:?}");
    for (index, setpoint) in setpoints.iter().enumerate() {
        assert!(asking.contains(&index) || *setpoint == 0, "{index} doesn't ask and has {setpoint}");
    }
}

#[test]
fn the_first_published_scenario_comes_out_exactly() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2", "cp-3"]));
    check(&mut rig, 3.2, &[], &[]);
    check(&mut rig, 3.2, &[0], &[26]);
    check(&mut rig, 5.0, &[0], &[25]);
    check(&mut rig, 5.0, &[0], &[25]);
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    check(&mut rig, 5.0, &[0, 1, 2], &[8, 8, 8]);
    check(&mut rig, 8.0, &[0, 1, 2], &[7, 7, 7]);
    check(&mut rig, 14.0, &[0, 1, 2], &[8, 8, 0]);
    check(&mut rig, 16.4, &[0, 1, 2], &[6, 6, 0]);
    check(&mut rig, 16.4, &[0, 1, 2], &[6, 6, 0]);
    check(&mut rig, 16.4, &[0], &[13]);
    check(&mut rig, 4.3, &[0, 1, 2], &[8, 8, 8]);
    check(&mut rig, 4.3, &[0, 1], &[12, 12]);
    check(&mut rig, 4.3, &[0], &[25]);
    assert!(rig.events(EventKind::MeterStale).is_empty());
    assert!(rig.decisions().len() < 60, "{} decisions recorded", rig.decisions().len());
}

#[test]
fn the_second_published_scenario_comes_out_exactly() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-3", "cp-2"]));
    check(&mut rig, 10.1, &[0], &[19]);
    check(&mut rig, 12.0, &[0], &[18]);
    check(&mut rig, 12.0, &[0, 1], &[9, 9]);
    check(&mut rig, 12.0, &[0, 1, 2], &[6, 6, 6]);
    check(&mut rig, 12.1, &[0, 1, 2], &[8, 8, 0]);
    check(&mut rig, 18.1, &[0, 1, 2], &[11, 0, 0]);
    check(&mut rig, 24.1, &[0, 1, 2], &[0, 0, 0]);
    check(&mut rig, 24.0, &[0, 1, 2], &[6, 0, 0]);
    check(&mut rig, 18.0, &[0, 1, 2], &[6, 6, 0]);
    check(&mut rig, 12.0, &[0, 1, 2], &[6, 6, 6]);
}

#[test]
fn the_third_published_scenario_keeps_below_limit_less_margin_whatever_the_home_does() {
    let mut site = model(25.0, &["cp-1"]);
    site.circuits[0].margin_ma = amps(3.0);
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    let mut seed = 7u64;
    for _ in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        rig.set_home(((seed >> 33) % 20_001) as f64 / 1000.0);
        rig.run_ms(10_000);
        let expected = (22_000 - rig.home().0) / 1000;
        assert_eq!(rig.setpoints(), [if expected < 6 { 0 } else { expected }], "home {}", rig.home());
    }
}

#[test]
fn a_vehicle_that_takes_less_than_it_may_and_then_more_is_not_mistaken_for_load() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    for takes in [3.0, 12.0, 7.5, 0.0, 32.0] {
        rig.vehicles[0].takes = amps(takes);
        check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    }
}

#[test]
fn a_silent_meter_gives_the_fallback_budget_and_is_journaled_once() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    rig.silence(0, true);
    check(&mut rig, 5.0, &[0, 1], &[6, 0]);
    assert_eq!(rig.events(EventKind::MeterStale).len(), 1);
    rig.silence(0, false);
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    assert_eq!((rig.events(EventKind::MeterStale).len(), rig.events(EventKind::MeterBack).len()), (1, 1));
}

#[test]
fn what_a_lost_charger_may_still_draw_is_given_to_others_only_after_it_has_expired() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    check(&mut rig, 5.0, &[0], &[25]);
    rig.vehicles[0].offline = true;
    rig.tell(input(Part::Charger(0), Heard::Online(false)));
    rig.vehicles[1].asks = true;
    rig.run_ms(800);
    assert_eq!(rig.setpoints()[1], 0, "the first may still draw 25 A");
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [0, 25]);
}

#[test]
fn setpoints_and_confirmations_that_are_lost_delay_and_never_harm() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    let mut seed = 3u64;
    rig.fate = Box::new(move |kind| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if kind != Kind::Reading && (seed >> 33).is_multiple_of(3) { vec![] } else { vec![5] }
    });
    rig.set_home(5.0);
    for round in 0..40 {
        rig.ask(if round % 2 == 0 { &[0] } else { &[0, 1] });
        rig.run_ms(2_500);
    }
    rig.fate = Box::new(|_| vec![5]);
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
}

#[test]
fn when_the_policy_fails_its_last_plan_stands_for_a_moment_and_then_the_equal_share_decides() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    check(&mut rig, 5.0, &[0], &[25]);
    rig.policy = Box::new(|_| Err("out of fuel".into()));
    rig.run_ms(400);
    assert!(rig.decisions().last().is_some_and(|d| d.policy == "equal-share 1 (last plan)"));
    check(&mut rig, 8.0, &[0], &[22]);
    let last = rig.decisions().last().map(|d| (d.policy.clone(), d.policy_digest));
    assert_eq!(last, Some(("built-in equal-share".into(), 0)));
    let failed = rig.events(EventKind::PolicyFailed);
    assert_eq!(
        failed,
        [
            "equal-share 1: out of fuel; its last plan stands",
            "equal-share 1: out of fuel; the built-in equal share decides",
        ]
    );
}

#[test]
fn a_policy_that_fails_otherwise_each_time_is_journaled_once_a_minute() {
    let mut rig = Rig::new(model(30.0, &["cp-1"]));
    rig.ask(&[0]);
    let mut times = 0;
    rig.policy = Box::new(move |_| {
        times += 1;
        Err(format!("for the {times}th time"))
    });
    rig.run_ms(150_000);
    let failed = rig.events(EventKind::PolicyFailed);
    assert_eq!(failed.len(), 3, "{failed:#?}");
}

#[test]
fn when_the_policy_fails_and_other_vehicles_ask_the_equal_share_decides_at_once() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    check(&mut rig, 5.0, &[0], &[25]);
    rig.policy = Box::new(|_| Err("out of fuel".into()));
    check(&mut rig, 8.0, &[0, 1], &[11, 11]);
    let policies: Vec<&str> = rig.decisions().iter().rev().map(|d| d.policy.as_str()).collect();
    assert_eq!(policies[0], "built-in equal-share");
    assert!(rig.events(EventKind::PolicyFailed).last().is_some_and(|text| text.contains("built-in")));
}

#[test]
fn implausible_readings_are_no_readings() {
    let mut rig = Rig::new(model(30.0, &["cp-1"]));
    check(&mut rig, 5.0, &[0], &[25]);
    for absurd in [-20_000, i32::MIN, i32::MAX, 20_000_000] {
        for part in [Part::Meter(0), Part::Charger(0), Part::Charger(9), Part::Meter(9)] {
            rig.tell(parts::reading(part, None, None, &[Milliamps(absurd)]));
        }
        check(&mut rig, 5.0, &[0], &[25]);
    }
}

#[test]
fn a_raise_waits_for_the_raise_delay() {
    let mut site = model(30.0, &["cp-1"]);
    site.control.raise_delay_ms = wattle_wire::Millis(1_000);
    let mut rig = Rig::new(site);
    check(&mut rig, 10.0, &[0], &[20]);
    rig.set_home(5.0);
    rig.run_ms(1_200);
    assert_eq!(rig.setpoints(), [20]);
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [25]);
}

#[test]
fn a_restarted_machine_gives_nothing_away_that_a_charger_may_still_use() {
    let site = model(30.0, &["cp-1", "cp-2"]);
    let start = Micros::from_secs(1);
    let mut machine = SiteMachine::new(site, 1, start).expect("sound");
    assert_eq!(machine.may_draw(0, start)[Phase::L1], amps(32.0));
    for tenths in 1..=26 {
        machine.begin_decision(start + Micros::from_millis(tenths * 100), Cause::Interval);
        // Its validity, a sixteenth of it and two intervals.
        let expected = if tenths <= 25 { 32.0 } else { 0.0 };
        assert_eq!(machine.may_draw(0, start)[Phase::L1], amps(expected), "{tenths}");
    }
    assert_eq!(machine.may_draw(0, start)[Phase::L1], amps(0.0));
}

#[test]
fn a_raise_that_was_sent_and_never_recorded_still_counts_after_a_kill() {
    let site = model(30.0, &["cp-1", "cp-2"]);
    let mut rig = Rig::new(site.clone());
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    check(&mut rig, 5.0, &[0], &[25]);
    // The next machine knows nothing of the one before; the limit is checked at each step.
    rig.restart_edge();
    assert_eq!(rig.machine.may_draw(0, rig.now)[Phase::L1], amps(32.0));
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
}

#[test]
fn a_setpoint_of_the_machine_before_that_is_still_on_its_way_counts() {
    let mut rig = Rig::new(model(30.0, &["cp-1", "cp-2"]));
    // Of the new machine's first inputs the one about the first charger comes last.
    (rig.meter_offsets, rig.charger_offsets) = (vec![105], vec![145, 110]);
    check(&mut rig, 5.0, &[], &[]);
    // What the first is told now takes a second, and the machine that told it is gone by then.
    rig.fate = Box::new(|kind| vec![if kind == Kind::Setpoint { 1_000 } else { 5 }]);
    rig.ask(&[0]);
    rig.run_ms(300);
    assert!(rig.sent.iter().any(|(_, to, setpoint)| *to == 0 && setpoint.limit_ma == amps(25.0)));
    rig.restart_edge();
    rig.sent.clear();
    rig.fate = Box::new(|_| vec![5]);
    check(&mut rig, 5.0, &[0, 1], &[12, 12]);
    let first = |charger, least: f64| {
        let told = |(_, to, setpoint): &&(Micros, usize, Setpoint)| {
            *to == charger && setpoint.limit_ma >= amps(least)
        };
        rig.sent.iter().find(told).map(|(at, ..)| *at).expect("told")
    };
    assert!(first(1, 6.0) > first(0, 0.0), "the second waits until the first has confirmed something newer");
}

#[test]
fn a_status_alone_is_no_reason_to_count_on_a_charger() {
    let mut site = model(30.0, &["cp-1"]);
    site.control.interval_ms = wattle_wire::Millis(1_000);
    let mut machine = SiteMachine::new(site, 1, Micros::ZERO).expect("sound");
    let status = |online| input(Part::Charger(0), Heard::Online(online));
    let mut now = Micros::from_secs(10);
    let mut decide = |machine: &mut SiteMachine, input, expected: bool| {
        machine.handle(parts::reading(Part::Meter(0), None, None, &[amps(1.0)]), now);
        machine.handle(input, now);
        let snapshot = machine.begin_decision(now, Cause::Interval);
        assert_eq!(snapshot.chargers[0].online, expected);
        machine.finish_decision(parts::proposal(Ok(equal_share(&snapshot))), now);
        now += Micros::from_secs(1);
    };
    let reading = || {
        let state = Some(wattle_wire::message::ChargerState::Charging);
        parts::reading(Part::Charger(0), state, None, &[amps(0.0)])
    };
    decide(&mut machine, status(true), false);
    decide(&mut machine, reading(), true);
    decide(&mut machine, status(false), false);
    for _ in 0..2 {
        decide(&mut machine, status(false), false);
    }
    decide(&mut machine, status(true), false);
    decide(&mut machine, reading(), true);
}

#[test]
fn a_model_that_is_not_sound_is_refused_with_the_reason() {
    let check = |change: fn(&mut SiteModel), expected: &str| {
        let mut site = model(30.0, &["cp-1"]);
        change(&mut site);
        let error = SiteMachine::new(site, 1, Micros::ZERO).expect_err("not sound");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(|site| site.circuits.clear(), "no circuit");
    check(|site| site.circuits[0].parent = Some(0), "parent before its children");
    check(|site| site.circuits.push(site.circuits[0].clone()), "parent before its children");
    check(|site| site.chargers[0].circuit = 1, "doesn't exist");
    check(|site| site.chargers.push(charger("cp-1")), "twice");
    check(
        |site| site.meters.push(Meter { id: charger("m-2").id, circuit: 0, lag_ms: wattle_wire::Millis(0) }),
        "twice",
    );
    check(|site| site.control.interval_ms.0 = 0, "above zero");
    check(|site| site.control.nominal_mv.0 = 0, "above zero");
    check(|site| site.control.resume_room_ma.0 = -1, "below");
}
