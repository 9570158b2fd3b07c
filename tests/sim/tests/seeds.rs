//! Two hundred worlds, and that a seed is one world.

use wattle_sim::{Report, replay, run};

const SEEDS: u64 = 200;

#[test]
fn in_two_hundred_worlds_nothing_is_lost_and_nothing_is_there_twice() {
    let mut all = Report::default();
    let mut failures = Vec::new();
    for (seed, result) in wattle_sim::many(0, SEEDS, run) {
        match result {
            Ok(report) => all.add(&report),
            Err(violation) => failures.push(format!("{violation}\n  again: {}", replay(seed))),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(all.restarts > 1_000 && all.gaps > 100 && all.dropped > 100, "too little goes wrong: {all:?}");
}

/// Worlds in which something was found: a copy that was made while the new life of another copy was on its way (1419), and
/// messages that a copy has only where a write was cut (979, 2971), and a copy of what a killed process had written (5043).
#[test]
fn worlds_with_copies_in_the_middle_of_a_change_keep_what_holds() {
    for seed in [979, 1419, 2971, 5043] {
        let result = run(seed);
        assert!(result.is_ok(), "{result:?}\n  again: {}", replay(seed));
    }
}

#[test]
fn a_seed_gives_the_same_world_every_time() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "{}", replay(seed));
    }
}
