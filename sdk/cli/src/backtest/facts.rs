//! What recorded rows tell of vehicles and of the site around them.
//!
//! - A vehicle uses as many phases as ever carried [`DRAWS_FROM`] at once.
//! - It is **held back by itself** if it drew its most while its setpoint had allowed [`ABOVE`] more for [`FOR_MS`] at least. Then its most is
//!   what it drew; else its most isn't known.
//! - Voltage is the median of what charging devices measured.
//! - Other load is what recorded decisions say of circuits that have a meter; what the site is told from outside, its signals.

use std::collections::BTreeMap;

use wattle_edge_core::{SiteInput, SiteModel, told};
use wattle_wire::row::{Cause, Decision, EventKind, Reading, Row};
use wattle_wire::{DeviceId, Micros, Milliamps, Millivolts, PerPhase, SessionId};

use super::books::{DRAWS_FROM, draw, millis};
use crate::simulate::world::Load;

/// How much more a vehicle might have drawn.
const ABOVE: Milliamps = Milliamps(1_500);
/// For how long, at least.
const FOR_MS: u64 = 15_000;
/// Readings of this much less than the most are no sign.
const NEAR: Milliamps = Milliamps(1_000);

/// What is known of one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drawn {
    /// The most that it drew on a phase.
    pub most_ma: Milliamps,
    /// On how many phases; 0 if it never drew.
    pub phases: u8,
    /// What it drew, at most, while it might have drawn more.
    free_ma: Milliamps,
}

impl Drawn {
    /// Its own most, if it was ever held back by itself.
    pub fn own_most(&self) -> Option<Milliamps> {
        (self.free_ma >= DRAWS_FROM && self.free_ma + NEAR >= self.most_ma).then_some(self.most_ma)
    }
}

/// A setpoint, and since when no lower one was in force.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    setpoint: Milliamps,
    before: Milliamps,
    since_ms: u64,
}

/// Gathers.
pub struct Facts<'a> {
    model: &'a SiteModel,
    chargers: BTreeMap<DeviceId, usize>,
    told: Vec<Told>,
    vehicles: BTreeMap<(usize, SessionId), Drawn>,
    /// By decivolts.
    voltages: BTreeMap<i32, u64>,
    /// Circuits with a meter, with their load.
    metered: BTreeMap<usize, PerPhase<Milliamps>>,
    /// Other load.
    pub loads: Vec<Load>,
    /// What the site was told from outside.
    pub signals: Vec<(u64, SiteInput)>,
}

impl<'a> Facts<'a> {
    /// Of a site with this model.
    pub fn new(model: &'a SiteModel) -> Self {
        let names = model.chargers.iter().enumerate().map(|(index, charger)| (charger.id.clone(), index));
        let metered = model.meters.iter().map(|meter| (meter.circuit, PerPhase::default()));
        Self {
            model,
            chargers: names.collect(),
            told: vec![Told::default(); model.chargers.len()],
            vehicles: BTreeMap::new(),
            voltages: BTreeMap::new(),
            metered: metered.collect(),
            loads: Vec::new(),
            signals: Vec::new(),
        }
    }

    /// Takes the next row.
    pub fn take(&mut self, at: Micros, row: &Row) {
        match row {
            Row::Reading(reading) => self.reading(at, reading),
            Row::Event(event) if event.kind == EventKind::Signalled => {
                self.signals.extend(told(event, self.model).map(|input| (millis(at), input)));
            }
            Row::Decision(decision) if decision.cause != Cause::Shadow => self.decision(at, decision),
            Row::Event(_) | Row::Decision(_) | Row::Gap(_) => {}
        }
    }

    fn reading(&mut self, at: Micros, reading: &Reading) {
        let at_ms = millis(reading.measured_us.unwrap_or(at));
        let Some(charger) = self.chargers.get(&reading.device).copied() else { return };
        let (Some(session), Some(current)) = (&reading.session, reading.values.current_ma) else { return };
        let drawn = draw(reading);
        if drawn < DRAWS_FROM {
            return;
        }
        let told = self.told[charger];
        let vehicle = self.vehicles.entry((charger, session.clone())).or_default();
        vehicle.most_ma = vehicle.most_ma.max(drawn);
        let phases = current.iter().flatten().filter(|current| *current >= DRAWS_FROM).count();
        vehicle.phases = vehicle.phases.max(u8::try_from(phases).unwrap_or(3));
        let allowed =
            if at_ms >= told.since_ms + FOR_MS { told.setpoint } else { told.before.min(told.setpoint) };
        if allowed >= drawn + ABOVE {
            vehicle.free_ma = vehicle.free_ma.max(drawn);
        }
        if let Some(voltage) = reading.values.voltage_mv.and_then(|voltage| voltage.get(0)) {
            *self.voltages.entry(voltage.0 / 100).or_default() += 1;
        }
    }

    fn decision(&mut self, at: Micros, decision: &Decision) {
        let at_ms = millis(at);
        for decided in &decision.chargers {
            let Some(charger) = self.chargers.get(&decided.charger).copied() else { continue };
            let told = &mut self.told[charger];
            if told.setpoint != decided.setpoint_ma {
                *told = Told { setpoint: decided.setpoint_ma, before: told.setpoint, since_ms: at_ms };
            }
        }
        for decided in &decision.circuits {
            let index = self.model.circuits.iter().position(|circuit| circuit.id == decided.circuit);
            let Some((circuit, load)) = index.and_then(|index| Some((index, self.metered.get_mut(&index)?)))
            else {
                continue;
            };
            if *load != decided.uncontrolled_ma {
                *load = decided.uncontrolled_ma;
                self.loads.push(Load { at_ms, circuit, current: decided.uncontrolled_ma });
            }
        }
    }

    /// What is known of the vehicle of a stay.
    pub fn vehicle(&self, charger: &DeviceId, session: &SessionId) -> Drawn {
        let charger = self.chargers.get(charger).copied();
        let known = charger.and_then(|charger| self.vehicles.get(&(charger, session.clone())));
        known.copied().unwrap_or_default()
    }

    /// On how many phases most vehicles charge; 1 where none ever did.
    pub fn usual_phases(&self) -> u8 {
        let count = |phases: u8| self.vehicles.values().filter(|vehicle| vehicle.phases == phases).count();
        (1..=3).rev().max_by_key(|phases| count(*phases)).filter(|_| !self.vehicles.is_empty()).unwrap_or(1)
    }

    /// The voltage that chargers measured.
    pub fn voltage(&self) -> Option<Millivolts> {
        let half = self.voltages.values().sum::<u64>() / 2;
        let mut counted = 0;
        let median = self.voltages.iter().find(|(_, count)| {
            counted += **count;
            counted > half
        });
        median.map(|(decivolts, _)| Millivolts(decivolts * 100)).filter(|voltage| voltage.0 > 0)
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
