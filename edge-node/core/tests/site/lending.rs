//! What a vehicle leaves is lent, comes back when it asks, and nobody swings.

use wattle_wire::{Micros, Milliamps, Millis};

use wattle_rig::Rig;
use wattle_rig::parts::{amps, model};

/// Two chargers that share 25 A; what is left for a second is lent.
fn rig() -> Rig {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.lend_after_ms = Millis(1_000);
    let mut rig = Rig::new(site);
    rig.set_home(5.0);
    rig.ask(&[0, 1]);
    rig
}

fn check(rig: &mut Rig, takes: f64, expected: [i32; 2]) {
    rig.vehicles[0].takes = amps(takes);
    rig.run_ms(3_000);
    assert_eq!(rig.setpoints(), expected, "the first takes {takes} A");
}

/// What a charger was told, each current once.
fn told(rig: &Rig, charger: usize) -> Vec<Milliamps> {
    let sent = rig.sent.iter().filter(|(_, to, _)| *to == charger);
    let mut limits: Vec<Milliamps> = sent.map(|(_, _, setpoint)| setpoint.limit_ma).collect();
    limits.dedup();
    limits
}

#[test]
fn what_it_leaves_is_lent_and_it_has_it_back_when_it_takes_what_it_may() {
    let mut rig = rig();
    check(&mut rig, 32.0, [12, 12]);
    check(&mut rig, 7.5, [9, 16]);
    check(&mut rig, 32.0, [12, 12]);
}

#[test]
fn one_that_takes_less_than_its_minimum_keeps_the_minimum() {
    check(&mut rig(), 0.0, [6, 19]);
}

#[test]
fn a_battery_that_fills_is_followed_downwards() {
    let mut rig = rig();
    check(&mut rig, 9.9, [12, 12]);
    check(&mut rig, 8.0, [10, 15]);
    check(&mut rig, 6.0, [8, 17]);
    check(&mut rig, 2.0, [6, 19]);
}

#[test]
fn one_that_takes_all_but_a_step_is_left_as_it_is() {
    for takes in [11.1, 11.5, 12.0] {
        check(&mut rig(), takes, [12, 12]);
    }
}

#[test]
fn a_ramp_is_not_mistaken_for_a_small_appetite() {
    let mut rig = rig();
    for tenths in 0..120 {
        rig.vehicles[0].takes = amps(f64::from(tenths) / 10.0);
        rig.run_ms(200);
    }
    rig.run_ms(2_000);
    assert_eq!(rig.setpoints(), [12, 12]);
    assert_eq!(told(&rig, 0).last(), Some(&amps(12.0)), "{:?}", told(&rig, 0));
    assert!(told(&rig, 0).is_sorted(), "{:?}", told(&rig, 0));
}

#[test]
fn a_steady_draw_with_noise_is_lent_once_whatever_it_is() {
    for hundredths in (600..1_100).step_by(25) {
        let mut rig = rig();
        rig.run_ms(2_000);
        rig.sent.clear();
        let mut seed = hundredths as u64;
        for _ in 0..600 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = (seed >> 33) as i32 % 101 - 50;
            rig.vehicles[0].takes = Milliamps(hundredths * 10 + noise);
            rig.run_ms(200);
        }
        assert!(told(&rig, 0).len() <= 2, "{:?} at {hundredths} hundredths of an ampere", told(&rig, 0));
    }
}

#[test]
fn one_that_comes_and_goes_is_lent_ever_more_seldom() {
    let mut rig = rig();
    rig.run_ms(2_000);
    rig.sent.clear();
    for round in 0..60 {
        rig.vehicles[0].takes = amps(if round % 2 == 0 { 7.0 } else { 32.0 });
        rig.run_ms(10_000);
    }
    // Its pauses are ten seconds: it is lent after one, two, four and eight of them, and never again.
    assert!((9..=12).contains(&told(&rig, 0).len()), "{:?}", told(&rig, 0));
}

#[test]
fn the_next_vehicle_begins_anew() {
    let mut rig = rig();
    check(&mut rig, 7.5, [9, 16]);
    rig.ask(&[1]);
    rig.run_ms(1_000);
    rig.ask(&[0, 1]);
    rig.vehicles[0].takes = amps(32.0);
    rig.run_ms(900);
    assert_eq!(rig.setpoints(), [12, 12]);
}

#[test]
fn nothing_is_lent_where_that_is_switched_off() {
    let mut site = model(30.0, &["cp-1", "cp-2"]);
    site.control.lend_after_ms = Millis(0);
    let mut rig = Rig::new(site);
    rig.set_home(5.0);
    rig.ask(&[0, 1]);
    for _ in 0..30 {
        check(&mut rig, 7.5, [12, 12]);
    }
}

#[test]
fn what_is_lent_is_not_had_twice() {
    // The one that lends takes all of it back at the same moment at which the other uses it; the rig looks.
    let mut rig = rig();
    for round in 0..40 {
        rig.vehicles[0].takes = amps(if round % 2 == 0 { 7.0 } else { 32.0 });
        rig.run_ms(1_735);
    }
    assert!(rig.now > Micros::from_secs(1_060));
}
