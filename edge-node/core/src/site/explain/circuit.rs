//! What a circuit's chargers could share.

use wattle_wire::{CircuitId, Milliamps, PerPhase, Phase};

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
            phases: Phase::ALL.into_iter().filter(|phase| circuit.has(*phase)).collect(),
            limits: self.machine.limits(index),
            margin_ma: circuit.margin_ma,
            uncontrolled_ma: self.machine.budgets(self.now)[index].uncontrolled,
            silent: self.silent(index),
            budget_ma: self.weighed.budgets[index],
            for_raises_ma: self.weighed.raise_budgets[index],
            set_aside_ma,
            reserved_ma,
        }
    }

    /// The circuits whose meters are silent by which a circuit's load is known.
    fn silent(&self, index: usize) -> Vec<(CircuitId, Vec<Phase>)> {
        let circuits = &self.machine.model.circuits;
        if let Some(meter) = self.machine.meter_of[index] {
            let phases = self.machine.silent_phases(meter, self.now);
            return if phases.is_empty() { Vec::new() } else { vec![(circuits[index].id.clone(), phases)] };
        }
        let below = (index + 1..circuits.len()).filter(|below| circuits[*below].parent == Some(index));
        below.flat_map(|below| self.silent(below)).collect()
    }
}
