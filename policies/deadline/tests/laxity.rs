//! Least time to spare first.

use policy_deadline::{Deadline, SETTINGS};
use wattle_policy::kit::{self, NewCharger, Site, charger};
use wattle_policy::{Plan, Policy, Snapshot};

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<Deadline>("");
    kit::assert_sound::<Deadline>(r#"{"hold_s":0,"assumed_energy_wh":0}"#);
}

#[test]
fn the_page_says_what_the_settings_are() {
    kit::assert_documents(include_str!("../../../docs/policies/deadline.md"), SETTINGS);
}

/// The example of the page: 32 A at 230 V are 7.36 kW.
#[test]
fn the_least_time_to_spare_goes_first_and_the_others_keep_their_minimum() {
    let site = Site::new([44_000, 0, 0])
        .charger(car("a", 8, 14_720))
        .charger(car("b", 3, 14_720))
        .charger(car("c", 5, 7_360));
    check(
        &site,
        &[
            (6, "6 A: shares 44 A on grid L1 with 2 others; 6 h to spare"),
            (32, "32 A: its maximum; 1 h to spare"),
            (6, "6 A: shares 44 A on grid L1 with 2 others; 4 h to spare"),
        ],
    );
}

#[test]
fn one_with_no_time_to_spare_gets_all_before_the_others_get_their_minimum() {
    let site = Site::new([36_000, 0, 0]).charger(car("a", 8, 7_360)).charger(car("b", 2, 14_720));
    check(
        &site,
        &[
            (0, "standby: 4 A is left on grid L1, it needs 6 A; 7 h to spare"),
            (32, "32 A: its maximum; no time to spare"),
        ],
    );
    let site = Site::new([36_000, 0, 0]).charger(car("a", 8, 7_360)).charger(car("b", 2, 29_440));
    assert!(reasons(&site)[1].ends_with("; late by 2 h"), "{:?}", reasons(&site));
}

#[test]
fn one_that_has_its_energy_comes_last() {
    let site = Site::new([38_000, 0, 0]).charger(car("a", 1, 0)).charger(car("b", 9, 7_360));
    check(
        &site,
        &[
            (6, "6 A: shares 38 A on grid L1 with 1 other; it has what it needs"),
            (32, "32 A: its maximum; 8 h to spare"),
        ],
    );
    let site = Site::new([10_000, 0, 0]).charger(car("a", 1, 0)).charger(car("b", 9, 7_360));
    assert_eq!(amps(&site.snapshot()), [0, 10]);
}

#[test]
fn a_priority_goes_first_among_those_who_have_time() {
    let site = Site::new([38_000, 0, 0]).charger(car("a", 9, 7_360).priority(1)).charger(car("b", 3, 7_360));
    assert_eq!(amps(&site.snapshot()), [32, 6]);
    let site = Site::new([38_000, 0, 0]).charger(car("a", 9, 7_360).priority(1)).charger(car("b", 1, 7_360));
    assert_eq!(amps(&site.snapshot()), [6, 32]);
}

#[test]
fn full_power_is_what_the_limits_above_allow() {
    let site = Site::new([60_000, 0, 0])
        .circuit("cable", "grid", [8_000, 0, 0])
        .charger(car("thin", 5, 7_360).on("cable"))
        .charger(car("b", 3, 7_360));
    let reasons = reasons(&site);
    assert!(reasons[0].ends_with("; 1 h to spare"), "4 h at 8 A: {reasons:?}");
    assert!(reasons[1].ends_with("; 2 h to spare"), "{reasons:?}");
}

#[test]
fn what_is_not_said_is_assumed_from_the_arrival_on() {
    let site = Site::new([38_000, 0, 0]).asking("unknown").charger(car("b", 7, 7_360));
    let after = |hours: i64| reasons(&site.clone().after_seconds(hours * 3_600))[0].clone();
    assert!(after(0).ends_with("; 5 h 16 min to spare"), "{}", after(0));
    assert!(after(5).ends_with("; 16 min to spare"), "{}", after(5));
    assert!(after(6).ends_with("; late by 43 min"), "{}", after(6));
    assert_eq!(amps(&site.snapshot()), [32, 6]);
}

#[test]
fn one_that_charges_is_held_until_another_has_clearly_less_time() {
    let site = |spare_min: i64, setpoint| {
        let other = car("other", 0, 7_360).with(|charger| {
            let session = charger.session.as_mut().expect("it asks");
            session.departure = Some(session.arrived + (120 + 60 - spare_min) * 60_000_000);
        });
        let holder = car("holder", 3, 7_360).with(|charger| charger.setpoint = setpoint);
        amps(&Site::new([38_000, 0, 0]).charger(holder).charger(other).snapshot())
    };
    assert_eq!(site(9, 32_000), [32, 6]);
    assert_eq!(site(11, 32_000), [6, 32]);
    assert_eq!(site(1, 0), [6, 32]);
}

#[test]
fn two_vehicles_of_which_only_one_fits_take_long_turns_and_both_get_energy() {
    let mut snapshot = Site::new([10_000, 0, 0]).asking("a").asking("b").snapshot();
    let (mut switches, mut delivered) = (0, [0_i64; 2]);
    for _ in 0..24 * 60 {
        let before: Vec<i32> = snapshot.chargers.iter().map(|charger| charger.setpoint).collect();
        let plan = decide(&snapshot);
        let limits = kit::limits(&snapshot, &plan);
        switches += usize::from((before[0] > 0) != (limits[0] > 0));
        for (n, charger) in snapshot.chargers.iter_mut().enumerate() {
            charger.setpoint = limits[n];
            delivered[n] += charger.watts(limits[n]) / 60;
            charger.session.as_mut().expect("it asks").delivered = delivered[n];
        }
        snapshot.now += 60_000_000;
    }
    assert!(delivered.iter().all(|energy| *energy >= 20_000), "{delivered:?}");
    assert!((3..=60).contains(&switches), "{switches} switches in a day");
}

#[test]
fn whoever_waits_grows_urgent_against_a_stream_of_others() {
    let mut snapshot = Site::new([6_000, 0, 0]).asking("patient").charger(car("stream", 1, 7_360)).snapshot();
    let mut charged = 0;
    for minute in 0..24 * 60 {
        let limits = kit::limits(&snapshot, &decide(&snapshot));
        charged += i32::from(limits[0] > 0);
        if minute % 60 == 59 {
            let session = snapshot.chargers[1].session.as_mut().expect("it asks");
            session.departure = Some(snapshot.now + 3_600_000_000);
        }
        for (charger, limit) in snapshot.chargers.iter_mut().zip(limits) {
            charger.setpoint = limit;
        }
        snapshot.now += 60_000_000;
    }
    assert!(charged > 6 * 60, "{charged} minutes of a day");
}

#[test]
fn wrong_settings_are_named_with_value_and_reason() {
    assert_eq!(
        Deadline::validate_settings(r#"{"hold_s":"long"}"#),
        [r#"hold_s: `"long"` is not a whole number from 0 to 7200"#]
    );
}

/// A vehicle that leaves so many hours after its arrival and still needs so much.
fn car(id: &str, leaves_h: i64, needed_wh: i64) -> NewCharger {
    charger(id).with(|charger| {
        let session = charger.session.as_mut().expect("it asks");
        session.departure = Some(session.arrived + leaves_h * 3_600_000_000);
        session.needed = Some(needed_wh);
    })
}

fn decide(snapshot: &Snapshot) -> Plan {
    let plan = Deadline::decide(snapshot, "", &[]).expect("the site is whole");
    kit::assert_fits(snapshot, &plan);
    plan
}

fn amps(snapshot: &Snapshot) -> Vec<i32> {
    kit::limits(snapshot, &decide(snapshot)).iter().map(|limit| limit / 1_000).collect()
}

fn reasons(site: &Site) -> Vec<String> {
    decide(&site.snapshot()).allocations.into_iter().map(|allocation| allocation.reason).collect()
}

/// `expected`: A and reason of each.
fn check(site: &Site, expected: &[(i32, &str)]) {
    let (amps, reasons) = (amps(&site.snapshot()), reasons(site));
    let found: Vec<(i32, &str)> = amps.into_iter().zip(reasons.iter().map(String::as_str)).collect();
    assert_eq!(found, expected);
}
