//! The envelope on a snapshot alone: what a plan comes to, for whoever tries a policy without a site.
//!
//! A snapshot has no ledger. So a charger may draw its setpoint, its safe current or what it draws, whichever is
//! most; everything sent before is taken as confirmed, the raise delay as over, and the wiring as known. Chargers that don't ask or can't
//! be reached are left out: what the snapshot says is available is beside them.

use wattle_wire::policy::{Charger, Plan, Snapshot};
use wattle_wire::{Milliamps, PerPhase};

use super::envelope::{self, Seat};

/// What the envelope gives a charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Index of the charger in the snapshot.
    pub charger: usize,
    /// What it is told now.
    pub setpoint_ma: Milliamps,
    /// What it will have once all reductions are confirmed and measured.
    pub target_ma: Milliamps,
    /// Why that is not what was proposed; empty if it is.
    pub reason: &'static str,
}

/// What the envelope makes of a plan, for each charger that asks. The first proposal for a charger counts.
/// The snapshot has to fit together; see [`Snapshot::check`].
pub fn fit(snapshot: &Snapshot, plan: &Plan) -> Vec<Fitted> {
    let asking: Vec<usize> = (0..snapshot.chargers.len())
        .filter(|index| snapshot.chargers[*index].online && snapshot.chargers[*index].state.asks())
        .collect();
    let mut proposals = vec![None; snapshot.chargers.len()];
    for allocation in &plan.allocations {
        if let Some(slot @ None) = proposals.get_mut(allocation.charger as usize) {
            *slot = Some(allocation.limit_ma);
        }
    }
    let seats: Vec<Seat> = asking.iter().map(|index| seat(snapshot, &snapshot.chargers[*index])).collect();
    let proposed: Vec<Milliamps> = asking.iter().map(|index| proposals[*index].unwrap_or_default()).collect();
    let budgets: Vec<_> = snapshot.circuits.iter().map(|circuit| circuit.available_ma).collect();
    let grants = envelope::dispose(&budgets, &budgets, &[], &seats, &proposed);
    let fitted = asking.into_iter().zip(grants);
    fitted
        .map(|(charger, grant)| Fitted {
            charger,
            setpoint_ma: grant.limit,
            target_ma: grant.target,
            reason: grant.reason,
        })
        .collect()
}

fn seat(snapshot: &Snapshot, charger: &Charger) -> Seat {
    let parent = |index: &usize| snapshot.circuits[*index].parent.map(|parent| parent as usize);
    let mut may_draw = charger.draw_ma.map(|drawn| drawn.max(Milliamps::ZERO));
    for phase in &charger.phases {
        may_draw[*phase] = may_draw[*phase].max(charger.setpoint_ma).max(charger.safe_ma);
    }
    Seat {
        path: std::iter::successors(Some(charger.circuit as usize), parent).collect(),
        phases: charger.phases.clone(),
        min: charger.min_ma,
        max: charger.max_ma,
        step: charger.step_ma,
        safe: charger.safe_ma,
        priority: charger.priority,
        asks: true,
        answers: true,
        held: None,
        is_in_load: false,
        stays_on: false,
        in_force: charger.setpoint_ma,
        may_draw,
        beyond: PerPhase::all(Milliamps::ZERO),
        raise_delay_is_over: true,
        ramp: Milliamps::MAX,
    }
}
