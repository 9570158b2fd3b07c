//! Chargers of several connectors.
//!
//! A charger with connectors is one device with one login, one supply cable and a limit that its connectors share. To
//! control it is a circuit under its own name, with the charger's limit, and behind it a charger for each connector:
//! `box-1:1` and `box-1:2` for connectors `1` and `2` of `box-1`. Under these names connectors stand in rows, tables,
//! snapshots, signals and timers.

use serde::Deserialize;
use wattle_wire::{CircuitId, DeviceId, IdError, Milliamps, PerPhase, Phase, Watts};

use crate::amount::{optional_amps, watts};
use crate::file::{Charger, Circuit, SiteFile};
use crate::hours::ScheduledLimit;

/// What stands between the name of a charger and that of its connector.
const BETWEEN: char = ':';

/// A connector of a charger; what it doesn't say is as the charger says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// Its name at the charger, a level of its topics.
    pub id: DeviceId,
    /// The phases of the site in the order in which they are wired to it; default those of the charger.
    #[serde(default)]
    pub phases: Option<Vec<wattle_wire::Phase>>,
    /// The most that it can give, A; default the charger's `max_a`.
    #[serde(rename = "max_a", default, deserialize_with = "optional_amps")]
    pub max_ma: Option<Milliamps>,
    /// With `kind = "dc"`: the most power that it takes, W; default the charger's `max_w`.
    #[serde(default, deserialize_with = "watts")]
    pub max_w: Option<Watts>,
    /// The largest current that the vehicle's cable carries, A; default `max_a`.
    #[serde(rename = "cable_a", default, deserialize_with = "optional_amps")]
    pub cable_ma: Option<Milliamps>,
    /// Higher goes first; default the charger's.
    #[serde(default)]
    pub priority: Option<i32>,
    /// What it gets, as far as it fits, whatever the policy says, A; default the charger's.
    #[serde(rename = "manual_a", default, deserialize_with = "optional_amps")]
    pub manual_ma: Option<Milliamps>,
}

/// What supplies one vehicle: a charger, or a connector of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evse {
    /// The login of its device.
    pub device: DeviceId,
    /// Which connector of the device it is, where that has several.
    pub connector: Option<DeviceId>,
    /// As a charger by itself: its name in rows, the circuit that feeds it, its own limits; without connectors.
    pub charger: Charger,
}

/// A site in which each connector is a charger by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlets {
    /// The circuits of the file, then one for each charger that has connectors.
    pub circuits: Vec<Circuit>,
    /// In the order of the file.
    pub evses: Vec<Evse>,
}

impl SiteFile {
    /// The site as control sees it.
    ///
    /// # Errors
    /// When the names of a charger and its connector together are too long for a name. A file that was read has none.
    pub fn outlets(&self) -> Result<Outlets, IdError> {
        let mut outlets = Outlets { circuits: self.circuits.clone(), evses: Vec::new() };
        for charger in &self.chargers {
            if charger.connectors.is_empty() {
                let evse = Evse { device: charger.id.clone(), connector: None, charger: charger.clone() };
                outlets.evses.push(evse);
                continue;
            }
            outlets.circuits.push(charger.supply(self.control.nominal_v)?);
            for connector in &charger.connectors {
                outlets.evses.push(charger.evse(connector)?);
            }
        }
        Ok(outlets)
    }
}

impl Charger {
    /// What its connectors are fed by.
    fn supply(&self, nominal_v: i32) -> Result<Circuit, IdError> {
        let phases = self.supplied();
        let whole = Self { phases: Some(phases.clone()), ..self.clone() };
        let mut limit_ma = PerPhase::all(Milliamps::ZERO);
        for phase in phases {
            limit_ma[phase] = whole.max_on_a_phase(nominal_v);
        }
        Ok(Circuit {
            id: CircuitId::new(self.id.as_str())?,
            parent: Some(self.circuit.clone()),
            limit_ma,
            margin_ma: Milliamps::ZERO,
            fallback_ma: Milliamps::ZERO,
            max_load_ma: Milliamps::ZERO,
            generation: false,
            schedule: self.max_w.map(ScheduledLimit::always).into_iter().collect(),
        })
    }

    /// The phases of its supply: its own, or those of all its connectors; all three where one of them isn't known.
    fn supplied(&self) -> Vec<Phase> {
        if let Some(phases) = &self.phases {
            return phases.clone();
        }
        let wired =
            self.connectors.iter().map(|connector| connector.phases.as_deref().unwrap_or(&Phase::ALL));
        let wired: Vec<Phase> = wired.flatten().copied().collect();
        Phase::ALL.into_iter().filter(|phase| wired.contains(phase)).collect()
    }

    fn evse(&self, connector: &Connector) -> Result<Evse, IdError> {
        let charger = Self {
            id: DeviceId::new(format!("{}{BETWEEN}{}", self.id, connector.id))?,
            circuit: CircuitId::new(self.id.as_str())?,
            phases: connector.phases.clone().or_else(|| self.phases.clone()),
            max_ma: connector.max_ma.unwrap_or(self.max_ma),
            max_w: connector.max_w.or(self.max_w),
            cable_ma: connector.cable_ma,
            priority: connector.priority.unwrap_or(self.priority),
            manual_ma: connector.manual_ma.or(self.manual_ma),
            connectors: Vec::new(),
            ..self.clone()
        };
        Ok(Evse { device: self.id.clone(), connector: Some(connector.id.clone()), charger })
    }
}
