//! Where nobody measures what a charger draws, lowering it may not end an excess.
//!
//! A charger that doesn't measure its current, on a phase or on all, is taken to draw what it was told when a circuit carries too much
//! ([`super::load`]). If its vehicle draws less, telling it a little less changes nothing, and step by step the excess could last
//! for long. So it is given as long as a vehicle has to obey. If the meters still show too much by then, on a phase that it may load and
//! doesn't measure, it stands by; what they show next is load, and it is raised into what is left.

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::SiteMachine;
use super::doubt::Doubt;
use super::envelope::{self, Grant, Seat, Step};
use super::station::Station;
use super::track::is_measured;

/// A charger that was lowered without end of an excess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHelp {
    pub(super) index: usize,
    pub(super) phase: Phase,
    pub(super) excess: Milliamps,
}

/// What meters show of a phase of a circuit, and the earliest moment at which one of them did.
type Shown = Option<(Milliamps, Micros)>;

impl SiteMachine {
    /// The circuits that carry too much, with those whose reduction has not helped, by what the meters show.
    pub(super) fn without_help(&self, now: Micros) -> Vec<Doubt> {
        if self.stations.iter().all(|station| Phase::ALL.into_iter().all(|phase| station.measures(phase))) {
            return Vec::new();
        }
        let shown = self.shown(now);
        let of_circuit = |circuit: usize| {
            let of_phase = |phase: Phase| self.without_help_on(circuit, phase, shown[circuit][phase]);
            let no_help: Vec<NoHelp> = Phase::ALL.into_iter().flat_map(of_phase).collect();
            let budget = PerPhase::all(Milliamps::MAX);
            (!no_help.is_empty()).then_some(Doubt { circuit, budget, subtracted: Vec::new(), no_help })
        };
        (0..self.model.circuits.len()).filter_map(of_circuit).collect()
    }

    fn without_help_on(&self, circuit: usize, phase: Phase, shown: Shown) -> Vec<NoHelp> {
        let Some((total, at)) = shown else { return Vec::new() };
        let (excess, since) = (total - self.limit(circuit)[phase], self.times.told_from(at));
        if excess <= Milliamps::ZERO {
            return Vec::new();
        }
        let did_not_help = |index: &usize| {
            let (charger, station) = (&self.model.chargers[*index], &self.stations[*index]);
            charger.wired().contains(&phase)
                && !station.measures(phase)
                && station.was_lowered_before(since, self.times.patience, self.stale())
        };
        let those = self.below[circuit].iter().copied().filter(did_not_help);
        those.map(|index| NoHelp { index, phase, excess }).collect()
    }

    /// All that flows through each circuit by its meter, or by those below it and by what its own chargers may draw.
    fn shown(&self, now: Micros) -> Vec<PerPhase<Shown>> {
        let mut all = vec![PerPhase::all(Some((Milliamps::ZERO, now))); self.model.circuits.len()];
        for (index, charger) in self.model.chargers.iter().enumerate() {
            let more = self.may_draw(index, now);
            let own = &mut all[charger.circuit];
            *own = own.zip(more, |shown, more| shown.map(|(total, at)| (total + more, at)));
        }
        for circuit in (0..self.model.circuits.len()).rev() {
            if let Some(meter) = self.meter_of[circuit] {
                let stale = self.stale();
                all[circuit] =
                    self.gauges[meter].load.heard.map(|heard| heard.filter(|(_, at)| now - *at < stale));
            }
            if let Some(parent) = self.model.circuits[circuit].parent {
                all[parent] = all[parent].zip(all[circuit], |sum: Shown, shown: Shown| {
                    let ((sum, since), (shown, at)) = (sum?, shown?);
                    Some((sum + shown, since.min(at)))
                });
            }
        }
        all
    }
}

/// Puts those on standby, and notes whom it has lowered.
pub(super) fn lower(
    doubt: &Doubt,
    seats: &[Seat],
    grants: &mut [Grant],
    lowered: &mut [bool],
    tell: &mut dyn FnMut(usize, Step),
) {
    for NoHelp { index, phase, excess } in doubt.no_help.iter().copied() {
        let grant = &mut grants[index];
        if envelope::left(&seats[index], grant.limit) > Milliamps::ZERO {
            (grant.limit, grant.reason) = (Milliamps::ZERO, "less has not helped, and nobody measures it");
            lowered[index] = true;
            tell(index, Step::DidNotHelp { circuit: doubt.circuit, phase, excess });
        }
    }
}

impl Station {
    /// Whether its last reading said what it draws on this phase, as far as there was one.
    pub(super) fn measures(&self, phase: Phase) -> bool {
        self.track.buckets().next_back().is_none_or(|bucket| is_measured(bucket.least[phase]))
    }

    /// Whether it has lately been told to lower its draw, and for the first time so long before `moment` that it had as long as
    /// `patience` to obey, and within what a meter that is not `stale` may take for its next reading; with no raise since.
    fn was_lowered_before(&self, moment: Micros, patience: Micros, stale: Micros) -> bool {
        let mut told = self.ledger.newest().map_or(Milliamps::ZERO, |newest| newest.limit);
        if told <= Milliamps::ZERO {
            return false;
        }
        for (at, before) in self.commands.iter().rev() {
            if *before < told {
                return false;
            }
            if moment - *at >= patience {
                return moment - *at < patience + patience.max(stale);
            }
            told = *before;
        }
        false
    }
}
