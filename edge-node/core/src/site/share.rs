//! The built-in policy, for when no other gives a plan: every vehicle that asks gets the same.
//!
//! Vehicles are admitted in order of priority, then of registration, each if its minimum fits beside those
//! before it on every phase of every circuit; the others stand by. Then all rise together, a step at a time,
//! until a circuit can't bear one more step of all that still rise on it: those stay where they are.

use wattle_wire::policy::{Allocation, Plan, Snapshot};
use wattle_wire::{Milliamps, PerPhase, Phase};

/// The plan of the built-in policy.
pub fn equal_share(snapshot: &Snapshot) -> Plan {
    let mut free: Vec<PerPhase<Milliamps>> =
        snapshot.circuits.iter().map(|circuit| circuit.available_ma).collect();
    let mut order: Vec<usize> = (0..snapshot.chargers.len())
        .filter(|i| snapshot.chargers[*i].online && snapshot.chargers[*i].state.asks())
        .collect();
    order.sort_by_key(|i| (std::cmp::Reverse(snapshot.chargers[*i].priority), *i));

    let mut given = vec![Milliamps::ZERO; snapshot.chargers.len()];
    let mut rising = Vec::new();
    for index in order.iter().copied() {
        let minimum = snapshot.chargers[index].min_ma.max(Milliamps(1));
        if places(snapshot, index).all(|(circuit, phase)| free[circuit][phase] >= minimum) {
            give(snapshot, &mut free, &mut given, index, minimum);
            rising.push(index);
        }
    }
    raise_together(snapshot, &mut free, &mut given, rising);

    let allocations = order.into_iter().map(|index| Allocation {
        charger: index as u32,
        limit_ma: given[index],
        reason: if given[index] == Milliamps::ZERO { "no room for the minimum" } else { "equal share" }
            .into(),
    });
    Plan { allocations: allocations.collect(), state: Vec::new() }
}

fn raise_together(
    snapshot: &Snapshot,
    free: &mut [PerPhase<Milliamps>],
    given: &mut [Milliamps],
    mut rising: Vec<usize>,
) {
    while !rising.is_empty() {
        let step = |index: usize| snapshot.chargers[index].step_ma.max(Milliamps(1));
        rising.retain(|index| given[*index] + step(*index) <= snapshot.chargers[*index].max_ma);
        let mut wanted = vec![PerPhase::all(Milliamps::ZERO); free.len()];
        for index in &rising {
            for (circuit, phase) in places(snapshot, *index) {
                wanted[circuit][phase] += step(*index);
            }
        }
        let before = rising.len();
        rising.retain(|index| {
            places(snapshot, *index).all(|(circuit, phase)| wanted[circuit][phase] <= free[circuit][phase])
        });
        // Those that stay leave their step to the others, so it is counted anew before anyone rises.
        if rising.len() == before {
            for index in &rising {
                give(snapshot, free, given, *index, step(*index));
            }
        }
    }
}

fn give(
    snapshot: &Snapshot,
    free: &mut [PerPhase<Milliamps>],
    given: &mut [Milliamps],
    index: usize,
    amount: Milliamps,
) {
    given[index] += amount;
    for (circuit, phase) in places(snapshot, index) {
        free[circuit][phase] -= amount;
    }
}

/// Every phase of every circuit that a charger loads.
fn places(snapshot: &Snapshot, index: usize) -> impl Iterator<Item = (usize, Phase)> + '_ {
    let charger = &snapshot.chargers[index];
    let path = std::iter::successors(Some(charger.circuit as usize), |circuit| {
        snapshot.circuits[*circuit].parent.map(|parent| parent as usize)
    });
    path.flat_map(|circuit| charger.phases.iter().map(move |phase| (circuit, *phase)))
}
