//! The edge starts anew: a machine that knows nothing of the one before, and is told what a node keeps over a restart.

use wattle_wire::{Milliamps, PerPhase};

use crate::excuse::Cause;
use crate::rig::Rig;
use wattle_edge_core::*;

impl Rig {
    /// The machine is replaced by one that knows nothing of the one before.
    pub fn restart_edge(&mut self) {
        self.restart_edge_as(self.machine.model().clone());
    }

    /// The same, of a site that has been changed meanwhile. It has the same circuits, meters and chargers.
    pub fn restart_edge_as(&mut self, model: SiteModel) {
        self.tally.edge_restarts += 1;
        self.first_number += 1_000_000;
        let before = self.machine.model().clone();
        self.keep_what_was_told(&before);
        self.bring_lower_fallbacks(&before, &model);
        self.machine = SiteMachine::new(model, self.first_number, self.machine_now()).expect("sound");
        let (validity, most) = (self.longest_validity, self.highest_told.clone());
        let places = before.chargers.iter().map(|charger| charger.id.clone()).zip(most);
        let places: std::collections::BTreeMap<_, _> = places.collect();
        self.machine.inherit(validity, |charger| places.get(charger).copied());
        self.signal_again();
        self.heard.fill(None);
        self.told.fill(None);
        self.note_limits();
        self.forget_the_disobedient();
        self.forget_silences();
    }

    /// What a node writes down of each start: the longest validity, and the most that each charger could be told.
    fn keep_what_was_told(&mut self, model: &SiteModel) {
        self.longest_validity = self.longest_validity.max(model.control.validity_ms);
        for (most, charger) in self.highest_told.iter_mut().zip(&model.chargers) {
            *most = charger.max_ma.max(*most);
        }
    }

    /// A fallback budget that was in force and is less now.
    fn bring_lower_fallbacks(&mut self, before: &SiteModel, after: &SiteModel) {
        for (circuit, (was, is)) in before.circuits.iter().zip(&after.circuits).enumerate() {
            if self.is_blind(circuit) {
                let less: Milliamps = was.fallback_ma - is.fallback_ma;
                self.watch.excuses.add(circuit, Cause::Limit, PerPhase::all(less), self.now);
            }
        }
    }
}
