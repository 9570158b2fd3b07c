//! What a policy may know.

use wattle_wire::message::ChargerState;
use wattle_wire::policy;
use wattle_wire::{Micros, Milliamps, PerPhase, WattHours};

use super::SiteMachine;
use super::budget::Budget;
use super::envelope::Seat;

impl SiteMachine {
    pub(super) fn snapshot_circuits(
        &self,
        budgets: &[Budget],
        available: &[PerPhase<Milliamps>],
    ) -> Vec<policy::Circuit> {
        let circuit = |index: usize| {
            let (circuit, budget) = (&self.model.circuits[index], &budgets[index]);
            policy::Circuit {
                id: circuit.id.clone(),
                parent: circuit.parent.map(|parent| parent as u32),
                limit_ma: self.limit(index),
                available_ma: available[index].map(|i| i.max(Milliamps::ZERO)),
                uncontrolled_ma: budget.uncontrolled.map(Option::unwrap_or_default),
                stale: budget.uncontrolled.0.iter().any(Option::is_none),
            }
        };
        (0..budgets.len()).map(circuit).collect()
    }

    pub(super) fn snapshot_charger(&self, index: usize, seat: &Seat, now: Micros) -> policy::Charger {
        let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
        // Who is held, or has what people give it, is none whom a policy may serve.
        let is_taken = seat.asks && (seat.held.is_some() || station.manual.is_some());
        policy::Charger {
            id: charger.id.clone(),
            circuit: charger.circuit as u32,
            phases: seat.phases.clone(),
            state: if is_taken { ChargerState::Plugged } else { station.state() },
            online: seat.answers,
            min_ma: seat.min,
            max_ma: seat.max,
            step_ma: seat.step,
            safe_ma: seat.safe,
            setpoint_ma: seat.in_force,
            draw_ma: station.likely_draw(now, self.stale()),
            priority: seat.priority,
            session: self.snapshot_session(index),
        }
    }

    fn snapshot_session(&self, index: usize) -> Option<policy::Session> {
        let station = &self.stations[index];
        let stay = station.stay.as_ref()?;
        let delivered = match (stay.register_wh, station.register) {
            (Some(from), Some(to)) => (to - from).max(WattHours::ZERO),
            _ => WattHours::ZERO,
        };
        Some(policy::Session {
            id: stay.id.clone(),
            user: stay.user.clone(),
            arrived_us: stay.arrived_us,
            departure_us: stay.departure_us,
            requested_wh: stay.requested_wh,
            needed_wh: stay.requested_wh.map(|requested| (requested - delivered).max(WattHours::ZERO)),
            delivered_wh: delivered,
            soc_percent: station.soc_percent,
        })
    }
}
