//! A site as its edge knows it.

use std::collections::BTreeMap;

use wattle_edge::restore::Machines;
use wattle_edge_core::{Charger, Circuit, Control, DeviceMachine, LocalTime, Meter, PeerMachine, SiteModel};
use wattle_wire::{CircuitId, DeviceId, Milliamps, Millis, PerPhase, Phase, SiteId};

use crate::plan::Plan;

/// A meter and some chargers on one circuit of one phase.
pub struct Site {
    /// What the machine runs on.
    pub model: SiteModel,
    /// The devices, by their order on the site: the meter first.
    pub devices: Vec<DeviceId>,
    /// The index in the world of the first.
    pub first_device: usize,
}

impl Site {
    /// The site of the edge of this index.
    pub fn new(edge: usize, plan: &Plan) -> Self {
        let first_device = edge * plan.devices_of_a_site();
        let devices: Vec<_> = (0..plan.devices_of_a_site()).map(|i| device_id(first_device + i)).collect();
        let limit_ma = PerPhase([Milliamps::from_amps(30), Milliamps::ZERO, Milliamps::ZERO]);
        let grid = Circuit::new(CircuitId::new("grid").expect("a name"), None, limit_ma);
        let circuit = Circuit { fallback_ma: Milliamps::from_amps(6), ..grid };
        let charger =
            |id: &DeviceId| Charger { phases: Some(vec![Phase::L1]), ..Charger::new(id.clone(), 0) };
        let chargers = devices[1..].iter().map(charger);
        let model = SiteModel {
            id: SiteId::new(format!("site-{edge}")).expect("a name"),
            control: Control { interval_ms: Millis(plan.interval_ms), ..Control::default() },
            circuits: vec![circuit],
            meters: vec![Meter { id: devices[0].clone(), circuit: 0, lag_ms: Millis(0) }],
            chargers: chargers.collect(),
            users: Vec::new(),
            systems: Vec::new(),
            local_time: LocalTime::default(),
        };
        Self { model, devices, first_device }
    }

    /// The devices' machines, which know of nothing.
    pub fn machines(&self) -> Machines {
        let machine = |device: &DeviceId| {
            let part = self.model.part(device).expect("a device of the site");
            let machine = DeviceMachine::new(self.model.id.clone(), device.clone(), part);
            ((self.model.id.clone(), device.clone()), PeerMachine::Device(Box::new(machine)))
        };
        self.devices.iter().map(machine).collect::<BTreeMap<_, _>>()
    }
}

/// The name of the device of this index in the world.
pub fn device_id(index: usize) -> DeviceId {
    DeviceId::new(format!("device-{index}")).expect("a name")
}

/// The index in the world of the device of this name.
pub fn device_index(name: &str) -> Option<usize> {
    name.strip_prefix("device-")?.parse().ok()
}
