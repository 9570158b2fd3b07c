//! Where it is not known which phase a charger loads, lowering it may not help the phase that needs it.
//!
//! A charger of unknown wiring is reserved on all phases, and what it draws is subtracted from the meter on all of them
//! ([`super::load`]). On a phase that it doesn't load, what was subtracted stands for load: if it is told less than that, the phase
//! is none the better. So with a reading of the meter on hand, a phase is sure to fit only if it does with each such charger counted
//! with the more of what it is told and of what was subtracted for it. Where that is too much,
//!
//! 1. those whose reduction is sure give up what is too much, those of lowest priority first: chargers of known wiring, and
//!    others down to what was subtracted for them;
//! 2. if that is not enough, each charger of unknown wiring that may load the phase gives up the rest, as much as if it
//!    were the only one that loads it: whichever they are, it fits then, or nobody is left who loads it.
//!
//! So an excess ends with the first setpoints that answer to it, as it does where the wiring is known, and more is lowered than
//! would be needed if it were. That is for now only: the share that the envelope has found stays what a charger is to have, and it is
//! raised to it when a reading after the reduction shows that there is room.
//!
//! Two readings are looked at: the one that was settled last, and the newest if it shows an excess. What is drawn beyond the
//! setpoint within the noise doesn't count.

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::SiteMachine;
use super::envelope::{self, Grant, Seat, Step};
use super::load::{Current, Load};
use super::station::DRAW_TOLERANCE;
use super::unmeasured::{self, NoHelp};

/// What a reading says of a circuit that feeds chargers of unknown wiring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) circuit: usize,
    /// What its chargers may draw together by this reading.
    pub(super) budget: PerPhase<Milliamps>,
    /// What was subtracted from the reading, for each charger of unknown wiring of which it matters.
    pub(super) subtracted: Vec<(usize, PerPhase<Milliamps>)>,
    /// Who was lowered for it without end of an excess, as nobody measures it.
    pub(super) no_help: Vec<NoHelp>,
}

/// The load by one reading of a meter, and what was subtracted to find it.
type Read<'a> = (Current, &'a [PerPhase<Milliamps>]);

impl SiteMachine {
    /// What is not known of the circuits, by the readings of their meters.
    pub(super) fn doubts(&self, now: Micros) -> Vec<Doubt> {
        let mut doubts = self.doubts_of_wiring(now);
        doubts.extend(self.without_help(now));
        doubts
    }

    fn doubts_of_wiring(&self, now: Micros) -> Vec<Doubt> {
        if self.model.chargers.iter().all(|charger| charger.wiring_is_known()) {
            return Vec::new();
        }
        let stale = self.stale();
        let fresh = |load: &Load, current: Current| {
            current.zip(load.now(now, stale), |current, known| known.and(current))
        };
        let settled = |meter: usize| -> Read<'_> {
            let load = &self.gauges[meter].load;
            (fresh(load, load.settled), &load.subtracted)
        };
        let newest = |meter: usize| -> Read<'_> {
            let load = &self.gauges[meter].load;
            match load.waiting.back() {
                Some(waiting) if !load.lately.is_empty() => (fresh(load, waiting.at_least), &load.lately),
                _ => settled(meter),
            }
        };
        let mut doubts = self.doubts_by(&settled);
        if self.gauges.iter().any(|gauge| !gauge.load.lately.is_empty()) {
            doubts.extend(self.doubts_by(&newest));
        }
        doubts
    }

    fn doubts_by<'a>(&'a self, read: &dyn Fn(usize) -> Read<'a>) -> Vec<Doubt> {
        let known = self.up_the_tree(|meter| read(meter).0);
        let of_circuit = |circuit: usize| {
            // Of a load that isn't known there is nothing to doubt: the fallback budget holds whoever loads what.
            let load = |phase: usize| known[circuit].0[phase].unwrap_or(Milliamps(i32::MIN));
            let budget =
                self.limit(circuit).zip(PerPhase([load(0), load(1), load(2)]), |limit, load| limit - load);
            let subtracted = self.subtracted(circuit, read);
            (!subtracted.is_empty()).then_some(Doubt { circuit, budget, subtracted, no_help: Vec::new() })
        };
        (0..self.model.circuits.len()).filter_map(of_circuit).collect()
    }

    /// What was subtracted for chargers of unknown wiring from the meters that tell of a circuit's load.
    fn subtracted<'a>(
        &'a self,
        circuit: usize,
        read: &dyn Fn(usize) -> Read<'a>,
    ) -> Vec<(usize, PerPhase<Milliamps>)> {
        if let Some(meter) = self.meter_of[circuit] {
            let all = self.below[circuit].iter().copied().zip(read(meter).1.iter().copied());
            let is_unknown = |index: usize| !self.model.chargers[index].wiring_is_known();
            return all.filter(|(index, _)| is_unknown(*index)).collect();
        }
        let below = (circuit + 1..self.model.circuits.len())
            .filter(|below| self.model.circuits[*below].parent == Some(circuit));
        below.flat_map(|below| self.subtracted(below, read)).collect()
    }
}

/// Lowers what is granted until each phase fits whichever chargers load it; whom it has lowered.
pub(super) fn lower(
    doubts: &[Doubt],
    seats: &[Seat],
    order: &[usize],
    grants: &mut [Grant],
    tell: &mut dyn FnMut(usize, Step),
) -> Vec<bool> {
    let mut lowered = vec![false; seats.len()];
    for doubt in doubts {
        unmeasured::lower(doubt, seats, grants, &mut lowered, tell);
    }
    for doubt in doubts {
        let below = doubt.below(seats, order);
        for phase in Phase::ALL {
            doubt.lower_on(phase, (seats, &below), grants, &mut lowered, tell);
        }
    }
    lowered
}

/// Chargers of a circuit, those that go last first, each with what was subtracted for it if its wiring is not known.
type Below = Vec<(usize, Option<PerPhase<Milliamps>>)>;

impl Doubt {
    /// Lowers who may load a phase; each charger is looked at a bounded number of times.
    fn lower_on(
        &self,
        phase: Phase,
        (seats, below): (&[Seat], &Below),
        grants: &mut [Grant],
        lowered: &mut [bool],
        tell: &mut dyn FnMut(usize, Step),
    ) {
        let mut lower = |grant: &mut Grant, index: usize, to: Milliamps, excess: Milliamps| {
            let limit = envelope::left(&seats[index], to);
            if limit < grant.limit {
                (grant.limit, grant.reason, lowered[index]) = (limit, "may load a phase that is full", true);
                tell(index, Step::Doubted { circuit: self.circuit, phase, excess, limit });
            }
        };
        let on = |subtracted: &Option<PerPhase<Milliamps>>| subtracted.map_or(Milliamps::ZERO, |s| s[phase]);
        let counts = |(index, subtracted): &(usize, _), limit: Milliamps| {
            let (told, subtracted) = (envelope::loads(&seats[*index], limit)[phase], on(subtracted));
            if subtracted > told + DRAW_TOLERANCE { subtracted } else { told }
        };
        let all = below.iter().map(|one| counts(one, grants[one.0].limit));
        let mut excess = all.sum::<Milliamps>() - self.budget[phase];
        for one in below.iter().filter(|(index, _)| seats[*index].phases.contains(&phase)) {
            if excess <= Milliamps::ZERO {
                return;
            }
            let grant = &mut grants[one.0];
            let before = counts(one, grant.limit);
            lower(grant, one.0, (grant.limit - excess).max(on(&one.1)), excess);
            excess += counts(one, grant.limit) - before;
        }
        if excess > Milliamps::ZERO {
            for (index, subtracted) in &self.subtracted {
                lower(&mut grants[*index], *index, subtracted[phase] - excess, excess);
            }
        }
    }

    fn below(&self, seats: &[Seat], order: &[usize]) -> Below {
        let mut subtracted = vec![None; seats.len()];
        self.subtracted.iter().for_each(|(index, of)| subtracted[*index] = Some(*of));
        let last_first = order.iter().rev().copied();
        let on_it = last_first.filter(|index| seats[*index].path.contains(&self.circuit));
        on_it.map(|index| (index, subtracted[index])).collect()
    }
}
