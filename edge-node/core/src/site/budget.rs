//! What may be shared at a moment: the limits less the uncontrolled load, and the chargers that want of it.
//!
//! Where a meter is silent its circuit's load is not known. Its chargers share the least of
//! - the circuit's fallback budget;
//! - its limit less the load by the last word of its meter since the start, so that silence gives nothing more than the last word did;
//! - its limit less what fresh meters below it show.
//!
//! For the circuit above, if it has no meter of its own, such a circuit loads what its breaker leaves beside that share (and no more than its breaker
//! lets through, unless its last word was more). Where that leaves less than the fallback budget of the circuit above, that one
//! counts there: it is what was chosen for it.

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::SiteMachine;
use super::envelope::Seat;
use super::load::Current;

/// What a circuit's chargers may draw together, and why.
pub(super) struct Budget {
    pub(super) uncontrolled: PerPhase<Option<Milliamps>>,
    pub(super) budget: PerPhase<Milliamps>,
    pub(super) for_raises: PerPhase<Milliamps>,
}

/// What a meter tells of its circuit's load: what is known now, and its last word, however old.
#[derive(Clone, Copy)]
struct Told {
    now: Current,
    last: Current,
}

/// A circuit's load where it is known, and what it leaves for chargers.
#[derive(Default)]
struct Left {
    load: Current,
    budget: PerPhase<Milliamps>,
}

/// What circuits load a phase with.
#[derive(Clone, Copy)]
struct Loaded {
    /// None if that is not known.
    known: Option<Milliamps>,
    /// What fresh meters show of it.
    shown: Milliamps,
    /// The same with the last words of silent ones.
    least: Milliamps,
    /// The same with what breakers let through of silent ones.
    most: Milliamps,
}

impl Default for Loaded {
    fn default() -> Self {
        Self::known(Milliamps::ZERO)
    }
}

impl Loaded {
    fn known(load: Milliamps) -> Self {
        Self { known: Some(load), shown: load, least: load, most: load }
    }

    fn and(self, other: Self) -> Self {
        Self {
            known: self.known.zip(other.known).map(|(one, other)| one + other),
            shown: self.shown + other.shown,
            least: self.least + other.least,
            most: self.most + other.most,
        }
    }

    /// What a circuit loads the one above it with, and what it leaves for its chargers; `self` is what those below it do, `meter` what its own
    /// meter tells: what is known now, and its last word.
    fn left(
        self,
        meter: Option<(Option<Milliamps>, Option<Milliamps>)>,
        [breaker, limit, fallback]: [Milliamps; 3],
    ) -> (Self, Milliamps) {
        let is_there = breaker > Milliamps::ZERO;
        let known = meter.map_or(self.known, |(known, _)| known).or((!is_there).then_some(Milliamps::ZERO));
        if let Some(load) = known {
            return (Self::known(load), limit - load);
        }
        let last = meter.and_then(|(_, last)| last);
        let least = last.map_or(self.least, |last| last.max(self.shown));
        let fallback = fallback.min(limit).min(limit - least);
        let budget = if meter.is_some() { fallback } else { fallback.max(limit - self.most) };
        let most = (breaker - budget).min(breaker.max(least));
        let most = if meter.is_some() { most } else { most.min(self.most) };
        (Self { known: None, shown: self.shown, least, most }, budget)
    }
}

impl SiteMachine {
    /// By how much the worst phase of the worst circuit is overcommitted; zero if none is.
    pub(super) fn excess(&self, now: Micros) -> Milliamps {
        let mut reserved = vec![PerPhase::all(Milliamps::ZERO); self.model.circuits.len()];
        for (index, path) in self.paths.iter().enumerate() {
            let may = self.may_draw(index, now);
            for circuit in path {
                reserved[*circuit] = reserved[*circuit] + may;
            }
        }
        let budgets = self.budgets(now);
        let over = reserved.iter().zip(&budgets).flat_map(|(reserved, budget)| {
            // A phase that no charger loads can't be helped by any setpoint.
            reserved.zip(budget.budget, |r, b| if r > Milliamps::ZERO { r - b } else { Milliamps::ZERO }).0
        });
        over.fold(Milliamps::ZERO, Milliamps::max)
    }

    pub(super) fn budgets(&self, now: Micros) -> Vec<Budget> {
        let is_young = self.is_young(now);
        let known =
            |meter: usize| Told { now: self.load_of(meter, now), last: self.gauges[meter].load.last() };
        let at_most = |meter: usize| {
            let load = &self.gauges[meter].load;
            let misplaced = self.misplaced(meter, now);
            let most = |known: Current| {
                load.at_most(known).zip(misplaced, |most, misplaced| most.map(|most| most + misplaced))
            };
            let now = load.now(now, self.stale());
            let now = now.zip(load.settled, |now, settled| if is_young { settled.and(now) } else { now });
            Told { now: most(now), last: most(load.last()) }
        };
        // What chargers do by an earlier machine's setpoints, which are reserved, stands until a meter is heard.
        let known = self.left(known, |limit| is_young.then_some(limit));
        let for_raises = self.left(at_most, |limit| is_young.then_some(limit.min(Milliamps::ZERO)));
        let budgets = known.into_iter().zip(for_raises);
        let budget = |(known, for_raises): (Left, Left)| Budget {
            uncontrolled: known.load,
            budget: known.budget,
            for_raises: for_raises.budget,
        };
        budgets.map(budget).collect()
    }

    /// What is left of each circuit by what is told of the loads. Where a load is not known, what `begins` makes of the limit, or else what
    /// the module says.
    fn left(
        &self,
        told: impl Fn(usize) -> Told,
        begins: impl Fn(Milliamps) -> Option<Milliamps>,
    ) -> Vec<Left> {
        let circuits = &self.model.circuits;
        let mut below = vec![PerPhase::all(Loaded::default()); circuits.len()];
        let mut all = Vec::with_capacity(circuits.len());
        // Children stand behind their parents, so from the back each is complete before its parent is.
        for (index, circuit) in circuits.iter().enumerate().rev() {
            let (limit, meter) = (self.limit(index), self.meter_of[index].map(&told));
            let mut left = Left::default();
            for phase in Phase::ALL {
                let own = meter.map(|told| (told.now[phase], told.last[phase]));
                let limits = [circuit.limit_ma[phase], limit[phase], circuit.fallback_ma];
                let (loaded, budget) = below[index][phase].left(own, limits);
                left.load[phase] = loaded.known;
                left.budget[phase] = loaded.known.map_or(begins(limit[phase]), |_| None).unwrap_or(budget);
                if let Some(parent) = circuit.parent {
                    below[parent][phase] = below[parent][phase].and(loaded);
                }
            }
            all.push(left);
        }
        all.reverse();
        all
    }

    /// The load of a meter's circuit. Before the first estimate is settled after a start it is what the meter shows less what its
    /// chargers draw by their latest readings: what one draws that was not heard yet is in it.
    fn load_of(&self, meter: usize, now: Micros) -> PerPhase<Option<Milliamps>> {
        let load = &self.gauges[meter].load;
        let known = load.now(now, self.stale());
        if !self.is_young(now) {
            return known;
        }
        let below = self.below[self.model.meters[meter].circuit].iter();
        let drawn = below.map(|index| self.stations[*index].draw(now, self.stale()));
        load.begun(known, drawn.fold(PerPhase::all(Milliamps::ZERO), |sum, drawn| sum + drawn))
    }

    /// What was subtracted from a meter's reading for chargers of unknown wiring and is no more reserved for them.
    fn misplaced(&self, meter: usize, now: Micros) -> PerPhase<Milliamps> {
        let below = &self.below[self.model.meters[meter].circuit];
        let subtracted = below.iter().zip(&self.gauges[meter].load.subtracted);
        let unknown = subtracted.filter(|(index, _)| !self.model.chargers[**index].wiring_is_known());
        let misplaced = unknown.map(|(index, subtracted)| {
            subtracted.zip(self.may_draw(*index, now), |was, may| (was - may).max(Milliamps::ZERO))
        });
        misplaced.fold(PerPhase::all(Milliamps::ZERO), |sum, misplaced| sum + misplaced)
    }

    /// The load of each circuit: its meter's, or that of the circuits below it.
    pub(super) fn up_the_tree(
        &self,
        load: impl Fn(usize) -> PerPhase<Option<Milliamps>>,
    ) -> Vec<PerPhase<Option<Milliamps>>> {
        let mut known = vec![PerPhase::all(Some(Milliamps::ZERO)); self.model.circuits.len()];
        // Children stand behind their parents, so from the back each is complete before its parent is.
        for index in (0..self.model.circuits.len()).rev() {
            if let Some(meter) = self.meter_of[index] {
                known[index] = load(meter);
            }
            if let Some(parent) = self.model.circuits[index].parent {
                known[parent] = known[parent].zip(known[index], |sum, load| Some(sum? + load?));
            }
        }
        known
    }

    pub(super) fn seats(&self, now: Micros) -> Vec<Seat> {
        let validity: Micros = self.model.control.validity_ms.into();
        let delay: Micros = self.model.control.raise_delay_ms.into();
        let least_on: Micros = self.model.control.least_on_ms.into();
        let ramp = self.model.control.raise_ramp_ma_per_s;
        let seat = |index: usize| {
            let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
            let waits = station.ledger.unconfirmed_since();
            let overdue = waits.is_some_and(|since| now - since >= self.times.patience);
            let in_force = station.in_force(charger, now, self.times);
            let risen = if in_force < charger.min_ma { charger.min_ma } else { in_force + station.rise };
            let priority = self.user(index).and_then(|user| user.priority);
            Seat {
                path: self.paths[index].clone(),
                phases: charger.wired().to_vec(),
                min: charger.min_ma,
                max: self.most(index),
                step: charger.step_ma,
                safe: charger.safe_ma,
                priority: priority.unwrap_or(charger.priority),
                asks: station.state().asks(),
                is_in_load: self.is_young(now) && station.track.first().is_none(),
                answers: station.is_reachable(now, validity) && !overdue,
                held: station.held_off,
                // What people say binds at once.
                stays_on: station.manual.is_none()
                    && station.resumed_at.is_some_and(|since| now - since < least_on),
                in_force,
                may_draw: self.may_draw(index, now),
                beyond: station.beyond(charger, now, self.stale(), self.times.patience),
                raise_delay_is_over: delay == Micros::ZERO
                    || station.raise_since.is_some_and(|since| now - since >= delay),
                ramp: if ramp == Milliamps::ZERO { Milliamps::MAX } else { risen },
            }
        };
        (0..self.stations.len()).map(seat).collect()
    }
}
