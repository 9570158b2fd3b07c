//! The published scenarios: one phase, a contract of 30 A, 6 to 32 A in whole amps, priority by order of
//! registration, no margin.

use policy_equal_share::EqualShare;
use wattle_policy::kit::{self, Site};
use wattle_policy::{ChargerState, Policy};

#[test]
fn nobody_asks() {
    check(3_200, &["1", "2", "3"], &[], &[0, 0, 0]);
}

#[test]
fn one_vehicle_gets_what_the_home_leaves() {
    check(3_200, &["1", "2", "3"], &["1"], &[26, 0, 0]);
    check(5_000, &["1", "2", "3"], &["1"], &[25, 0, 0]);
}

#[test]
fn two_and_three_vehicles_share() {
    check(5_000, &["1", "2", "3"], &["1", "2"], &[12, 12, 0]);
    check(5_000, &["1", "2", "3"], &["1", "2", "3"], &[8, 8, 8]);
    check(8_000, &["1", "2", "3"], &["1", "2", "3"], &[7, 7, 7]);
}

#[test]
fn the_last_one_waits_when_the_home_rises() {
    check(14_000, &["1", "2", "3"], &["1", "2", "3"], &[8, 8, 0]);
    check(16_400, &["1", "2", "3"], &["1", "2", "3"], &[6, 6, 0]);
}

#[test]
fn one_that_is_left_gets_all() {
    check(16_400, &["1", "2", "3"], &["1"], &[13, 0, 0]);
}

#[test]
fn shares_grow_again_when_the_home_falls() {
    check(4_300, &["1", "2", "3"], &["1", "2", "3"], &[8, 8, 8]);
    check(4_300, &["1", "2", "3"], &["1", "2"], &[12, 12, 0]);
    check(4_300, &["1", "2", "3"], &["1"], &[25, 0, 0]);
}

#[test]
fn the_one_registered_last_waits_first_and_comes_back_last() {
    let registered = ["1", "3", "2"];
    check(10_100, &registered, &["1"], &[19, 0, 0]);
    check(12_000, &registered, &["1"], &[18, 0, 0]);
    check(12_000, &registered, &["1", "3"], &[9, 9, 0]);
    check(12_000, &registered, &["1", "3", "2"], &[6, 6, 6]);
    check(12_001, &registered, &["1", "3", "2"], &[8, 8, 0]);
    check(18_000, &registered, &["1", "3", "2"], &[6, 6, 0]);
    check(18_001, &registered, &["1", "3", "2"], &[11, 0, 0]);
    check(24_001, &registered, &["1", "3", "2"], &[0, 0, 0]);
    check(24_000, &registered, &["1", "3", "2"], &[6, 0, 0]);
    check(18_000, &registered, &["1", "3", "2"], &[6, 6, 0]);
    check(12_000, &registered, &["1", "3", "2"], &[6, 6, 6]);
}

/// `home` in mA, `expected` in A and in order of registration.
fn check(home: i32, registered: &[&str], asking: &[&str], expected: &[i32]) {
    let mut site = Site::new([30_000, 0, 0]).load("grid", [home, 0, 0]);
    for id in registered {
        let state = if asking.contains(id) { ChargerState::Charging } else { ChargerState::Available };
        site = site.charger(kit::charger(id).state(state));
    }
    let snapshot = site.snapshot();
    let plan = EqualShare::decide(&snapshot, "", &[]).expect("the site is whole");
    kit::assert_fits(&snapshot, &plan);
    let amps: Vec<i32> = kit::limits(&snapshot, &plan).iter().map(|limit| limit / 1000).collect();
    assert_eq!(amps, expected, "home {home} mA, asking {asking:?}");
}
