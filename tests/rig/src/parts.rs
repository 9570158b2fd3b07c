//! What sites and messages are made of in tests.

use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::policy::Plan;
use wattle_wire::{CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SiteId};

use wattle_edge_core::*;

/// Amperes, to a thousandth.
pub fn amps(amps: f64) -> Milliamps {
    Milliamps((amps * 1000.0).round() as i32)
}

/// A charger on L1 of the first circuit, 6 to 32 A.
pub fn charger(name: &str) -> Charger {
    Charger { phases: Some(vec![Phase::L1]), ..Charger::new(DeviceId::new(name).expect("name"), 0) }
}

/// A circuit with the same limit on each phase, and a fallback of 6 A.
pub fn circuit(name: &str, parent: Option<usize>, limit: f64) -> Circuit {
    let id = CircuitId::new(name).expect("name");
    Circuit { fallback_ma: amps(6.0), ..Circuit::new(id, parent, PerPhase::all(amps(limit))) }
}

/// A meter of a circuit.
pub fn meter(name: &str, circuit: usize) -> Meter {
    Meter { id: DeviceId::new(name).expect("name"), circuit, lag_ms: Millis(0) }
}

/// An interval of 200 ms, and all that depends on it; nobody rests or waits for more room than its minimum.
pub fn control() -> Control {
    Control {
        interval_ms: Millis(200),
        validity_ms: Millis(2_000),
        raise_delay_ms: Millis(0),
        meter_stale_ms: Millis(2_000),
        resume_room_ma: Milliamps::ZERO,
        least_off_ms: Millis(0),
        ..Control::default()
    }
}

/// One metered circuit with chargers on L1.
pub fn model(limit: f64, chargers: &[&str]) -> SiteModel {
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control: control(),
        circuits: vec![circuit("grid", None, limit)],
        meters: vec![meter("meter", 0)],
        chargers: chargers.iter().map(|name| charger(name)).collect(),
        users: Vec::new(),
        systems: Vec::new(),
        local_time: LocalTime::default(),
    }
}

/// A current by hand, until it is taken back.
pub fn manual(current: f64) -> Manual {
    Manual { current_ma: amps(current), until_us: None }
}

/// A stay, of a user or of somebody unknown.
pub fn stay(user: Option<&str>) -> Heard {
    Heard::Stay(Some(Stay {
        id: "s-1".parse().expect("name"),
        user: user.map(|user| user.parse().expect("name")),
        arrived_us: Micros::ZERO,
        departure_us: None,
        requested_wh: None,
        register_wh: None,
    }))
}

/// An input without a number.
pub fn input(part: Part, heard: Heard) -> SiteInput {
    SiteInput { part, seen: None, heard }
}

/// A reading of a device.
pub fn reading(
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
            voltage_mv: None,
        },
    )
}

/// A proposal of a policy with made-up digests.
pub fn proposal(plan: Result<Plan, String>) -> Proposal {
    Proposal { plan, policy: "equal-share 1".into(), policy_digest: 1, settings_digest: 2, fuel: 3 }
}
