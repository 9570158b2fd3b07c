//! Fairness on random sites, against a reference that is slow and obvious.

use std::cmp::Reverse;

use policy_fair_share::FairShare;
use wattle_policy::kit::{self, Random};
use wattle_policy::{Charger, Phase, Policy, Snapshot};

#[test]
fn every_plan_is_sound() {
    kit::assert_sound::<FairShare>("");
}

#[test]
fn it_gives_what_giving_one_step_at_a_time_gives() {
    let mut charging = 0;
    for seed in 0..5_000 {
        let snapshot = Random::new(seed).snapshot();
        let limits = limits(&snapshot);
        assert_eq!(limits, one_step_at_a_time(&snapshot), "seed {seed}");
        charging += limits.iter().filter(|limit| **limit > 0).count();
    }
    assert!(charging > 5_000, "the random sites are no test: {charging} vehicles charge");
}

#[test]
fn nobody_could_have_more_without_one_having_less_who_has_no_more() {
    for seed in 10_000..15_000 {
        let snapshot = Random::new(seed).snapshot();
        let limits = limits(&snapshot);
        let charging = (0..limits.len()).filter(|index| limits[*index] > 0);
        for index in
            charging.filter(|index| limits[*index] + step(*index, &snapshot) <= most(*index, &snapshot))
        {
            let more = limits[index] + step(index, &snapshot);
            let is_met = full_places(&snapshot, &limits, index).any(|(circuit, phase)| {
                (0..limits.len()).filter(|other| loads(&snapshot, *other, circuit, phase)).all(|other| {
                    let minimum = snapshot.chargers[other].minimum + step(other, &snapshot);
                    limits[other] < (more + step(other, &snapshot)).max(minimum)
                })
            });
            assert!(is_met, "seed {seed}: charger {index} of {limits:?}");
        }
    }
}

fn limits(snapshot: &Snapshot) -> Vec<i32> {
    kit::limits(snapshot, &FairShare::decide(snapshot, "", &[]).expect("the site is whole"))
}

/// Each in line gets its minimum if it fits; then, again and again, who has least gets a step if it fits.
fn one_step_at_a_time(snapshot: &Snapshot) -> Vec<i32> {
    let mut line: Vec<usize> =
        (0..snapshot.chargers.len()).filter(|index| snapshot.chargers[*index].asks()).collect();
    line.sort_by_key(|index| {
        (Reverse(snapshot.chargers[*index].priority), arrived(&snapshot.chargers[*index]))
    });
    let mut limits = vec![0; snapshot.chargers.len()];
    for index in &line {
        let mut steps = (1..).map(|n| n * step(*index, snapshot));
        let least = steps.find(|limit| *limit >= snapshot.chargers[*index].minimum);
        let least = least.filter(|least| *least <= most(*index, snapshot));
        try_to_give(snapshot, &mut limits, *index, least.unwrap_or(0));
    }
    let mut rising: Vec<usize> = line.into_iter().filter(|index| limits[*index] > 0).collect();
    while let Some(index) = rising.iter().copied().min_by_key(|index| limits[*index]) {
        let more = limits[index] + step(index, snapshot);
        if more > most(index, snapshot) || !try_to_give(snapshot, &mut limits, index, more) {
            rising.retain(|other| *other != index);
        }
    }
    limits
}

fn try_to_give(snapshot: &Snapshot, limits: &mut [i32], index: usize, limit: i32) -> bool {
    let before = std::mem::replace(&mut limits[index], limit);
    let fits = places(snapshot).all(|(circuit, phase)| left(snapshot, limits, circuit, phase) >= 0);
    if !fits {
        limits[index] = before;
    }
    fits
}

fn places(snapshot: &Snapshot) -> impl Iterator<Item = (usize, Phase)> {
    (0..snapshot.circuits.len()).flat_map(|circuit| Phase::ALL.map(|phase| (circuit, phase)))
}

/// The places that `index` loads and where a step more for it isn't left.
fn full_places<'a>(
    snapshot: &'a Snapshot,
    limits: &'a [i32],
    index: usize,
) -> impl Iterator<Item = (usize, Phase)> + 'a {
    places(snapshot).filter(move |(circuit, phase)| {
        let is_full = left(snapshot, limits, *circuit, *phase) < i64::from(step(index, snapshot));
        is_full && loads(snapshot, index, *circuit, *phase)
    })
}

fn left(snapshot: &Snapshot, limits: &[i32], circuit: usize, phase: Phase) -> i64 {
    let loading = (0..limits.len()).filter(|index| loads(snapshot, *index, circuit, phase));
    let used: i64 = loading.map(|index| i64::from(limits[index])).sum();
    i64::from(snapshot.circuits[circuit].available.on(phase).max(0)) - used
}

fn loads(snapshot: &Snapshot, index: usize, circuit: usize, phase: Phase) -> bool {
    let charger = &snapshot.chargers[index];
    let parent = |at: &u32| snapshot.circuits[*at as usize].parent;
    let mut above = std::iter::successors(Some(charger.circuit), parent);
    charger.phases.contains(&phase) && above.any(|at| at as usize == circuit)
}

fn arrived(charger: &Charger) -> i64 {
    charger.session.as_ref().map_or(i64::MAX, |session| session.arrived)
}

fn step(index: usize, snapshot: &Snapshot) -> i32 {
    snapshot.chargers[index].step
}

fn most(index: usize, snapshot: &Snapshot) -> i32 {
    snapshot.chargers[index].maximum
}
