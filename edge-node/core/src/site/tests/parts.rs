//! What sites and messages are made of in tests.

use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::policy::Plan;
use wattle_wire::{CircuitId, DeviceId, Milliamps, Millis, PerPhase, Phase, SiteId};

use super::super::*;

pub(super) fn amps(amps: f64) -> Milliamps {
    Milliamps((amps * 1000.0).round() as i32)
}

pub(super) fn charger(name: &str) -> Charger {
    Charger {
        id: DeviceId::new(name).expect("name"),
        circuit: 0,
        phases: Some(vec![Phase::L1]),
        min_ma: Milliamps::from_amps(6),
        max_ma: Milliamps::from_amps(32),
        step_ma: Milliamps::from_amps(1),
        safe_ma: Milliamps::ZERO,
        priority: 0,
        timer: Vec::new(),
        manual_ma: None,
    }
}

pub(super) fn circuit(name: &str, parent: Option<usize>, limit: f64) -> Circuit {
    Circuit {
        id: CircuitId::new(name).expect("name"),
        parent,
        limit_ma: PerPhase::all(amps(limit)),
        margin_ma: Milliamps::ZERO,
        fallback_ma: amps(6.0),
        generation: false,
        schedule: Vec::new(),
    }
}

pub(super) fn meter(name: &str, circuit: usize) -> Meter {
    Meter { id: DeviceId::new(name).expect("name"), circuit }
}

pub(super) fn control() -> Control {
    Control {
        interval_ms: Millis(200),
        validity_ms: Millis(2_000),
        raise_delay_ms: Millis(0),
        meter_stale_ms: Millis(2_000),
        ..Control::default()
    }
}

/// One metered circuit with chargers on L1.
pub(super) fn model(limit: f64, chargers: &[&str]) -> SiteModel {
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control: control(),
        circuits: vec![circuit("grid", None, limit)],
        meters: vec![meter("meter", 0)],
        chargers: chargers.iter().map(|name| charger(name)).collect(),
        users: Vec::new(),
        local_time: LocalTime::default(),
    }
}

pub(super) fn input(part: Part, heard: Heard) -> SiteInput {
    SiteInput { part, seen: None, heard }
}

pub(super) fn reading(
    part: Part,
    state: Option<ChargerState>,
    setpoint: Option<u64>,
    currents: &[Milliamps],
) -> SiteInput {
    let current_ma = Some(Phases::new(currents));
    input(
        part,
        Heard::Reading {
            state,
            setpoint,
            current_ma,
            register_wh: None,
            soc_percent: None,
            temperature_mc: None,
        },
    )
}

pub(super) fn proposal(plan: Result<Plan, String>) -> Proposal {
    Proposal { plan, policy: "equal-share 1".into(), policy_digest: 1, settings_digest: 2, fuel: 3 }
}
