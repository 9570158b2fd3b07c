//! The envelope said again, slow and obvious: every sum is made anew and every step is tried. It must agree with the
//! fast one on whatever is proposed.

use proptest::prelude::*;
use wattle_wire::{Milliamps, PerPhase, Phase};

use super::{Seat, dispose, reserved};

type Budgets = Vec<PerPhase<Milliamps>>;

/// What one charger takes on a phase of a circuit when it may draw `amount` and can't be brought below `kept`.
fn load(
    seat: &Seat,
    amount: Milliamps,
    kept: PerPhase<Milliamps>,
    circuit: usize,
    phase: Phase,
) -> Milliamps {
    let wired = if seat.phases.contains(&phase) { amount } else { Milliamps::ZERO };
    if seat.path.contains(&circuit) { wired.max(kept[phase]) } else { Milliamps::ZERO }
}

fn safe(seat: &Seat) -> PerPhase<Milliamps> {
    let mut safe = PerPhase::all(Milliamps::ZERO);
    seat.phases.iter().for_each(|phase| safe[*phase] = seat.safe);
    if seat.answers { safe.zip(seat.beyond, Milliamps::max) } else { seat.may_draw }
}

fn places(seat: &Seat) -> Vec<(usize, Phase)> {
    seat.path.iter().flat_map(|circuit| seat.phases.iter().map(|phase| (*circuit, *phase))).collect()
}

/// What each charger would have, and what it gets now.
fn slow(budgets: &Budgets, raises: &Budgets, seats: &[Seat], proposed: &[Milliamps]) -> Vec<[Milliamps; 2]> {
    let mut first_to_last: Vec<usize> = (0..seats.len()).collect();
    first_to_last.sort_by_key(|i| (-seats[*i].priority, *i));

    let mut target: Vec<Milliamps> = seats.iter().zip(proposed).map(|(seat, p)| wish(seat, *p)).collect();
    for i in first_to_last.iter().copied().rev() {
        let sum = |(circuit, phase): (usize, Phase)| -> Milliamps {
            (0..seats.len()).map(|j| load(&seats[j], target[j], safe(&seats[j]), circuit, phase)).sum()
        };
        let over = places(&seats[i]).into_iter().map(|at| sum(at) - budgets[at.0][at.1]).max();
        let (over, mut given_up) = (over.unwrap_or_default(), Milliamps::ZERO);
        while target[i] > Milliamps::ZERO && given_up < over {
            given_up += seats[i].step;
            target[i] -= seats[i].step;
            if target[i] < seats[i].min {
                target[i] = Milliamps::ZERO;
            }
        }
    }

    let mut limit: Vec<Milliamps> = Vec::new();
    for (seat, target) in seats.iter().zip(&target) {
        let kept = seat.in_force.min(*target);
        limit.push(if kept >= seat.min { kept } else { Milliamps::ZERO });
    }
    for i in first_to_last {
        let seat = &seats[i];
        let fits = |amount: Milliamps| {
            places(seat).into_iter().all(|(circuit, phase)| {
                let others = (0..seats.len()).filter(|j| *j != i);
                let others: Milliamps =
                    others.map(|j| load(&seats[j], limit[j], seats[j].may_draw, circuit, phase)).sum();
                others + amount <= raises[circuit][phase]
            })
        };
        let mut amount = target[i];
        while amount > seat.in_force && amount >= seat.min && !(fits(amount) && amount <= seat.ramp) {
            amount -= seat.step;
        }
        if seat.answers && seat.raise_delay_is_over && amount > seat.in_force && amount >= seat.min {
            limit[i] = amount;
        }
    }
    target.into_iter().zip(limit).map(|(target, limit)| [target, limit]).collect()
}

/// The proposal in whole steps between minimum and maximum, or standby.
fn wish(seat: &Seat, proposed: Milliamps) -> Milliamps {
    let is_new_and_absent = !seat.answers && seat.in_force == Milliamps::ZERO;
    if !seat.asks || seat.held.is_some() {
        return Milliamps::ZERO;
    }
    if proposed < seat.min && seat.stays_on && seat.in_force >= seat.min {
        return seat.min;
    }
    if is_new_and_absent {
        return Milliamps::ZERO;
    }
    let mut amount = Milliamps::ZERO;
    while amount + seat.step <= proposed.min(seat.max) {
        amount += seat.step;
    }
    if amount >= seat.min { amount } else { Milliamps::ZERO }
}

prop_compose! {
    fn seat(circuits: usize)(
        circuit in 0..circuits,
        phases in prop::sample::subsequence(Phase::ALL.to_vec(), 1..=3),
        amps in (0..33, 0..2, 0..2, 6..33, 0..4),
        (priority, step) in (0..3, prop_oneof![Just(1_000), Just(500), Just(2_000)]),
        (asks, answers) in (prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        rules in (prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::bool::weighted(0.1), 0..40),
    ) -> Seat {
        let (raise_delay_is_over, stays_on, is_held, ramp) = rules;
        let (in_force, safe, older, max, beyond) = amps;
        let in_force = Milliamps::from_amps(if in_force < 6 { 0 } else { in_force });
        let safe = Milliamps::from_amps(6 * safe);
        let may = in_force.max(safe) + Milliamps(older * 5_000);
        let nothing = PerPhase::all(Milliamps::ZERO);
        let (mut may_draw, mut drawn) = (nothing, nothing);
        phases.iter().for_each(|phase| may_draw[*phase] = may);
        drawn[phases[0]] = Milliamps(if beyond == 0 { 20_300 } else { 0 });
        let may_draw = may_draw.zip(drawn, Milliamps::max);
        Seat {
            // A chain: the first circuit is the grid connection.
            path: (0..=circuit).rev().collect(),
            phases,
            min: Milliamps::from_amps(6),
            max: Milliamps::from_amps(max),
            step: Milliamps(step),
            safe,
            priority,
            asks,
            answers,
            in_force: in_force.floor_to(Milliamps(step)),
            may_draw,
            beyond: drawn,
            raise_delay_is_over,
            stays_on,
            held: is_held.then_some("held"),
            ramp: Milliamps(ramp * 1_250),
        }
    }
}

fn budgets(circuits: usize) -> impl Strategy<Value = Budgets> {
    let phases = prop::array::uniform3((-5_000..80_000).prop_map(Milliamps)).prop_map(PerPhase);
    prop::collection::vec(phases, circuits)
}

/// What a policy may come up with.
fn proposed() -> impl Strategy<Value = Milliamps> {
    prop_oneof![
        1 => Just(i32::MAX),
        1 => Just(i32::MIN),
        1 => -6_000..6_000,
        7 => 0..40_000,
    ]
    .prop_map(Milliamps)
}

fn case() -> impl Strategy<Value = (Budgets, Budgets, Vec<(Seat, Milliamps)>)> {
    (1..4_usize).prop_flat_map(|circuits| {
        let seats = prop::collection::vec((seat(circuits), proposed()), 0..7);
        (budgets(circuits), budgets(circuits), seats)
    })
}

fn told(seat: &Seat, limit: Milliamps) -> Seat {
    let mut after = seat.clone();
    for phase in &seat.phases {
        after.may_draw[*phase] = after.may_draw[*phase].max(limit);
    }
    after
}

proptest! {
    #![proptest_config(wattle_rig::cases::random(8))]

    #[test]
    fn the_fast_envelope_agrees_with_the_slow_one((budgets, other, seats) in case()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        let raises: Budgets = budgets.iter().zip(&other).map(|(a, b)| a.zip(*b, Milliamps::min)).collect();
        let fast = dispose(&budgets, &raises, &seats, &proposed);
        let fast: Vec<_> = fast.iter().map(|grant| [grant.target, grant.limit]).collect();
        prop_assert_eq!(fast, slow(&budgets, &raises, &seats, &proposed));
    }

    #[test]
    fn whatever_is_proposed_no_phase_of_any_circuit_is_raised_beyond_its_budget((budgets, _, seats) in case()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        let grants = dispose(&budgets, &budgets, &seats, &proposed);
        let before = reserved(budgets.len(), &seats);
        let after: Vec<Seat> = seats.iter().zip(&grants).map(|(seat, grant)| told(seat, grant.limit)).collect();
        for (circuit, after) in reserved(budgets.len(), &after).iter().enumerate() {
            for phase in Phase::ALL {
                let most = before[circuit][phase].max(budgets[circuit][phase]);
                prop_assert!(after[phase] <= most, "circuit {} {:?}: {} of {}", circuit, phase, after[phase], most);
            }
        }
        for (seat, grant) in seats.iter().zip(&grants) {
            let granted = grant.limit;
            prop_assert!(granted == Milliamps::ZERO || (seat.min..=seat.max).contains(&granted), "{}", granted);
            prop_assert_eq!(granted.0 % seat.step.0, 0);
        }
    }
}
