//! The simulated world around a device: relay, vehicle and sensors of a charger; a home and the cable of a meter.
//!
//! Noise is part of what happens, not of the measuring: a vehicle draws up to `noise_ma` less than it may, a home
//! up to `noise_ma` less than it is told, the voltage wanders by `noise_mv` to either side. So what a charger
//! measures is what its meter sees, and a limit is never exceeded by noise alone.

use std::collections::BTreeMap;

use rand::Rng;
use serde_json::json;
use wattle_device_core::Measurement;
use wattle_device_core::plant::Vehicle;
use wattle_wire::message::Phases;
use wattle_wire::{DeviceId, Milliamps, Millivolts, Phase};

use crate::cable::{ChargerEnd, Draw};

const MICROJOULES_PER_WATT_HOUR: u64 = 3_600_000_000;

/// What is the same for every simulated device.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The site's phases in the order in which the device is wired to them, one to three.
    pub phases: Vec<Phase>,
    /// Voltage to neutral.
    pub voltage_mv: Millivolts,
    /// The most that a current lies below what it could be.
    pub noise_ma: i32,
    /// The most that a voltage lies beside [`Surroundings::voltage_mv`].
    pub noise_mv: i32,
}

impl Surroundings {
    fn voltage(&self) -> Millivolts {
        self.voltage_mv + Millivolts(rand::rng().random_range(-self.noise_mv..=self.noise_mv))
    }

    fn lowered(&self, current: Milliamps) -> Milliamps {
        if current <= Milliamps::ZERO {
            return current;
        }
        Milliamps((current.0 - rand::rng().random_range(0..=self.noise_ma)).max(0))
    }

    fn measurement(&self, currents: &[Milliamps]) -> Measurement {
        let voltages: Vec<Millivolts> = currents.iter().map(|_| self.voltage()).collect();
        let power =
            currents.iter().zip(&voltages).map(|(a, v)| i64::from(a.0) * i64::from(v.0)).sum::<i64>() / 1000;
        Measurement {
            current_ma: Some(Phases::new(currents)),
            voltage_mv: Some(Phases::new(&voltages)),
            power_mw: power,
            ..Measurement::default()
        }
    }
}

/// A charger's world.
#[derive(Debug)]
pub struct ChargerWorld {
    around: Surroundings,
    device: DeviceId,
    cable: Option<ChargerEnd>,
    vehicle: Option<Vehicle>,
    vehicle_max_ma: Milliamps,
    limit_ma: Milliamps,
    power_mw: i64,
    sampled_ms: u64,
    on_site_ma: [Milliamps; 3],
}

impl ChargerWorld {
    /// No vehicle, relay open.
    pub fn new(
        around: Surroundings,
        device: DeviceId,
        cable: Option<ChargerEnd>,
        vehicle_max_ma: Milliamps,
    ) -> Self {
        Self {
            around,
            device,
            cable,
            vehicle: None,
            vehicle_max_ma,
            limit_ma: Milliamps::ZERO,
            power_mw: 0,
            sampled_ms: 0,
            on_site_ma: [Milliamps::ZERO; 3],
        }
    }

    /// A vehicle is plugged in or leaves.
    pub fn plug(&mut self, plugged: bool) {
        let phases = self.around.phases.len() as u8;
        self.vehicle = plugged.then(|| Vehicle { phases, ..Vehicle::single_phase(self.vehicle_max_ma) });
    }

    /// The vehicle takes at most this.
    pub fn set_max(&mut self, max_ma: Milliamps) {
        self.vehicle_max_ma = max_ma;
        if let Some(vehicle) = &mut self.vehicle {
            vehicle.max_ma = max_ma;
        }
    }

    /// The vehicle takes this much more.
    pub fn set_need(&mut self, wh: u64) {
        if let Some(vehicle) = &mut self.vehicle {
            vehicle.need_uj = Some(wh.saturating_mul(MICROJOULES_PER_WATT_HOUR));
        }
    }

    /// The relay: the vehicle may draw this.
    pub fn set_limit(&mut self, limit_ma: Milliamps) {
        self.limit_ma = limit_ma;
    }

    /// Whether the vehicle has all that it needed.
    pub fn full(&self) -> bool {
        self.vehicle.is_some_and(|v| v.need_uj == Some(0) || v.full_in_ms(self.power_mw) == Some(0))
    }

    /// When the vehicle will be full if nothing changes.
    pub fn full_at_ms(&self) -> Option<u64> {
        self.vehicle.and_then(|v| v.full_in_ms(self.power_mw)).map(|length| self.sampled_ms + length)
    }

    /// Reads the sensors: from now on this is drawn.
    pub fn sample(&mut self, now_ms: u64) -> Measurement {
        let length = now_ms.saturating_sub(self.sampled_ms);
        self.sampled_ms = now_ms;
        let mut draw = Milliamps::ZERO;
        if let Some(vehicle) = &mut self.vehicle {
            vehicle.advance(self.power_mw, length);
            draw = vehicle.draw_ma(self.limit_ma);
        }
        let draw = self.around.lowered(draw);
        let measurement = self.around.measurement(&vec![draw; self.around.phases.len()]);
        self.power_mw = measurement.power_mw;
        self.on_site_ma = [Milliamps::ZERO; 3];
        for phase in &self.around.phases {
            self.on_site_ma[phase.index()] = draw;
        }
        self.tell();
        measurement
    }

    /// Tells the cable again what is drawn.
    pub fn tell(&self) {
        if let Some(cable) = &self.cable {
            cable.tell(&Draw { device: self.device.clone(), current_ma: self.on_site_ma });
        }
    }

    /// Whether there is a cable to tell.
    pub fn has_cable(&self) -> bool {
        self.cable.is_some()
    }

    /// What is drawn on L1, L2, L3.
    pub fn on_site_ma(&self) -> [Milliamps; 3] {
        self.on_site_ma
    }
}

/// A meter's world.
#[derive(Debug)]
pub struct MeterWorld {
    around: Surroundings,
    load_ma: [Milliamps; 3],
    home_ma: [Milliamps; 3],
    total_ma: [Milliamps; 3],
    chargers: BTreeMap<DeviceId, [Milliamps; 3]>,
}

impl MeterWorld {
    /// A home that draws this.
    pub fn new(around: Surroundings, load_ma: [Milliamps; 3]) -> Self {
        let zero = [Milliamps::ZERO; 3];
        Self { around, load_ma, home_ma: zero, total_ma: zero, chargers: BTreeMap::new() }
    }

    /// The home draws this from now on.
    pub fn set_load(&mut self, load_ma: [Milliamps; 3]) {
        self.load_ma = load_ma;
    }

    /// Reads the sensors.
    pub fn sample(&mut self, chargers: BTreeMap<DeviceId, [Milliamps; 3]>) -> Measurement {
        self.chargers = chargers;
        self.home_ma = self.load_ma.map(|load| self.around.lowered(load));
        self.total_ma = self
            .chargers
            .values()
            .fold(self.home_ma, |sum, draw| [sum[0] + draw[0], sum[1] + draw[1], sum[2] + draw[2]]);
        let seen: Vec<Milliamps> = self.around.phases.iter().map(|p| self.total_ma[p.index()]).collect();
        self.around.measurement(&seen)
    }

    /// What truly flows, for a checker.
    pub fn truth(&self) -> serde_json::Value {
        json!({"home_ma": self.home_ma, "chargers_ma": self.chargers, "total_ma": self.total_ma})
    }
}
