//! What may be shared at a moment: the limits less the uncontrolled load, and the chargers that want of it.

use wattle_wire::{Micros, Milliamps, PerPhase};

use super::SiteMachine;
use super::envelope::Seat;

/// What a circuit's chargers may draw together, and why.
pub(super) struct Budget {
    pub(super) uncontrolled: PerPhase<Option<Milliamps>>,
    pub(super) budget: PerPhase<Milliamps>,
    pub(super) for_raises: PerPhase<Milliamps>,
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
        let known = self.up_the_tree(|meter| self.load_of(meter, now));
        let at_most = self.up_the_tree(|meter| {
            let load = &self.gauges[meter].load;
            let at_most = load.at_most(now, self.stale());
            let at_most =
                at_most.zip(load.settled, |most, settled| if is_young { settled.and(most) } else { most });
            at_most.zip(self.misplaced(meter, now), |most, misplaced| most.map(|most| most + misplaced))
        });
        let budget = |index: usize| {
            let limit = self.limit(index);
            let less = |load: PerPhase<Option<Milliamps>>, unknown: PerPhase<Milliamps>| {
                limit.zip(load, |limit, load| load.map(|load| limit - load)).zip(unknown, Option::unwrap_or)
            };
            // What chargers do by an earlier machine's setpoints, which are reserved, stands until a meter is heard.
            let fallback = limit.map(|limit| self.model.circuits[index].fallback_ma.min(limit));
            let nothing = limit.map(|limit| limit.min(Milliamps::ZERO));
            let [unknown, for_raises] = if is_young { [limit, nothing] } else { [fallback; 2] };
            Budget {
                uncontrolled: known[index],
                budget: less(known[index], unknown),
                for_raises: less(at_most[index], for_raises),
            }
        };
        (0..self.model.circuits.len()).map(budget).collect()
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
