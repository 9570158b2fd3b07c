//! The envelope: what a policy proposes becomes what fits.
//!
//! 1. *Clamp*: a proposal is lowered to the charger's maximum and to a whole step; below its minimum it is
//!    standby, unless it charges and its least time on isn't over: then it keeps its minimum; who doesn't ask, can't
//!    be reached or is held gets nothing new.
//! 2. *Shed*: while a phase of a circuit, from the charger's own up to the grid connection, would be
//!    overcommitted, the charger of lowest priority, then of latest registration, gives up what is too much;
//!    if less than its minimum is left it stands by. One whose least time on isn't over keeps its minimum if those that
//!    go before it on what is overcommitted can give up so much above theirs; if not, nobody gives up anything for it.
//! 3. *Lower at once*: what is less than the setpoint in force is granted as it is.
//! 4. *Doubt*: where it is not known which chargers load a phase, lower so much more, for now, that it fits whichever they
//!    are; see the `doubt` module. Who doesn't measure its draw and was lowered without help stands by; see the `unmeasured` module.
//! 5. *Raise into what is free*: in order of priority, within the limit less all that may still be drawn, so
//!    a raise waits until the reduction that pays for it is confirmed and measured; for the raise delay; and for
//!    the ramp.
//!
//! So the sum of what may be drawn never grows on a phase where it would pass what the chargers may draw
//! together there, whatever the proposals are.

use wattle_wire::{Milliamps, PerPhase, Phase};

use super::doubt::{self, Doubt};

#[cfg(test)]
mod tests;

/// A charger as the envelope sees it.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    /// Its circuit and those above.
    pub(super) path: Vec<usize>,
    pub(super) phases: Vec<Phase>,
    pub(super) min: Milliamps,
    pub(super) max: Milliamps,
    pub(super) step: Milliamps,
    /// It falls back to this by itself, so this much is always reserved.
    pub(super) safe: Milliamps,
    pub(super) priority: i32,
    pub(super) asks: bool,
    /// Whether what is sent to it can be counted on: connected, heard of, and confirming.
    pub(super) answers: bool,
    /// Whether what it draws counts as load, as a machine that has just begun has not heard it yet.
    pub(super) is_in_load: bool,
    /// Why it may not charge now although it asks.
    pub(super) held: Option<&'static str>,
    /// Whether its least time on isn't over.
    pub(super) stays_on: bool,
    pub(super) in_force: Milliamps,
    pub(super) may_draw: PerPhase<Milliamps>,
    /// What it draws although it was told to draw less, and long enough ago to have done so.
    pub(super) beyond: PerPhase<Milliamps>,
    pub(super) raise_delay_is_over: bool,
    /// The highest that the ramp lets it have now.
    pub(super) ramp: Milliamps,
}

/// What the envelope gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// What it would have once everything is confirmed.
    pub(super) target: Milliamps,
    /// What it gets now.
    pub(super) limit: Milliamps,
    /// Why it is not what was proposed; empty if it is.
    pub(super) reason: &'static str,
}

/// What the envelope does to a charger, for whoever wants to know why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The proposal, taken by itself, comes to this.
    Clamped { target: Milliamps, reason: &'static str },
    /// This phase of this circuit would carry so much too much, so the charger gives up some.
    Shed { circuit: usize, phase: Phase, excess: Milliamps, target: Milliamps },
    /// So much may be too much for this phase of this circuit if other chargers load it than were lowered, so the charger
    /// keeps this at most for now.
    Doubted { circuit: usize, phase: Phase, excess: Milliamps, limit: Milliamps },
    /// It was lowered for an excess of this phase of this circuit, which has not ended, and it doesn't measure what it draws there.
    DidNotHelp { circuit: usize, phase: Phase, excess: Milliamps },
    /// A raise waits for the raise delay, or for the charger to answer.
    Waits { answers: bool },
    /// A raise finds so much room, least on this phase of this circuit.
    Raised { circuit: usize, phase: Phase, free: Milliamps, possible: Milliamps },
}

/// Turns proposals into grants; `budgets` is what the chargers of each circuit may draw together,
/// `raise_budgets`, at most as much, what raises have to fit into, and `doubts` what is not known of where chargers load them.
pub(super) fn dispose(
    budgets: &[PerPhase<Milliamps>],
    raise_budgets: &[PerPhase<Milliamps>],
    doubts: &[Doubt],
    seats: &[Seat],
    proposed: &[Milliamps],
) -> Vec<Grant> {
    dispose_and_tell(budgets, raise_budgets, doubts, seats, proposed, &mut |_, _| ())
}

/// The same; `tell` hears each step of each charger.
pub(super) fn dispose_and_tell(
    budgets: &[PerPhase<Milliamps>],
    raise_budgets: &[PerPhase<Milliamps>],
    doubts: &[Doubt],
    seats: &[Seat],
    proposed: &[Milliamps],
    tell: &mut dyn FnMut(usize, Step),
) -> Vec<Grant> {
    let order = in_order(seats);
    let mut grants: Vec<Grant> = seats.iter().zip(proposed).map(|(seat, p)| clamp(seat, *p)).collect();
    for (index, grant) in grants.iter().enumerate() {
        tell(index, Step::Clamped { target: grant.target, reason: grant.reason });
    }
    shed(budgets, seats, &order, &mut grants, tell);
    for (seat, grant) in seats.iter().zip(&mut grants) {
        let kept = grant.target.min(seat.in_force);
        grant.limit = if kept < seat.min { Milliamps::ZERO } else { kept };
    }
    let doubted = doubt::lower(doubts, seats, &order, &mut grants, tell);
    let order: Vec<usize> = order.into_iter().filter(|index| !doubted[*index]).collect();
    raise(raise_budgets, seats, &order, &mut grants, tell);
    grants
}

/// The order in which chargers are served: by priority, then by registration.
pub(super) fn in_order(seats: &[Seat]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..seats.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(seats[*i].priority), *i));
    order
}

/// What no plan can lower: a charger that doesn't answer keeps all that it may draw, one that doesn't obey what it
/// draws, any other its safe current.
pub(super) fn unavoidable(seat: &Seat) -> PerPhase<Milliamps> {
    if seat.answers || seat.is_in_load {
        on_phases(seat, seat.safe).zip(seat.beyond, Milliamps::max)
    } else {
        seat.may_draw
    }
}

fn clamp(seat: &Seat, proposed: Milliamps) -> Grant {
    let standby = |reason| Grant { target: Milliamps::ZERO, limit: Milliamps::ZERO, reason };
    if !seat.asks {
        return standby(if proposed > Milliamps::ZERO { "no vehicle asks" } else { "" });
    }
    if let Some(reason) = seat.held {
        return standby(reason);
    }
    if !seat.answers && proposed > Milliamps::ZERO && seat.in_force == Milliamps::ZERO {
        return standby("does not answer");
    }
    if proposed < seat.min && seat.stays_on && seat.in_force >= seat.min {
        let reason = "keeps its minimum for its least time on";
        return Grant { target: seat.min, limit: Milliamps::ZERO, reason };
    }
    if proposed <= Milliamps::ZERO {
        return standby(if proposed < Milliamps::ZERO { "a proposal below zero" } else { "" });
    }
    let target = whole(seat, proposed);
    if target == Milliamps::ZERO {
        return standby("below the minimum");
    }
    let reason = if target < proposed { "lowered to a whole step within the maximum" } else { "" };
    Grant { target, limit: Milliamps::ZERO, reason }
}

/// An amount in whole steps between minimum and maximum, or standby.
pub(super) fn whole(seat: &Seat, amount: Milliamps) -> Milliamps {
    let whole = amount.min(seat.max).floor_to(seat.step);
    if whole < seat.min || whole <= Milliamps::ZERO { Milliamps::ZERO } else { whole }
}

/// What is left in whole steps, or standby where that is less than the minimum.
pub(super) fn left(seat: &Seat, amount: Milliamps) -> Milliamps {
    let left = amount.max(Milliamps::ZERO).floor_to(seat.step);
    if left < seat.min { Milliamps::ZERO } else { left }
}

/// What a charger counts with when it is told `limit` and obeys.
pub(super) fn loads(seat: &Seat, limit: Milliamps) -> PerPhase<Milliamps> {
    on_phases(seat, limit).zip(unavoidable(seat), Milliamps::max)
}

fn shed(
    budgets: &[PerPhase<Milliamps>],
    seats: &[Seat],
    order: &[usize],
    grants: &mut [Grant],
    tell: &mut dyn FnMut(usize, Step),
) {
    let mut keeps: Vec<bool> = seats.iter().map(|seat| seat.stays_on && seat.in_force >= seat.min).collect();
    loop {
        let (mut tried, mut told) = (grants.to_vec(), Vec::new());
        let lost = shed_once(budgets, seats, (order, &keeps), &mut tried, &mut told);
        if lost.is_empty() {
            grants.clone_from_slice(&tried);
            told.into_iter().for_each(|(index, step)| tell(index, step));
            return;
        }
        // Nobody gives up anything for those who stand by all the same.
        lost.into_iter().for_each(|index| keeps[index] = false);
    }
}

/// Sheds; gives those of `keeps` that have to stand by.
fn shed_once(
    budgets: &[PerPhase<Milliamps>],
    seats: &[Seat],
    (order, keeps): (&[usize], &[bool]),
    grants: &mut [Grant],
    told: &mut Vec<(usize, Step)>,
) -> Vec<usize> {
    let mut used = vec![PerPhase::all(Milliamps::ZERO); budgets.len()];
    for (seat, grant) in seats.iter().zip(grants.iter()) {
        add(&mut used, seat, loads(seat, grant.target));
    }
    // Whoever may not be put on standby yet is spared once; what is too much then the limit demands of those who were.
    let (mut spared, mut lost) = (vec![false; seats.len()], Vec::new());
    let turns = [true, false].iter();
    let turns = turns.flat_map(|spares| order.iter().rev().map(move |index| (*index, *spares)));
    for (index, spares) in turns {
        if !spares && !spared[index] {
            continue;
        }
        let (seat, grant) = (&seats[index], &mut grants[index]);
        let worst = places(seat).max_by_key(|(c, phase)| used[*c][*phase] - budgets[*c][*phase]);
        let Some((circuit, phase)) = worst else { continue };
        let excess = used[circuit][phase] - budgets[circuit][phase];
        if excess <= Milliamps::ZERO || grant.target == Milliamps::ZERO {
            continue;
        }
        let is_over = |(c, phase): &(usize, Phase)| used[*c][*phase] > budgets[*c][*phase];
        let over: Vec<(usize, Phase)> = places(seat).filter(is_over).collect();
        let shares = |other: &Seat| places(other).any(|place| over.contains(&place));
        let goes_before = || seats.iter().zip(&spared).any(|(other, spared)| *spared && shares(other));
        let before = loads(seat, grant.target);
        let lowered = left(seat, grant.target - excess);
        let is_spared = spares && lowered == Milliamps::ZERO && (keeps[index] || goes_before());
        spared[index] = is_spared;
        if is_spared && grant.target == seat.min {
            continue;
        }
        if keeps[index] && lowered == Milliamps::ZERO && !is_spared {
            lost.push(index);
        }
        grant.target = if is_spared { seat.min } else { lowered };
        grant.reason = if grant.target == Milliamps::ZERO { "no room: standby" } else { "no room: lowered" };
        told.push((index, Step::Shed { circuit, phase, excess, target: grant.target }));
        let after = loads(seat, grant.target);
        add(&mut used, seat, after - before);
    }
    lost
}

fn raise(
    budgets: &[PerPhase<Milliamps>],
    seats: &[Seat],
    order: &[usize],
    grants: &mut [Grant],
    tell: &mut dyn FnMut(usize, Step),
) {
    let mut used = vec![PerPhase::all(Milliamps::ZERO); budgets.len()];
    for seat in seats {
        add(&mut used, seat, seat.may_draw);
    }
    for index in order {
        let (seat, grant) = (&seats[*index], &mut grants[*index]);
        if grant.target <= seat.in_force {
            continue;
        }
        if !seat.answers || !seat.raise_delay_is_over {
            grant.reason = if seat.answers { "waits for the raise delay" } else { "does not answer" };
            tell(*index, Step::Waits { answers: seat.answers });
            continue;
        }
        let room =
            |(c, phase): &(usize, Phase)| budgets[*c][*phase] - used[*c][*phase] + seat.may_draw[*phase];
        let least = places(seat).min_by_key(&room);
        let free = least.as_ref().map(&room).unwrap_or_default().clamp(Milliamps::ZERO, grant.target);
        let possible = free.min(seat.ramp).floor_to(seat.step);
        if let Some((circuit, phase)) = least {
            tell(*index, Step::Raised { circuit, phase, free, possible });
        }
        if possible > seat.in_force && possible >= seat.min {
            grant.limit = possible;
            let grown = on_phases(seat, possible).zip(seat.may_draw, Milliamps::max) - seat.may_draw;
            add(&mut used, seat, grown);
        }
        if grant.limit < grant.target {
            let waits_for_room = free < grant.target;
            grant.reason = if waits_for_room {
                "waits for a reduction to be confirmed and measured"
            } else {
                "rises by its ramp"
            };
        }
    }
}

/// The most that may be drawn together on each circuit.
pub(super) fn reserved(circuits: usize, seats: &[Seat]) -> Vec<PerPhase<Milliamps>> {
    let mut used = vec![PerPhase::all(Milliamps::ZERO); circuits];
    for seat in seats {
        add(&mut used, seat, seat.may_draw);
    }
    used
}

pub(super) fn on_phases(seat: &Seat, amount: Milliamps) -> PerPhase<Milliamps> {
    let mut all = PerPhase::all(Milliamps::ZERO);
    for phase in &seat.phases {
        all[*phase] = amount;
    }
    all
}

/// Takes an amount from what is free on a charger's way.
pub(super) fn take(free: &mut [PerPhase<Milliamps>], seat: &Seat, amount: PerPhase<Milliamps>) {
    for circuit in &seat.path {
        free[*circuit] = free[*circuit] - amount;
    }
}

fn add(used: &mut [PerPhase<Milliamps>], seat: &Seat, amount: PerPhase<Milliamps>) {
    for circuit in &seat.path {
        used[*circuit] = used[*circuit] + amount;
    }
}

/// Every phase of every circuit that a charger loads.
pub(super) fn places(seat: &Seat) -> impl Iterator<Item = (usize, Phase)> + '_ {
    seat.path.iter().flat_map(|circuit| seat.phases.iter().map(move |phase| (*circuit, *phase)))
}
