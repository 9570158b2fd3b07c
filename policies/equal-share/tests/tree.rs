//! Trees of circuits, several phases, priorities and odd chargers.

use policy_equal_share::EqualShare;
use wattle_policy::kit::{self, Site, charger};
use wattle_policy::{ChargerState, Phase, Policy};

#[test]
fn a_charger_gets_the_least_of_the_circuits_above_it() {
    let site = Site::new([40_000, 0, 0])
        .circuit("cellar", "grid", [16_000, 0, 0])
        .charger(charger("a").on("cellar"))
        .charger(charger("b").on("cellar"))
        .asking("c");
    check(&site, &[8_000, 8_000, 13_000]);
}

#[test]
fn a_shortage_on_a_sub_board_is_met_there() {
    let site = Site::new([40_000, 0, 0])
        .circuit("cellar", "grid", [10_000, 0, 0])
        .charger(charger("a").on("cellar").priority(5))
        .charger(charger("b").on("cellar").priority(4))
        .asking("c");
    check(&site, &[10_000, 0, 20_000]);
}

#[test]
fn each_phase_is_shared_by_those_that_load_it() {
    let site = Site::new([24_000, 16_000, 30_000])
        .charger(charger("one").phases(&[Phase::L1]))
        .charger(charger("rotated").phases(&[Phase::L3]))
        .charger(charger("three").phases(&[Phase::L2, Phase::L3, Phase::L1]));
    check(&site, &[12_000, 15_000, 12_000]);
}

#[test]
fn a_three_phase_charger_waits_for_its_shortest_phase() {
    let site = Site::new([32_000, 5_000, 32_000])
        .charger(charger("three").phases(&Phase::ALL))
        .charger(charger("one").phases(&[Phase::L1]));
    check(&site, &[0, 32_000]);
}

#[test]
fn the_lowest_priority_waits_and_between_equals_the_last_registered() {
    let site = Site::new([13_000, 0, 0])
        .charger(charger("low").priority(-1))
        .charger(charger("first"))
        .charger(charger("second"))
        .charger(charger("high").priority(7));
    check(&site, &[0, 6_000, 0, 6_000]);
}

#[test]
fn a_charger_that_is_out_of_reach_or_does_not_ask_counts_for_nothing() {
    let quiet =
        [ChargerState::Available, ChargerState::Plugged, ChargerState::Finished, ChargerState::Faulted];
    for state in quiet {
        let site = Site::new([20_000, 0, 0]).charger(charger("quiet").state(state)).asking("asks");
        check(&site, &[0, 20_000]);
    }
    check(&Site::new([20_000, 0, 0]).charger(charger("gone").offline()).asking("asks"), &[0, 20_000]);
}

#[test]
fn a_maximum_caps_and_what_it_leaves_stays_unused() {
    let site = Site::new([40_000, 0, 0]).charger(charger("small").range(6_000, 16_000, 1_000)).asking("b");
    check(&site, &[16_000, 20_000]);
}

#[test]
fn limits_are_whole_steps_and_never_under_the_minimum() {
    let coarse = || charger("coarse").range(6_000, 32_000, 4_000);
    check(&Site::new([15_900, 0, 0]).charger(coarse()), &[12_000]);
    check(&Site::new([7_900, 0, 0]).charger(coarse()), &[0]);
    check(&Site::new([8_000, 0, 0]).charger(coarse()), &[8_000]);
}

#[test]
fn a_charger_whose_range_holds_no_step_waits_and_takes_nothing_from_others() {
    let site = Site::new([20_000, 0, 0])
        .charger(charger("odd").range(7_000, 7_500, 4_000))
        .charger(charger("upside-down").range(10_000, 6_000, 1_000))
        .asking("fine");
    check(&site, &[0, 0, 20_000]);
    check(&Site::new([20_000; 3]).charger(charger("alone").range(7_000, 7_500, 4_000)), &[0]);
    check(&Site::new([20_000; 3]).charger(charger("nowhere").phases(&[])), &[0]);
}

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<EqualShare>("");
}

#[test]
fn a_circuit_that_is_overdrawn_leaves_everybody_waiting() {
    let site = Site::new([10_000, 0, 0]).load("grid", [12_000, 0, 0]).asking("a").asking("b");
    check(&site, &[0, 0]);
}

#[test]
fn the_ends_of_the_range_do_not_overflow() {
    let site = Site::new([i32::MAX, i32::MIN, i32::MAX])
        .charger(charger("max").range(i32::MAX, i32::MAX, i32::MAX))
        .charger(charger("min").range(i32::MIN, i32::MAX, i32::MIN))
        .charger(charger("three").phases(&Phase::ALL).range(0, 0, 0));
    check(&site, &[i32::MAX, 0, 0]);
}

#[test]
fn a_snapshot_that_is_no_tree_is_refused() {
    let mut snapshot = Site::new([20_000, 0, 0]).asking("a").snapshot();
    snapshot.chargers[0].circuit = 9;
    let refusal = EqualShare::decide(&snapshot, "", &[]).expect_err("no such circuit");
    assert_eq!(refusal, "charger a hangs below circuit 9, which the snapshot doesn't have");
    snapshot.chargers[0].circuit = 0;
    snapshot.circuits[0].parent = Some(0);
    let refusal = EqualShare::decide(&snapshot, "", &[]).expect_err("a loop");
    assert_eq!(refusal, "circuit grid doesn't stand behind the circuit that feeds it");
}

#[test]
fn a_thousand_chargers_of_which_most_wait_fit() {
    let mut site = Site::new([150_000; 3]);
    for n in 0..1000 {
        site = site.charger(charger(&format!("c{n}")).phases(&[Phase::ALL[n % 3]]));
    }
    let snapshot = site.snapshot();
    let plan = EqualShare::decide(&snapshot, "", &[]).expect("the site is whole");
    kit::assert_fits(&snapshot, &plan);
    let limits = kit::limits(&snapshot, &plan);
    assert_eq!(limits.iter().filter(|limit| **limit == 6_000).count(), 75);
    assert!(limits[75..].iter().all(|limit| *limit == 0));
}

/// `expected` in mA, in order of registration.
fn check(site: &Site, expected: &[i32]) {
    let snapshot = site.snapshot();
    let plan = EqualShare::decide(&snapshot, "", &[]).expect("the site is whole");
    kit::assert_fits(&snapshot, &plan);
    assert_eq!(kit::limits(&snapshot, &plan), expected);
}
