//! Promise 1, looked at from outside the machine: what may be drawn, told from what is on the wire and what vehicles
//! really draw, plus the real load, against each circuit's limit on each phase.

use wattle_wire::message::Setpoint;
use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::super::station::DRAW_TOLERANCE;

struct Told {
    number: u64,
    limit: Milliamps,
    expires_at: Micros,
}

/// One charger as it really is at this moment.
pub(super) struct Outlet<'a> {
    pub(super) path: &'a [usize],
    /// The phases that it is really wired to.
    pub(super) phases: &'a [Phase],
    pub(super) safe: Milliamps,
    pub(super) draw: Milliamps,
    /// What it draws although it was told to draw less.
    pub(super) disobeys: Milliamps,
}

/// One circuit as it really is at this moment.
pub(super) struct Breaker {
    pub(super) limit: PerPhase<Milliamps>,
    /// What others draw from it and from all circuits below.
    pub(super) load: PerPhase<Milliamps>,
    /// What its chargers may draw together although the load is not known; none if it is known.
    pub(super) fallback: Option<Milliamps>,
}

/// The observer.
pub(super) struct Watch {
    told: Vec<Vec<Told>>,
    excused: Vec<PerPhase<Micros>>,
    /// How much longer what may be drawn and isn't may pass a limit: an excess that doesn't flow shows only once all
    /// chargers have spoken again, and have done what they were told last.
    pub(super) settling: Micros,
}

impl Watch {
    pub(super) fn new(circuits: usize, chargers: usize) -> Self {
        let told = (0..chargers).map(|_| Vec::new()).collect();
        Self { told, excused: vec![PerPhase::all(Micros::ZERO); circuits], settling: Micros::ZERO }
    }

    /// A setpoint leaves the edge.
    pub(super) fn sent(&mut self, charger: usize, setpoint: &Setpoint, now: Micros) {
        let expires_at = now + setpoint.validity_ms.into();
        self.told[charger].push(Told { number: setpoint.number, limit: setpoint.limit_ma, expires_at });
    }

    /// The edge hears that a charger obeys this setpoint.
    pub(super) fn confirmed(&mut self, charger: usize, number: u64) {
        self.told[charger].retain(|told| told.number >= number);
    }

    /// The edge hears that a charger will never obey this setpoint.
    pub(super) fn refused(&mut self, charger: usize, number: u64) {
        self.told[charger].retain(|told| told.number != number);
    }

    /// Until this moment an excess on these circuits is the brief one of the promise.
    pub(super) fn excuse(&mut self, circuits: &[usize], until: Micros) {
        for circuit in circuits {
            self.excused[*circuit] = self.excused[*circuit].map(|before| before.max(until));
        }
    }

    /// Setpoints whose time is over count no more.
    pub(super) fn expire(&mut self, now: Micros) {
        self.told.iter_mut().for_each(|told| told.retain(|told| told.expires_at > now));
    }

    /// What is wrong at this moment, if anything is.
    pub(super) fn look(
        &self,
        outlets: &[Outlet<'_>],
        breakers: &[Breaker],
        now: Micros,
    ) -> Result<(), String> {
        let nothing = PerPhase::all(Milliamps::ZERO);
        let (mut may, mut unavoidable) = (vec![nothing; breakers.len()], vec![nothing; breakers.len()]);
        let mut drawn = vec![nothing; breakers.len()];
        for (outlet, told) in outlets.iter().zip(&self.told) {
            let told = told.iter().map(|told| told.limit).fold(outlet.safe, Milliamps::max);
            // What is drawn beyond the setpoint counts as the machine counts it: beyond the noise.
            let counts = |draw: Milliamps| if draw > told + DRAW_TOLERANCE { draw } else { told };
            let most = counts(outlet.draw);
            let least = if outlet.disobeys > Milliamps::ZERO { counts(outlet.disobeys) } else { outlet.safe };
            for (circuit, phase) in outlet.path.iter().flat_map(|c| outlet.phases.iter().map(|p| (*c, *p))) {
                may[circuit][phase] += most;
                drawn[circuit][phase] += outlet.draw;
                unavoidable[circuit][phase] += least;
            }
        }
        for (circuit, breaker) in breakers.iter().enumerate() {
            for phase in Phase::ALL.into_iter().filter(|phase| self.excused[circuit][*phase] < now) {
                let floor = unavoidable[circuit][phase].max(breaker.fallback.unwrap_or(Milliamps::ZERO));
                let is_settled = self.excused[circuit][phase] + self.settling < now;
                let counts = if is_settled { may[circuit][phase] } else { drawn[circuit][phase] };
                if counts > floor && breaker.load[phase] + counts > breaker.limit[phase] {
                    let (load, limit) = (breaker.load[phase], breaker.limit[phase]);
                    return Err(format!(
                        "circuit {circuit} {phase:?}: load {load} and {counts} pass {limit}"
                    ));
                }
            }
        }
        Ok(())
    }
}
