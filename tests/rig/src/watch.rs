//! Promise 1, looked at from outside the machine: what may be drawn, told from what is on the wire and what vehicles
//! really draw, plus the real load, against each circuit's limit on each phase.

use wattle_wire::message::Setpoint;
use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use crate::excuse::Excuses;
use wattle_edge_core::DRAW_TOLERANCE;

struct Told {
    number: u64,
    limit: Milliamps,
    expires_at: Micros,
}

/// One charger as it really is at this moment.
pub struct Outlet<'a> {
    /// The circuits that it loads.
    pub path: &'a [usize],
    /// The phases that it is really wired to.
    pub phases: &'a [Phase],
    /// Its safe current.
    pub safe: Milliamps,
    /// What it draws on each of its phases.
    pub draw: Milliamps,
    /// What it draws although it was told to draw less.
    pub disobeys: Milliamps,
}

/// One circuit as it really is at this moment.
pub struct Breaker {
    /// What it may carry, less its margin.
    pub limit: PerPhase<Milliamps>,
    /// What others draw from it and from all circuits below, as far as anybody could know.
    pub load: PerPhase<Milliamps>,
    /// So much load can't be told from what vehicles may draw that nobody measures, and don't.
    pub hidden: PerPhase<Milliamps>,
}

/// The observer.
pub struct Watch {
    told: Vec<Vec<Told>>,
    /// What excuses an excess.
    pub excuses: Excuses,
}

impl Watch {
    /// One that has seen nothing.
    pub fn new(circuits: usize, chargers: usize) -> Self {
        let told = (0..chargers).map(|_| Vec::new()).collect();
        Self { told, excuses: Excuses::new(circuits) }
    }

    /// A setpoint leaves the edge.
    pub fn sent(&mut self, charger: usize, setpoint: &Setpoint, now: Micros) {
        let expires_at = now + setpoint.validity_ms.into();
        self.told[charger].push(Told { number: setpoint.number, limit: setpoint.limit_ma, expires_at });
    }

    /// The edge hears that a charger obeys this setpoint.
    pub fn confirmed(&mut self, charger: usize, number: u64) {
        self.told[charger].retain(|told| told.number >= number);
    }

    /// The edge hears that a charger will never obey this setpoint.
    pub fn refused(&mut self, charger: usize, number: u64) {
        self.told[charger].retain(|told| told.number != number);
    }

    /// Setpoints whose time is over count no more.
    pub fn expire(&mut self, now: Micros) {
        self.told.iter_mut().for_each(|told| told.retain(|told| told.expires_at > now));
    }

    /// What a charger counts with that draws `draw`, as the machine counts it: what is drawn beyond the setpoint beyond the noise.
    pub fn counted(&self, charger: usize, safe: Milliamps, draw: Milliamps) -> Milliamps {
        let told = self.told[charger].iter().map(|told| told.limit).fold(safe, Milliamps::max);
        if draw > told + DRAW_TOLERANCE { draw } else { told }
    }

    /// What the chargers of each circuit may draw, draw, and can't be kept from drawing.
    pub fn flows(&self, outlets: &[Outlet<'_>], breakers: &[Breaker]) -> Vec<Flow> {
        let mut flows = vec![Flow::default(); breakers.len()];
        for (charger, outlet) in outlets.iter().enumerate() {
            let counts = |draw: Milliamps| self.counted(charger, outlet.safe, draw);
            let most = counts(outlet.draw);
            let least = outlet.safe.max(outlet.disobeys);
            for (circuit, phase) in outlet.path.iter().flat_map(|c| outlet.phases.iter().map(|p| (*c, *p))) {
                flows[circuit].may[phase] += most;
                flows[circuit].drawn[phase] += outlet.draw;
                flows[circuit].unavoidable[phase] += least;
                if outlet.disobeys > Milliamps::ZERO {
                    flows[circuit].noise[phase] += DRAW_TOLERANCE;
                }
            }
        }
        flows
    }

    /// What is wrong at this moment, if anything is: an excess that nothing has brought, or that should have ended.
    ///
    /// # Errors
    /// That, in words.
    pub fn look(&self, flows: &[Flow], breakers: &[Breaker]) -> Result<(), String> {
        for (circuit, (flow, breaker)) in flows.iter().zip(breakers).enumerate() {
            for phase in Phase::ALL {
                let counts = flow.may[phase];
                let excess = flow.excess(breaker, phase, counts);
                let excused = self.excuses.amount(circuit, phase) + flow.noise[phase] + breaker.hidden[phase];
                if excess > Milliamps::ZERO && excess > excused {
                    let (load, limit) = (breaker.load[phase], breaker.limit[phase]);
                    return Err(format!(
                        "circuit {circuit} {phase:?}: load {load} and {counts} pass {limit} by {excess}, {excused} of it excused"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What the chargers of a circuit have to do with it at a moment.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// What they may draw.
    pub may: PerPhase<Milliamps>,
    /// What they draw.
    pub drawn: PerPhase<Milliamps>,
    /// What nothing keeps them from drawing.
    pub unavoidable: PerPhase<Milliamps>,
    /// What those who don't obey may draw beyond their setpoint without its counting; it counts once the setpoint is lower.
    pub noise: PerPhase<Milliamps>,
}

impl Flow {
    /// By how much `counts` of them and the load are more than the circuit may carry, as far as less was possible; not
    /// above zero where they aren't.
    pub fn excess(&self, breaker: &Breaker, phase: Phase, counts: Milliamps) -> Milliamps {
        let floor = self.unavoidable[phase];
        (counts - floor).min(breaker.load[phase] + counts - breaker.limit[phase])
    }
}
