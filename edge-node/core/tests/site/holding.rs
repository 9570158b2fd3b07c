//! Timers, users, currents by hand, and contactors that live.

use wattle_wire::policy::{Allocation, Plan};
use wattle_wire::{Micros, Millis, Millivolts, Phase, UserId, Watts};

use wattle_edge_core::*;
use wattle_rig::Rig;
use wattle_rig::parts::{amps, circuit, input, manual, model, stay};

fn rig(site: SiteModel) -> Rig {
    let mut rig = Rig::new(site);
    rig.ask(&[0, 1]);
    rig
}

fn settled(rig: &mut Rig, expected: [i32; 2]) {
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), expected);
}

fn agreed(user: &str, max_power: Option<i32>, priority: Option<i32>) -> User {
    User { id: UserId::new(user).expect("name"), max_power: max_power.map(Watts), priority }
}

fn last_reason(rig: &Rig, charger: usize) -> String {
    rig.decisions().last().map(|decision| decision.chargers[charger].reason.clone()).unwrap_or_default()
}

#[test]
fn a_charger_outside_of_its_timer_stands_by_and_its_share_goes_to_others() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    // The rig begins at 00:16:40.
    site.chargers[0].timer = vec![Window { days: [true; 7], from_minute: 17, to_minute: 18 }];
    let mut rig = rig(site);
    settled(&mut rig, [0, 30]);
    assert_eq!(last_reason(&rig, 0), "outside of its timer");
    rig.run_ms(17_000);
    settled(&mut rig, [15, 15]);
    rig.run_ms(60_000);
    settled(&mut rig, [0, 30]);
}

#[test]
fn a_user_s_highest_power_is_held_and_what_is_above_it_goes_to_others() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.users = vec![agreed("ann", Some(2_300), None), agreed("ben", Some(1_000), None)];
    let mut rig = rig(site);
    settled(&mut rig, [15, 15]);
    rig.tell(input(Part::Charger(0), stay(Some("ann"))));
    settled(&mut rig, [10, 20]);
    rig.tell(input(Part::Charger(0), stay(Some("ben"))));
    settled(&mut rig, [0, 30]);
    assert_eq!(last_reason(&rig, 0), "its highest power is below its minimum");
    rig.tell(input(Part::Charger(0), stay(Some("somebody"))));
    settled(&mut rig, [15, 15]);
}

#[test]
fn a_highest_power_counts_on_all_phases_that_the_charger_has() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.chargers[0].phases = Some(Phase::ALL.to_vec());
    site.users = vec![agreed("ann", Some(6_900), None)];
    let mut rig = rig(site);
    rig.tell(input(Part::Charger(0), stay(Some("ann"))));
    settled(&mut rig, [10, 20]);
}

#[test]
fn a_user_s_priority_takes_the_place_of_the_charger_s() {
    let mut site = model(10.0, &["cp-1", "cp-2"]);
    site.users = vec![agreed("ann", None, Some(1))];
    let mut rig = rig(site);
    settled(&mut rig, [10, 0]);
    rig.tell(input(Part::Charger(1), stay(Some("ann"))));
    settled(&mut rig, [0, 10]);
}

#[test]
fn what_is_given_by_hand_stands_whatever_the_policy_says_as_far_as_it_fits() {
    let mut rig = rig(model(30.0, &["cp-1", "cp-2"]));
    let by_hand = |current: Option<f64>| input(Part::Charger(0), Heard::Manual(current.map(manual)));
    for (current, expected) in
        [(10.7, [10, 20]), (0.0, [0, 30]), (5.0, [0, 30]), (99.0, [30, 0]), (-1.0, [0, 30])]
    {
        rig.tell(by_hand(Some(current)));
        settled(&mut rig, expected);
    }
    rig.tell(by_hand(Some(20.0)));
    settled(&mut rig, [20, 10]);
    assert!(last_reason(&rig, 0).starts_with("given by hand"), "{}", last_reason(&rig, 0));
    rig.set_home(15.0);
    settled(&mut rig, [15, 0]);
    rig.set_home(0.0);
    rig.tell(by_hand(None));
    settled(&mut rig, [15, 15]);
}

#[test]
fn what_is_given_by_hand_takes_no_more_from_others_than_its_own_way_carries() {
    let mut site = model(40.0, &["cp-1", "cp-2"]);
    site.circuits.push(circuit("board", Some(0), 10.0));
    site.chargers[0].circuit = 1;
    let mut rig = rig(site);
    rig.tell(input(Part::Charger(0), Heard::Manual(Some(manual(32.0)))));
    settled(&mut rig, [10, 30]);
    let reason = last_reason(&rig, 0);
    assert!(reason.starts_with("given by hand, as far as it fits"), "{reason}");
}

#[test]
fn of_two_that_are_given_by_hand_what_their_supply_carries_the_first_has_it_and_others_what_is_left() {
    let mut site = model(63.0, &["box:1", "box:2", "cp-3"]);
    site.circuits.push(circuit("box", Some(0), 32.0));
    site.chargers[..2].iter_mut().for_each(|connector| connector.circuit = 1);
    let mut rig = Rig::new(site);
    rig.ask(&[0, 1, 2]);
    for (priority, expected) in [(0, [32, 0, 31]), (1, [0, 32, 31])] {
        let mut site = rig.machine.model().clone();
        site.chargers[1].priority = priority;
        rig.restart_edge_as(site);
        for connector in [0, 1] {
            rig.tell(input(Part::Charger(connector), Heard::Manual(Some(manual(32.0)))));
        }
        rig.run_ms(10_000);
        assert_eq!(rig.setpoints(), expected);
    }
}

#[test]
fn one_that_does_not_answer_takes_no_more_from_others_by_hand_than_is_set_aside_for_it() {
    let mut rig = rig(model(40.0, &["cp-1", "cp-2"]));
    let by_hand = |current| input(Part::Charger(0), Heard::Manual(Some(manual(current))));
    rig.tell(by_hand(10.0));
    settled(&mut rig, [10, 30]);
    rig.vanish(0, true);
    rig.tell(input(Part::Charger(0), Heard::Online(false)));
    rig.tell(by_hand(32.0));
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [10, 30]);
}

#[test]
fn what_is_given_by_hand_for_a_time_ends_with_it_and_leaves_what_the_site_file_says() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.chargers[0].manual_ma = Some(amps(8.0));
    let mut rig = rig(site);
    settled(&mut rig, [8, 22]);
    let until_us = Some(rig.now + Micros::from_secs(4));
    let given = Manual { until_us, ..manual(20.0) };
    rig.tell(input(Part::Charger(0), Heard::Manual(Some(given))));
    settled(&mut rig, [20, 10]);
    settled(&mut rig, [8, 22]);
    rig.tell(input(Part::Charger(0), Heard::Manual(Some(manual(20.0)))));
    settled(&mut rig, [20, 10]);
    rig.tell(input(Part::Charger(0), Heard::Manual(None)));
    settled(&mut rig, [8, 22]);
}

#[test]
fn a_setpoint_rises_no_faster_than_the_ramp_and_falls_at_once() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.raise_ramp_ma_per_s = amps(2.0);
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.run_ms(1_000);
    let first = rig.setpoints()[0];
    assert!((6..=8).contains(&first), "{first}");
    for _ in 0..10 {
        let before = rig.setpoints()[0];
        rig.run_ms(1_000);
        let risen = rig.setpoints()[0] - before;
        assert!((1..=3).contains(&risen), "{risen} in a second");
    }
    rig.run_ms(5_000);
    assert_eq!(rig.setpoints(), [30, 0]);
    rig.set_home(20.0);
    rig.run_ms(450);
    assert_eq!(rig.setpoints(), [10, 0]);
    rig.set_home(0.0);
    rig.run_ms(5_000);
    assert!((17..=20).contains(&rig.setpoints()[0]), "{:?}", rig.setpoints());
}

#[test]
fn a_policy_that_changes_its_mind_leaves_a_vehicle_on_for_its_least_time_and_no_longer() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.least_on_ms = Millis(5_000);
    let mut rig = Rig::new(site);
    rig.ask(&[0]);
    rig.run_ms(1_000);
    rig.policy = Box::new(|_| Ok(Default::default()));
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), [6, 0]);
    assert_eq!(last_reason(&rig, 0), "keeps its minimum for its least time on");
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [0, 0]);
}

#[test]
fn what_is_given_by_hand_does_not_wait_for_the_least_time_on() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.least_on_ms = Millis(600_000);
    let mut rig = rig(site);
    settled(&mut rig, [15, 15]);
    rig.tell(input(Part::Charger(0), Heard::Manual(Some(manual(0.0)))));
    settled(&mut rig, [0, 30]);
}

#[test]
fn a_voltage_that_trembles_where_the_highest_power_is_the_minimum_switches_nobody_on_and_off() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.users = vec![agreed("ann", Some(1_380), None)];
    let mut rig = rig(site);
    rig.tells_voltage = true;
    rig.tell(input(Part::Charger(0), stay(Some("ann"))));
    let mut on_and_off = Vec::new();
    for volts in [230_000, 230_100].repeat(20) {
        rig.set_voltage(Millivolts(volts));
        rig.run_ms(2_000);
        on_and_off.push(rig.setpoints()[0]);
    }
    on_and_off.dedup();
    assert_eq!(on_and_off, [6, 0]);
    rig.set_voltage(Millivolts(230_000));
    settled(&mut rig, [0, 30]);
    rig.run_ms(600_000);
    settled(&mut rig, [6, 24]);
}

#[test]
fn a_vehicle_keeps_its_least_time_on_where_a_policy_gives_all_to_one_that_goes_before_it() {
    let mut site = model(17.0, &["cp-1", "cp-2"]);
    site.control.least_on_ms = Millis(5_000);
    let mut rig = Rig::new(site);
    rig.ask(&[1]);
    rig.run_ms(1_000);
    assert_eq!(rig.setpoints(), [0, 17]);
    rig.policy = Box::new(|_| {
        let all = |charger, current| Allocation { charger, limit_ma: amps(current), reason: String::new() };
        Ok(Plan { allocations: vec![all(0, 16.0), all(1, 0.0)], state: Vec::new() })
    });
    rig.ask(&[0, 1]);
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [11, 6]);
    rig.run_ms(4_000);
    assert_eq!(rig.setpoints(), [16, 0]);
}

#[test]
fn a_limit_puts_a_vehicle_on_standby_within_its_least_time_on_before_one_that_goes_before_it() {
    let mut site = model(17.0, &["cp-1", "cp-2"]);
    site.control.least_on_ms = Millis(60_000);
    let mut rig = rig(site);
    settled(&mut rig, [8, 8]);
    rig.set_home(5.0);
    settled(&mut rig, [6, 6]);
    rig.set_home(5.5);
    rig.run_ms(650);
    assert_eq!(rig.setpoints()[1], 0);
}

#[test]
fn who_stands_by_waits_for_room_beside_one_that_charges_though_it_was_registered_first() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.resume_room_ma = amps(1.0);
    let mut rig = rig(site);
    // Whoever came second and was registered first gets what the other leaves.
    rig.policy = Box::new(|snapshot| {
        let free = snapshot.circuits[0].available_ma[Phase::L1];
        let asks = |index: usize| snapshot.chargers[index].state.asks();
        let both = free >= amps(12.0) && asks(0) && asks(1);
        let second = if both { free - amps(6.0) } else { free };
        let of = |charger: u32, limit_ma| Allocation { charger, limit_ma, reason: String::new() };
        Ok(Plan {
            allocations: vec![of(0, if both { amps(6.0) } else { amps(0.0) }), of(1, second)],
            state: vec![],
        })
    });
    settled(&mut rig, [6, 24]);
    for _ in 0..4 {
        rig.set_home(18.05);
        settled(&mut rig, [0, 11]);
        rig.set_home(17.95);
        settled(&mut rig, [0, 12]);
    }
    rig.set_home(16.95);
    settled(&mut rig, [6, 7]);
}

#[test]
fn nobody_gives_up_anything_for_one_that_stands_by_all_the_same() {
    let mut site = model(20.0, &["cp-1", "cp-2"]);
    (site.control.least_on_ms, site.control.raise_delay_ms) = (Millis(60_000), Millis(2_000));
    let mut rig = rig(site);
    rig.set_home(5.0);
    settled(&mut rig, [7, 7]);
    rig.policy = Box::new(|_| {
        let of = |charger, limit_ma| Allocation { charger, limit_ma: amps(limit_ma), reason: String::new() };
        Ok(Plan { allocations: vec![of(0, 11.0), of(1, 0.0)], state: vec![] })
    });
    settled(&mut rig, [9, 6]);
    rig.set_home(8.5);
    rig.run_ms(450);
    assert_eq!(rig.setpoints(), [9, 0], "both at their minimums are too much");
}

#[test]
fn the_least_time_on_never_passes_a_limit() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.least_on_ms = Millis(60_000);
    let mut rig = rig(site);
    settled(&mut rig, [15, 15]);
    rig.set_home(20.0);
    settled(&mut rig, [10, 0]);
}

#[test]
fn who_stands_by_rests_for_the_least_time_off_and_one_that_comes_does_not_wait() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.least_off_ms = Millis(10_000);
    let mut rig = rig(site);
    settled(&mut rig, [15, 15]);
    rig.set_home(20.0);
    settled(&mut rig, [10, 0]);
    rig.set_home(0.0);
    settled(&mut rig, [30, 0]);
    assert_eq!(last_reason(&rig, 1), "rests for its least time off");
    rig.run_ms(5_000);
    settled(&mut rig, [15, 15]);
    rig.set_home(20.0);
    settled(&mut rig, [10, 0]);
    // The vehicle leaves and another comes.
    rig.set_home(0.0);
    rig.ask(&[0]);
    rig.run_ms(1_000);
    rig.ask(&[0, 1]);
    settled(&mut rig, [15, 15]);
}

/// How often the second charger is put on or taken off standby in an hour at the edge of its limit, where the load
/// trembles by 0.05 A.
fn switches(change: impl Fn(&mut Control)) -> usize {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    change(&mut site.control);
    let mut rig = rig(site);
    rig.set_home(17.99);
    let mut seed = 11_u64;
    rig.noise = Box::new(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        wattle_wire::Milliamps((seed >> 33) as i32 % 101 - 50)
    });
    rig.run_ms(3_600_000);
    let second =
        rig.sent.iter().filter(|(_, to, _)| *to == 1).map(|(_, _, setpoint)| setpoint.limit_ma.0 > 0);
    let is_on: Vec<bool> = second.collect();
    is_on.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn by_default_a_load_that_trembles_at_the_edge_switches_nobody_on_and_off() {
    for (swing_a, most) in [(0.05, 2), (0.9, 2), (1.5, 100)] {
        let mut site = model(30.0, &["cp-1"]);
        site.control = Control::default();
        let mut rig = Rig::new(site);
        rig.set_home(23.975);
        rig.ask(&[0]);
        rig.run_ms(20_000);
        let mut is_on = Vec::new();
        for second in 0..3_600 {
            rig.set_home(if second / 10 % 2 == 0 { 24.02 } else { 24.02 - swing_a });
            rig.run_ms(1_000);
            is_on.push(rig.setpoints()[0] > 0);
        }
        let switches = is_on.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(switches <= most, "{swing_a} A: {switches}");
    }
}

#[test]
fn who_waits_for_room_that_never_comes_charges_after_an_hour_and_at_once_with_all_that_a_circuit_carries() {
    for (limit, load_after, seconds, expected) in
        [(30.0, 23.5, 3_000, 0), (30.0, 23.5, 4_000, 6), (6.5, 0.0, 10, 6), (6.5, 0.3, 3_000, 0)]
    {
        let mut site = model(limit, &["cp-1"]);
        site.control.resume_room_ma = amps(1.0);
        let mut rig = Rig::new(site);
        rig.ask(&[0]);
        rig.run_ms(3_000);
        rig.set_home(limit - 5.0);
        rig.run_ms(3_000);
        assert_eq!(rig.setpoints(), [0]);
        rig.set_home(load_after);
        rig.run_ms(seconds * 1_000);
        assert_eq!(rig.setpoints(), [expected], "{limit} A, {load_after} A of load, after {seconds} s");
    }
}

#[test]
fn a_load_that_trembles_at_the_edge_switches_nobody_on_and_off() {
    assert!(switches(|_| ()) > 1_000, "or the edge is none");
    assert!(switches(|control| control.resume_room_ma = amps(1.0)) <= 2);
    assert!(switches(|control| control.least_off_ms = Millis(600_000)) <= 12);
}
