//! What a circuit's chargers could share.

use wattle_wire::{Milliamps, PerPhase, Phase};

use super::{ExplainedCircuit, View};
use crate::site::envelope;

impl View<'_> {
    pub(super) fn circuit(&self, index: usize, reserved_ma: PerPhase<Milliamps>) -> ExplainedCircuit {
        let circuit = &self.machine.model.circuits[index];
        let on_it = self.weighed.seats.iter().filter(|seat| seat.path.contains(&index));
        let nothing = PerPhase::all(Milliamps::ZERO);
        let set_aside_ma = on_it.map(envelope::unavoidable).fold(nothing, |sum, one| sum + one);
        ExplainedCircuit {
            circuit: circuit.id.clone(),
            phases: Phase::ALL
                .into_iter()
                .filter(|phase| circuit.limit_ma[*phase] > Milliamps::ZERO)
                .collect(),
            limits: self.machine.limits(index),
            margin_ma: circuit.margin_ma,
            uncontrolled_ma: self.machine.budgets(self.now)[index].uncontrolled,
            budget_ma: self.weighed.budgets[index],
            for_raises_ma: self.weighed.raise_budgets[index],
            set_aside_ma,
            reserved_ma,
        }
    }
}
