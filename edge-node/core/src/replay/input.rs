//! What a site's machine was told, as it is written where the rows alone don't say it.

use serde::{Deserialize, Serialize};
use wattle_wire::message::{ChargerState, Number, Phases, Refusal};
use wattle_wire::policy::Series;
use wattle_wire::{Micros, Milliamps, Millivolts, PerPhase, SessionId, UserId, WattHours, Watts};

use crate::site::{Heard, Limit, Manual, Part, Signalled, SiteInput, Stay};

/// A [`SiteInput`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedInput {
    part: SavedPart,
    seen: Option<Number>,
    heard: SavedHeard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum SavedPart {
    Meter(u32),
    Charger(u32),
    Circuit(u32),
    Site,
    System(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum SavedHeard {
    Reading {
        state: Option<ChargerState>,
        setpoint: Option<u64>,
        current_ma: Option<Phases<Milliamps>>,
        register_wh: Option<WattHours>,
        soc_percent: Option<i32>,
        temperature_mc: Option<i32>,
    },
    Confirmed(u64),
    Refused(u64, Refusal),
    Online(bool),
    Stay(Option<SavedStay>),
    Manual(Option<(Milliamps, Option<Micros>)>),
    Limit(u32, Option<SavedSignalled>),
    GridLimit(u32, Option<Series>),
    Price(Option<Series>),
    Surplus(Option<Series>),
    /// A reading with voltages.
    Measured(SavedReading),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedReading {
    state: Option<ChargerState>,
    setpoint: Option<u64>,
    current_ma: Option<Phases<Milliamps>>,
    register_wh: Option<WattHours>,
    soc_percent: Option<i32>,
    temperature_mc: Option<i32>,
    voltage_mv: Option<Phases<Millivolts>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedStay {
    id: SessionId,
    user: Option<UserId>,
    arrived_us: Micros,
    departure_us: Option<Micros>,
    requested_wh: Option<WattHours>,
    register_wh: Option<WattHours>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedSignalled {
    limit: SavedLimit,
    until_us: Micros,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum SavedLimit {
    Current(PerPhase<Milliamps>),
    Power(Watts),
}

impl SavedInput {
    pub(crate) fn of(input: &SiteInput) -> Self {
        let index = |index: usize| index as u32;
        let part = match input.part {
            Part::Meter(meter) => SavedPart::Meter(index(meter)),
            Part::Charger(charger) => SavedPart::Charger(index(charger)),
            Part::Circuit(circuit) => SavedPart::Circuit(index(circuit)),
            Part::Site => SavedPart::Site,
            Part::System(system) => SavedPart::System(index(system)),
        };
        Self { part, seen: input.seen, heard: SavedHeard::of(&input.heard) }
    }

    pub(crate) fn load(self) -> SiteInput {
        let part = match self.part {
            SavedPart::Meter(meter) => Part::Meter(meter as usize),
            SavedPart::Charger(charger) => Part::Charger(charger as usize),
            SavedPart::Circuit(circuit) => Part::Circuit(circuit as usize),
            SavedPart::Site => Part::Site,
            SavedPart::System(system) => Part::System(system as usize),
        };
        SiteInput { part, seen: self.seen, heard: self.heard.load() }
    }
}

impl SavedHeard {
    fn of(heard: &Heard) -> Self {
        match heard {
            Heard::Reading {
                state,
                setpoint,
                current_ma,
                register_wh,
                soc_percent,
                temperature_mc,
                voltage_mv: None,
            } => Self::Reading {
                state: *state,
                setpoint: *setpoint,
                current_ma: *current_ma,
                register_wh: *register_wh,
                soc_percent: *soc_percent,
                temperature_mc: *temperature_mc,
            },
            Heard::Reading {
                state,
                setpoint,
                current_ma,
                register_wh,
                soc_percent,
                temperature_mc,
                voltage_mv,
            } => Self::Measured(SavedReading {
                state: *state,
                setpoint: *setpoint,
                current_ma: *current_ma,
                register_wh: *register_wh,
                soc_percent: *soc_percent,
                temperature_mc: *temperature_mc,
                voltage_mv: *voltage_mv,
            }),
            Heard::Confirmed(number) => Self::Confirmed(*number),
            Heard::Refused { number, reason } => Self::Refused(*number, *reason),
            Heard::Online(online) => Self::Online(*online),
            Heard::Stay(stay) => Self::Stay(stay.as_ref().map(SavedStay::of)),
            Heard::Manual(manual) => {
                Self::Manual(manual.map(|Manual { current_ma, until_us }| (current_ma, until_us)))
            }
            Heard::Limit { by, limit } => Self::Limit(*by as u32, limit.map(SavedSignalled::from)),
            Heard::GridLimit { by, limit } => Self::GridLimit(*by as u32, limit.clone()),
            Heard::Price(price) => Self::Price(price.clone()),
            Heard::Surplus(surplus) => Self::Surplus(surplus.clone()),
        }
    }

    fn load(self) -> Heard {
        match self {
            Self::Reading { state, setpoint, current_ma, register_wh, soc_percent, temperature_mc } => {
                let voltage_mv = None;
                Heard::Reading {
                    state,
                    setpoint,
                    current_ma,
                    register_wh,
                    soc_percent,
                    temperature_mc,
                    voltage_mv,
                }
            }
            Self::Measured(SavedReading {
                state,
                setpoint,
                current_ma,
                register_wh,
                soc_percent,
                temperature_mc,
                voltage_mv,
            }) => Heard::Reading {
                state,
                setpoint,
                current_ma,
                register_wh,
                soc_percent,
                temperature_mc,
                voltage_mv,
            },
            Self::Confirmed(number) => Heard::Confirmed(number),
            Self::Refused(number, reason) => Heard::Refused { number, reason },
            Self::Online(online) => Heard::Online(online),
            Self::Stay(stay) => Heard::Stay(stay.map(SavedStay::load)),
            Self::Manual(manual) => {
                Heard::Manual(manual.map(|(current_ma, until_us)| Manual { current_ma, until_us }))
            }
            Self::Limit(by, limit) => Heard::Limit { by: by as usize, limit: limit.map(Into::into) },
            Self::GridLimit(by, limit) => Heard::GridLimit { by: by as usize, limit },
            Self::Price(price) => Heard::Price(price),
            Self::Surplus(surplus) => Heard::Surplus(surplus),
        }
    }
}

impl SavedStay {
    pub(crate) fn of(stay: &Stay) -> Self {
        let Stay { id, user, arrived_us, departure_us, requested_wh, register_wh } = stay.clone();
        Self { id, user, arrived_us, departure_us, requested_wh, register_wh }
    }

    pub(crate) fn load(self) -> Stay {
        let Self { id, user, arrived_us, departure_us, requested_wh, register_wh } = self;
        Stay { id, user, arrived_us, departure_us, requested_wh, register_wh }
    }
}

impl From<Signalled> for SavedSignalled {
    fn from(signalled: Signalled) -> Self {
        let limit = match signalled.limit {
            Limit::Current(current) => SavedLimit::Current(current),
            Limit::Power(power) => SavedLimit::Power(power),
        };
        Self { limit, until_us: signalled.until_us }
    }
}

impl From<SavedSignalled> for Signalled {
    fn from(saved: SavedSignalled) -> Self {
        let limit = match saved.limit {
            SavedLimit::Current(current) => Limit::Current(current),
            SavedLimit::Power(power) => Limit::Power(power),
        };
        Self { limit, until_us: saved.until_us }
    }
}
