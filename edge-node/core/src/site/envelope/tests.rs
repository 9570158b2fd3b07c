//! The envelope said again, slow and obvious: every sum is made anew and every step is tried. It must agree with the
//! fast one on whatever is proposed.

use proptest::prelude::*;
use wattle_wire::{Milliamps, PerPhase, Phase};

use super::{Grant, Seat, dispose, reserved};
use crate::site::doubt::Doubt;
use crate::site::station::DRAW_TOLERANCE;

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

/// What is drawn on a phase of a doubtful circuit if of the chargers of unknown wiring just these load it.
fn carried(doubt: &Doubt, phase: Phase, seats: &[Seat], limit: &[Milliamps], these: &[usize]) -> Milliamps {
    let is_unknown = |i: usize| doubt.subtracted.iter().any(|(of, _)| *of == i);
    let loading = (0..seats.len()).filter(|i| !is_unknown(*i) || these.contains(i));
    let told: Milliamps =
        loading.map(|i| load(&seats[i], limit[i], safe(&seats[i]), doubt.circuit, phase)).sum();
    let others = doubt.subtracted.iter().filter(|(i, _)| !these.contains(i));
    told + others.map(|(_, subtracted)| subtracted[phase]).sum()
}

/// Every choice among the chargers of unknown wiring.
fn choices(doubt: &Doubt) -> Vec<Vec<usize>> {
    let none = vec![Vec::new()];
    doubt.subtracted.iter().fold(none, |choices, (i, _)| {
        let with = choices.iter().map(|choice| [&choice[..], &[*i]].concat());
        with.chain(choices.iter().cloned()).collect()
    })
}

/// The most that may be too much on a phase, whichever chargers load it; beyond the noise of each.
fn worst(doubt: &Doubt, phase: Phase, seats: &[Seat], limit: &[Milliamps]) -> Milliamps {
    let told = |i: usize| load(&seats[i], limit[i], safe(&seats[i]), doubt.circuit, phase);
    let noise = |i: &usize, subtracted: Milliamps| {
        let above = subtracted - told(*i);
        if above > DRAW_TOLERANCE { Milliamps::ZERO } else { above.max(Milliamps::ZERO) }
    };
    let over = |these: &Vec<usize>| {
        let left_out = doubt.subtracted.iter().filter(|(i, _)| !these.contains(i));
        let noises: Milliamps = left_out.map(|(i, subtracted)| noise(i, subtracted[phase])).sum();
        carried(doubt, phase, seats, limit, these) - noises - doubt.budget[phase]
    };
    choices(doubt).iter().map(over).max().unwrap_or_default()
}

/// Lowers for each doubt, a step at a time; whom.
fn slow_doubts(doubts: &[Doubt], seats: &[Seat], order: &[usize], limit: &mut [Milliamps]) -> Vec<bool> {
    let before = limit.to_vec();
    let a_step_less = |i: usize, limit: &mut [Milliamps]| {
        limit[i] -= seats[i].step;
        if limit[i] < seats[i].min {
            limit[i] = Milliamps::ZERO;
        }
    };
    for (doubt, phase) in doubts.iter().flat_map(|doubt| Phase::ALL.map(|phase| (doubt, phase))) {
        let subtracted = |i: usize| doubt.subtracted.iter().find(|(of, _)| *of == i).map(|(_, s)| s[phase]);
        for i in order.iter().rev().copied().filter(|i| places(&seats[*i]).contains(&(doubt.circuit, phase)))
        {
            let excess = worst(doubt, phase, seats, limit);
            let least = (limit[i] - excess).max(subtracted(i).unwrap_or_default());
            while excess > Milliamps::ZERO && limit[i] > least {
                a_step_less(i, limit);
            }
        }
        let excess = worst(doubt, phase, seats, limit);
        for (i, subtracted) in &doubt.subtracted {
            while excess > Milliamps::ZERO && limit[*i] > (subtracted[phase] - excess).max(Milliamps::ZERO) {
                a_step_less(*i, limit);
            }
        }
    }
    limit.iter().zip(before).map(|(limit, before)| *limit < before).collect()
}

/// What each charger would have, and what it gets now.
fn slow(
    budgets: &Budgets,
    raises: &Budgets,
    doubts: &[Doubt],
    seats: &[Seat],
    proposed: &[Milliamps],
) -> Vec<[Milliamps; 2]> {
    let mut first_to_last: Vec<usize> = (0..seats.len()).collect();
    first_to_last.sort_by_key(|i| (-seats[*i].priority, *i));

    let mut keeps: Vec<bool> = seats.iter().map(|seat| seat.stays_on && seat.in_force >= seat.min).collect();
    let target = loop {
        let target = slow_shed(budgets, seats, &first_to_last, &keeps, proposed);
        let lost = |i: usize| {
            keeps[i] && wish(&seats[i], proposed[i]) > Milliamps::ZERO && target[i] == Milliamps::ZERO
        };
        let lost: Vec<usize> = (0..seats.len()).filter(|i| lost(*i)).collect();
        if lost.is_empty() {
            break target;
        }
        lost.into_iter().for_each(|i| keeps[i] = false);
    };

    let mut limit: Vec<Milliamps> = Vec::new();
    for (seat, target) in seats.iter().zip(&target) {
        let kept = seat.in_force.min(*target);
        limit.push(if kept >= seat.min { kept } else { Milliamps::ZERO });
    }
    let doubted = slow_doubts(doubts, seats, &first_to_last, &mut limit);
    for i in first_to_last.into_iter().filter(|i| !doubted[*i]) {
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

/// What is left of the wishes when those of `keeps` are spared where that is possible.
fn slow_shed(
    budgets: &Budgets,
    seats: &[Seat],
    first_to_last: &[usize],
    keeps: &[bool],
    proposed: &[Milliamps],
) -> Vec<Milliamps> {
    let mut target: Vec<Milliamps> = seats.iter().zip(proposed).map(|(seat, p)| wish(seat, *p)).collect();
    let mut spared = vec![false; seats.len()];
    for (i, may_spare) in
        [true, false].iter().flat_map(|spare| first_to_last.iter().rev().map(|i| (*i, *spare)))
    {
        let over = |(circuit, phase): (usize, Phase)| -> Milliamps {
            let sum: Milliamps =
                (0..seats.len()).map(|j| load(&seats[j], target[j], safe(&seats[j]), circuit, phase)).sum();
            sum - budgets[circuit][phase]
        };
        let full: Vec<_> = places(&seats[i]).into_iter().filter(|at| over(*at) > Milliamps::ZERO).collect();
        let most = full.iter().map(|at| over(*at)).max().unwrap_or_default();
        let is_spared_there = |j: usize| spared[j] && places(&seats[j]).iter().any(|at| full.contains(at));
        let spares = may_spare && (keeps[i] || (0..seats.len()).any(is_spared_there));
        let mut given_up = Milliamps::ZERO;
        while target[i] > Milliamps::ZERO && given_up < most && (may_spare || spared[i]) {
            given_up += seats[i].step;
            target[i] -= seats[i].step;
            if target[i] < seats[i].min && spares {
                target[i] = seats[i].min;
                spared[i] = true;
                break;
            }
            if target[i] < seats[i].min {
                target[i] = Milliamps::ZERO;
            }
        }
    }
    target
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
            // The first circuit is the grid connection, below it is the second, and from there on each feeds two.
            path: std::iter::successors(Some(circuit), |below| (*below > 0).then_some(below / 2)).collect(),
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
            is_in_load: false,
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
    (1..7_usize).prop_flat_map(|circuits| {
        let seats = prop::collection::vec((seat(circuits), proposed()), 0..7);
        (budgets(circuits), budgets(circuits), seats)
    })
}

/// The same, and of the chargers on all phases some whose wiring is not known, with what was subtracted for them.
fn doubtful() -> impl Strategy<Value = (Budgets, Vec<Doubt>, Vec<(Seat, Milliamps)>)> {
    let subtracted = prop::collection::vec(prop::option::weighted(0.8, 0..34_000), 7);
    (case(), subtracted, prop::bool::ANY).prop_map(|((budgets, others, mut seats), subtracted, twice)| {
        for ((seat, _), subtracted) in seats.iter_mut().zip(&subtracted) {
            if subtracted.is_some() {
                seat.phases = Phase::ALL.to_vec();
            }
        }
        let doubt = |(circuit, budget): (usize, &PerPhase<Milliamps>)| {
            let below = seats.iter().zip(&subtracted).enumerate();
            let below = below.filter(|(_, ((seat, _), _))| seat.path.contains(&circuit));
            let subtracted =
                below.filter_map(|(index, (_, s))| s.map(|s| (index, PerPhase::all(Milliamps(s)))));
            Doubt { circuit, budget: *budget, subtracted: subtracted.collect(), no_help: Vec::new() }
        };
        let mut doubts: Vec<Doubt> = others.iter().enumerate().map(doubt).collect();
        if twice {
            doubts.extend(budgets.iter().enumerate().map(doubt));
        }
        (budgets, doubts, seats)
    })
}

fn told(seat: &Seat, limit: Milliamps) -> Seat {
    let mut after = seat.clone();
    for phase in &seat.phases {
        after.may_draw[*phase] = after.may_draw[*phase].max(limit);
    }
    after
}

fn amounts(grants: &[Grant]) -> Vec<[Milliamps; 2]> {
    grants.iter().map(|grant| [grant.target, grant.limit]).collect()
}

proptest! {
    #![proptest_config(wattle_rig::cases::random(8))]

    #[test]
    fn the_fast_envelope_agrees_with_the_slow_one((budgets, other, seats) in case()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        let raises: Budgets = budgets.iter().zip(&other).map(|(a, b)| a.zip(*b, Milliamps::min)).collect();
        prop_assert_eq!(
            amounts(&dispose(&budgets, &raises, &[], &seats, &proposed)),
            slow(&budgets, &raises, &[], &seats, &proposed)
        );
    }

    #[test]
    fn they_agree_where_wiring_is_not_known((budgets, doubts, seats) in doubtful()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        prop_assert_eq!(
            amounts(&dispose(&budgets, &budgets, &doubts, &seats, &proposed)),
            slow(&budgets, &budgets, &doubts, &seats, &proposed)
        );
    }

    #[test]
    fn what_is_lowered_for_a_doubt_fits_whichever_chargers_load_the_phase((budgets, doubts, seats) in doubtful()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        // Nothing is raised.
        let none: Budgets = budgets.iter().map(|_| PerPhase::all(Milliamps(i32::MIN / 2))).collect();
        let grants = dispose(&budgets, &none, &doubts, &seats, &proposed);
        let limit: Vec<Milliamps> = grants.iter().map(|grant| grant.limit).collect();
        for (doubt, phase) in doubts.iter().flat_map(|doubt| Phase::ALL.map(|phase| (doubt, phase))) {
            let noise = Milliamps(DRAW_TOLERANCE.0 * seats.len() as i32);
            for these in choices(doubt) {
                let carried = carried(doubt, phase, &seats, &limit, &these);
                let is_unknown = |i: usize| doubt.subtracted.iter().any(|(of, _)| *of == i);
                let mut loading = (0..seats.len()).filter(|i| {
                    places(&seats[*i]).contains(&(doubt.circuit, phase)) && (!is_unknown(*i) || these.contains(i))
                });
                let told = |i: usize, amount| load(&seats[i], amount, safe(&seats[i]), doubt.circuit, phase);
                prop_assert!(
                    carried <= doubt.budget[phase] + noise
                        || loading.all(|i| told(i, limit[i]) == told(i, Milliamps::ZERO)),
                    "{:?} load {:?}: {} of {}", these, phase, carried, doubt.budget[phase]
                );
            }
        }
    }

    #[test]
    fn whatever_is_proposed_no_phase_of_any_circuit_is_raised_beyond_its_budget((budgets, _, seats) in case()) {
        let (seats, proposed): (Vec<_>, Vec<_>) = seats.into_iter().unzip();
        let grants = dispose(&budgets, &budgets, &[], &seats, &proposed);
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

/// Looking at each for each other that is lowered this would not end before the patience of whoever waits for it.
#[test]
fn thousands_of_chargers_of_unknown_wiring_are_lowered_with_a_few_looks_at_each() {
    const MANY: usize = 20_000;
    let ten = PerPhase::all(Milliamps::from_amps(10));
    let seat = |priority: i32| Seat {
        path: vec![0],
        phases: Phase::ALL.to_vec(),
        min: Milliamps::from_amps(6),
        max: Milliamps::from_amps(32),
        step: Milliamps::from_amps(1),
        safe: Milliamps::ZERO,
        priority,
        asks: true,
        answers: true,
        is_in_load: false,
        held: None,
        stays_on: false,
        in_force: ten[Phase::L1],
        may_draw: ten,
        beyond: PerPhase::all(Milliamps::ZERO),
        raise_delay_is_over: true,
        ramp: Milliamps::MAX,
    };
    // Of every second one the wiring is known; those of known wiring go last.
    let seats: Vec<Seat> = (0..MANY).map(|index| seat((index % 2) as i32)).collect();
    let subtracted = (1..MANY).step_by(2).map(|index| (index, ten)).collect();
    let budget = PerPhase::all(Milliamps(MANY as i32 * 9_000));
    let doubts = [Doubt { circuit: 0, budget, subtracted, no_help: Vec::new() }];
    let proposed = vec![ten[Phase::L1]; MANY];
    let grants = dispose(&[PerPhase::all(Milliamps::MAX)], &[budget], &doubts, &seats, &proposed);
    let stand_by = grants.iter().filter(|grant| grant.limit == Milliamps::ZERO).count();
    assert_eq!(stand_by, MANY / 10, "as many give up what is too much");
    assert!(grants.iter().step_by(2).rev().take(stand_by).all(|grant| grant.limit == Milliamps::ZERO));
}
