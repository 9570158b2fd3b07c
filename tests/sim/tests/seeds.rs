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

#[test]
fn a_seed_gives_the_same_world_every_time() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "{}", replay(seed));
    }
}
