//! Known answers: limits, chargers, and what each gets.

use policy_fair_share::FairShare;
use wattle_policy::kit::{self, NewCharger, Site, charger};
use wattle_policy::{Phase, Policy};

#[test]
fn the_remainder_goes_out_in_order() {
    check(Site::new([35_000, 0, 0]), &[16, 16, 16], &[12, 12, 11]);
    check(Site::new([20_000, 0, 0]), &[16, 16, 16], &[7, 7, 6]);
}

#[test]
fn what_one_cannot_take_goes_to_the_others() {
    check(Site::new([32_000, 0, 0]), &[32, 10, 32], &[11, 10, 11]);
    check(Site::new([60_000, 0, 0]), &[16, 16, 16], &[16, 16, 16]);
}

#[test]
fn the_last_waits_when_the_minima_do_not_fit() {
    check(Site::new([17_000, 0, 0]), &[16, 16, 16], &[9, 8, 0]);
    check(Site::new([14_000, 0, 0]), &[32, 32], &[7, 7]);
    check(Site::new([11_000, 0, 0]), &[32, 32], &[11, 0]);
    check(Site::new([5_999, 0, 0]), &[32, 32], &[0, 0]);
}

#[test]
fn each_phase_is_shared_by_those_that_load_it() {
    let three = |wired: [Phase; 3]| {
        let site = wired
            .iter()
            .enumerate()
            .fold(Site::new([20_000; 3]), |site, (n, phase)| site.charger(car(n, 16).phases(&[*phase])));
        amps(&site)
    };
    assert_eq!(three([Phase::L1; 3]), [7, 7, 6]);
    assert_eq!(three([Phase::L1, Phase::L3, Phase::L2]), [16, 16, 16]);
}

#[test]
fn a_cable_that_is_full_leaves_the_rest_to_the_others() {
    let site = Site::new([32_000, 0, 0])
        .circuit("thick", "grid", [32_000, 0, 0])
        .circuit("thin", "grid", [8_000, 0, 0])
        .charger(car(0, 32).on("thick"))
        .charger(car(1, 32).on("thin"));
    assert_eq!(amps(&site), [24, 8]);
}

#[test]
fn a_three_phase_charger_is_bound_by_its_fullest_phase() {
    let site = Site::new([32_000, 20_000, 32_000])
        .charger(car(0, 32).phases(&Phase::ALL))
        .charger(car(1, 32).phases(&[Phase::L2]))
        .charger(car(2, 32).phases(&[Phase::L1]));
    assert_eq!(amps(&site), [10, 10, 22]);
}

#[test]
fn the_line_is_by_priority_then_arrival_then_registration() {
    let arrives = |n, minutes: i64| {
        car(n, 32).with(move |charger| {
            charger.session.as_mut().expect("it asks").arrived += minutes * 60_000_000;
        })
    };
    let site = Site::new([13_000, 0, 0]).charger(arrives(0, 5)).charger(arrives(1, 3)).charger(arrives(2, 3));
    assert_eq!(amps(&site), [0, 7, 6]);
    assert_eq!(amps(&site.charger(arrives(3, 9).priority(1))), [0, 6, 0, 7]);
}

#[test]
fn one_that_needs_too_much_does_not_keep_those_behind_it_waiting() {
    let site = Site::new([8_000, 0, 0]).charger(car(0, 32)).charger(car(1, 32));
    let greedy = car(2, 32).range(10_000, 32_000, 1_000).priority(1);
    assert_eq!(amps(&site.charger(greedy)), [8, 0, 0]);
}

#[test]
fn a_thousand_chargers_get_whole_amps_of_everything_that_there_is() {
    let mut site = Site::new([7_777_000; 3]);
    for n in 0..1_000 {
        site = site.charger(car(n, 32).phases(&[Phase::ALL[n % 3]]));
    }
    let amps = amps(&site);
    assert_eq!(amps.iter().step_by(3).sum::<i32>(), 7_777);
    assert!(amps.iter().all(|amps| (23..=24).contains(amps)), "{amps:?}");
}

fn car(n: usize, maximum_a: i32) -> NewCharger {
    charger(&format!("c{n}")).range(6_000, maximum_a * 1_000, 1_000)
}

/// `maxima` and `expected` in A, all on L1 of the grid connection.
fn check(site: Site, maxima: &[i32], expected: &[i32]) {
    let cars = maxima.iter().enumerate();
    let site = cars.fold(site, |site, (n, maximum)| site.charger(car(n, *maximum)));
    assert_eq!(amps(&site), expected, "maxima {maxima:?}");
}

fn amps(site: &Site) -> Vec<i32> {
    let snapshot = site.snapshot();
    let plan = FairShare::decide(&snapshot, "", &[]).expect("the site is whole");
    kit::assert_fits(&snapshot, &plan);
    kit::limits(&snapshot, &plan).iter().map(|limit| limit / 1_000).collect()
}
