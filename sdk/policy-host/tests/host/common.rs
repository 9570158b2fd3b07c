//! Components and snapshots for the host's tests.

use std::path::PathBuf;

use wattle_policy_host::{Host, Limits, Policy};
use wattle_wire::message::ChargerState;
use wattle_wire::policy::{Charger, Circuit, Session, Signals, Snapshot};
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, UserId, WattHours,
};

/// The bytes of a component that `make policies` has built.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into());
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make policies`", path.display()))
}

/// The hostile guest of another version, which has as many letters as its own.
pub fn hostile(version: &str) -> Vec<u8> {
    let (own, mut bytes) = (b"1.0.0-hostile", component("hostile"));
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(own)).collect();
    assert_eq!((places.len(), version.len()), (1, own.len()), "its version stands in one place");
    bytes[places[0]..places[0] + own.len()].copy_from_slice(version.as_bytes());
    bytes
}

pub fn host() -> Host {
    // Generous, so that a machine under load doesn't turn a slow test into a failed one.
    let deadline = std::time::Duration::from_secs(20);
    Host::new(Limits { deadline, ..Limits::default() }).expect("this machine runs the runtime")
}

pub fn load(name: &str) -> Policy {
    host().load(&component(name)).expect("a sound component")
}

/// A site of one circuit with `chargers` chargers, spread over the phases, each with a vehicle that asks.
pub fn snapshot(chargers: usize, available: Milliamps) -> Snapshot {
    let circuit = Circuit {
        id: CircuitId::new("grid").expect("a name"),
        parent: None,
        limit_ma: PerPhase::all(available + Milliamps::from_amps(5)),
        available_ma: PerPhase::all(available),
        uncontrolled_ma: PerPhase::all(Milliamps::from_amps(5)),
        stale: false,
    };
    Snapshot {
        site: SiteId::new("depot").expect("a name"),
        now_us: Micros::from_secs(1_700_000_000),
        interval_ms: Millis(1000),
        circuits: vec![circuit],
        chargers: (0..chargers).map(charger).collect(),
        signals: Signals::default(),
    }
}

fn charger(n: usize) -> Charger {
    Charger {
        id: DeviceId::new(format!("charger-{n}")).expect("a name"),
        circuit: 0,
        phases: vec![Phase::ALL[n % 3]],
        state: ChargerState::Charging,
        online: true,
        min_ma: Milliamps::from_amps(6),
        max_ma: Milliamps::from_amps(32),
        step_ma: Milliamps::from_amps(1),
        safe_ma: Milliamps::ZERO,
        setpoint_ma: Milliamps::from_amps(8),
        draw_ma: PerPhase::all(Milliamps(7_950)),
        priority: 0,
        session: Some(Session {
            id: SessionId::new(format!("charger-{n}-1-17")).expect("a name"),
            user: Some(UserId::new("user").expect("a name")),
            arrived_us: Micros::from_secs(1_699_990_000),
            departure_us: Some(Micros::from_secs(1_700_010_000)),
            requested_wh: Some(WattHours(20_000)),
            needed_wh: Some(WattHours(12_345)),
            delivered_wh: WattHours(7_655),
            soc_percent: Some(48),
        }),
    }
}
