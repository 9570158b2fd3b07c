//! Decisions, and guests that misbehave.

use std::time::Duration;

use crate::common::{component, load, snapshot};
use wattle_policy_host::{Decided, Grants, Host, Limits, LoadError, RunError};
use wattle_wire::Milliamps;

#[test]
fn the_policy_sees_the_snapshot_and_its_plan_comes_back() {
    let decided = load("equal-share").decide(&snapshot(7, Milliamps(26_800)), "", &[]).expect("it decides");
    let limits: Vec<i32> = decided.plan.allocations.iter().map(|one| one.limit_ma.0).collect();
    assert_eq!(limits, [8_000, 13_000, 13_000, 8_000, 13_000, 13_000, 8_000]);
    assert_eq!(decided.plan.allocations[0].reason, "8 A: a third of 26.8 A on grid L1");
    assert!(decided.plan.state.is_empty() && decided.log.is_empty());
}

#[test]
fn the_same_input_gives_the_same_plan_and_fuel() {
    let policy = load("equal-share");
    let first = policy.decide(&snapshot(50, Milliamps(90_000)), "", &[]).expect("it decides");
    assert!(first.fuel > 1000);
    for _ in 0..10 {
        assert_eq!(policy.decide(&snapshot(50, Milliamps(90_000)), "", &[]).as_ref(), Ok(&first));
    }
    let elsewhere = load("equal-share").decide(&snapshot(50, Milliamps(90_000)), "", &[]);
    assert_eq!(elsewhere.as_ref(), Ok(&first));
}

#[test]
fn a_thousand_chargers_fit_the_default_limits() {
    let host = Host::new(Limits { deadline: Duration::from_secs(20), ..Limits::default() }).expect("runs");
    let policy = host.load(&component("equal-share")).expect("sound");
    let decided = policy.decide(&snapshot(1000, Milliamps(150_000)), "", &[]).expect("it decides");
    assert!(decided.fuel < host.limits().fuel / 2, "{} units of fuel", decided.fuel);
    assert_eq!(decided.plan.allocations.len(), 1000);
}

#[test]
fn every_decision_starts_from_nothing_but_its_state() {
    let policy = load("hostile");
    let mut state = Vec::new();
    for told in 1..4 {
        let plan =
            policy.decide(&snapshot(1, Milliamps(10_000)), "remember", &state).expect("it decides").plan;
        assert_eq!(plan.allocations[0].reason, format!("call 1 of {told}"));
        state = plan.state;
    }
}

#[test]
fn a_policy_decides_on_several_threads_at_once() {
    let policy = load("equal-share");
    let snapshot = snapshot(20, Milliamps(60_000));
    let expected = policy.decide(&snapshot, "", &[]).expect("it decides");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(policy.decide(&snapshot, "", &[]).as_ref(), Ok(&expected)));
        }
    });
}

#[test]
fn a_guest_that_spins_runs_out_of_fuel() {
    fails("spin", |e| matches!(e, RunError::OutOfFuel(20_000_000)));
}

#[test]
fn a_guest_that_outlasts_its_deadline_is_stopped() {
    let deadline = Duration::from_millis(10);
    let host = Host::new(Limits { deadline, fuel: u64::MAX, ..Limits::default() }).expect("runs");
    let policy = host.load(&component("hostile")).expect("sound");
    let spun = policy.decide(&snapshot(1, Milliamps(10_000)), "spin", &[]);
    assert_eq!(spun, Err(RunError::Deadline(deadline)));
    assert_eq!(policy.validate_settings("spin"), Err(RunError::Deadline(deadline)));
}

#[test]
fn a_guest_with_more_fuel_has_as_many_times_as_long() {
    let (deadline, fuel) = (Duration::from_millis(40), 1_000_000_000_000);
    let host = Host::new(Limits { deadline, fuel, ..Limits::default() }).expect("runs");
    let grants = Grants { fuel: 5 * fuel, unasked_fuel: 5 * fuel, ..host.limits().usual() };
    let policy = host.load_within(&component("hostile"), grants).expect("sound");
    let start = std::time::Instant::now();
    let spun = policy.decide(&snapshot(1, Milliamps(10_000)), "spin", &[]);
    assert_eq!(spun, Err(RunError::Deadline(5 * deadline)));
    assert!(start.elapsed() >= 5 * deadline, "stopped after {:?}", start.elapsed());
}

#[test]
fn a_guest_that_eats_memory_is_stopped_at_its_limit() {
    fails("allocate", |e| matches!(e, RunError::OutOfMemory(limit) if *limit == 16 << 20));
}

#[test]
fn more_memory_is_had_by_asking_where_it_is_granted() {
    let bytes = crate::common::hostile("4.0.0-hostile");
    let default = crate::common::host().load(&bytes).expect_err("not granted");
    assert_eq!(
        default.to_string(),
        "the policy asks for 33554432 bytes of memory; this host grants 16777216"
    );
    let grants = Grants { memory_bytes: 40 << 20, ..Limits::default().usual() };
    let policy = crate::common::host().load_within(&bytes, grants).expect("granted");
    assert!(policy.decide(&snapshot(1, Milliamps(10_000)), "hold 20 MiB", &[]).is_ok());
    let eaten = policy.decide(&snapshot(1, Milliamps(10_000)), "allocate", &[]);
    assert_eq!(eaten, Err(RunError::OutOfMemory(32 << 20)), "no more than it has asked for");
    fails("hold 20 MiB", |e| matches!(e, RunError::OutOfMemory(limit) if *limit == 16 << 20));
    // A grant that nobody asks for changes nothing.
    let modest = crate::common::host().load_within(&component("hostile"), grants).expect("granted");
    let held = modest.decide(&snapshot(1, Milliamps(10_000)), "hold 20 MiB", &[]);
    assert_eq!(held, Err(RunError::OutOfMemory(16 << 20)));
}

#[test]
fn a_policy_that_asks_for_no_fuel_has_what_is_for_such_and_one_that_asks_for_more_is_not_loaded() {
    let host = crate::common::host();
    for fuel in [1_000_000, 50_000_000] {
        let grants = Grants { fuel, unasked_fuel: fuel, ..Limits::default().usual() };
        let policy = host.load_within(&component("hostile"), grants).expect("granted");
        let spun = policy.decide(&snapshot(1, Milliamps(10_000)), "spin", &[]);
        assert_eq!(spun, Err(RunError::OutOfFuel(fuel)));
        let thirsty = host.load_within(&crate::common::hostile("5.0.0-hostile"), grants);
        let expected = LoadError::AsksTooMuch { what: "units of fuel", asked: u64::MAX, granted: fuel };
        assert_eq!(thirsty.err(), Some(expected));
    }
}

#[test]
fn a_guest_that_finds_no_fault_in_its_settings_and_then_declines_them_is_a_failure_like_any() {
    assert_eq!(load("hostile").validate_settings("lie"), Ok(Vec::new()));
    fails("lie", |e| *e == RunError::Refused("settings: \"lie\" is no way to go".into()));
}

#[test]
fn a_guest_that_panics_traps_with_its_words() {
    fails("trap", |e| matches!(e, RunError::Trap(text) if text.contains("trapped on purpose")));
}

#[test]
fn a_guest_that_exhausts_its_stack_traps() {
    fails("recurse", |e| matches!(e, RunError::Trap(_) | RunError::OutOfFuel(_)));
}

#[test]
fn a_refusal_is_told_in_the_policys_words_and_cut() {
    fails("refuse", |e| *e == RunError::Refused("not today".into()));
    fails("refuse at length", |e| matches!(e, RunError::Refused(text) if text.len() == 512));
}

#[test]
fn a_plan_that_makes_no_sense_is_not_taken() {
    bad("too many allocations", "5 allocations for 1 chargers");
    bad("an unknown charger", "an allocation for charger 1 of 1");
    bad("a negative limit", "-1 mA for charger 0");
    bad("a long reason", "a reason of 300 bytes; at most 256 are taken");
    bad("a long state", "a state of 65537 bytes; at most 65536 are taken");
    let twice = load("hostile").decide(&snapshot(2, Milliamps(10_000)), "the same charger twice", &[]);
    assert_eq!(twice, Err(RunError::BadOutput("two allocations for charger 0".into())));
}

#[test]
fn a_giant_output_is_not_copied_from_the_guest() {
    for way in ["a flood of allocations", "a giant reason", "log a giant line"] {
        bad(way, "too much data");
    }
    let faults = load("hostile").validate_settings("a thousand faults");
    assert_eq!(faults, Err(RunError::BadOutput("1000 faults; at most 100 are taken".into())));
}

#[test]
fn what_is_just_within_a_bound_is_taken() {
    assert_eq!(hostile("the longest state").expect("taken").plan.state.len(), 64 << 10);
    // The envelope is what keeps limits; the host only passes them on.
    let huge = hostile("a huge limit").expect("taken");
    assert_eq!(huge.plan.allocations[0].limit_ma, Milliamps::MAX);
    let faults = load("hostile").validate_settings("a giant fault").expect("taken");
    assert_eq!((faults.len(), faults[0].len()), (1, 512));
}

#[test]
fn a_log_is_bounded_in_lines_and_length() {
    let log = hostile("log a lot").expect("it decides").log;
    assert_eq!((log.len(), log[0].as_str(), log[99].as_str()), (100, "info: line 0", "info: line 99"));
    let log = hostile("log long lines").expect("it decides").log;
    assert_eq!(log, [format!("warn: {}", "é".repeat(256))]);
}

#[test]
fn a_state_is_taken_over_or_refused() {
    let policy = load("hostile");
    assert_eq!(policy.migrate_state("0.9.0", &[1, 2]), Ok(vec![1, 2]));
    assert_eq!(policy.migrate_state("7", &[]), Err(RunError::Refused("I know no version 7".into())));
    assert!(matches!(policy.migrate_state("a long state", &[]), Err(RunError::BadOutput(_))));
    assert_eq!(load("equal-share").migrate_state("0.0.1", &[1]), Ok(Vec::new()));
    let next = crate::common::host().load(&crate::common::hostile("2.0.0-hostile")).expect("sound");
    assert_eq!(next.migrate_state(policy.version(), &[3]), Ok(vec![103]));
}

#[test]
fn a_policy_goes_on_after_each_failure() {
    let policy = load("hostile");
    let site = snapshot(1, Milliamps(10_000));
    for way in ["spin", "allocate", "trap", "recurse", "a giant reason", "refuse"] {
        assert!(policy.decide(&site, way, &[]).is_err(), "{way}");
        assert!(policy.decide(&site, "", &[]).is_ok(), "after {way}");
    }
}

fn hostile(way: &str) -> Result<Decided, RunError> {
    load("hostile").decide(&snapshot(1, Milliamps(10_000)), way, &[])
}

fn fails(way: &str, expected: impl Fn(&RunError) -> bool) {
    let error = hostile(way).expect_err(way);
    assert!(expected(&error), "{way}: {error:?}");
}

fn bad(way: &str, expected: &str) {
    fails(way, |e| matches!(e, RunError::BadOutput(text) if text.contains(expected)));
}
