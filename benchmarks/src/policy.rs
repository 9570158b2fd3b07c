//! One decision of `equal-share`, as the edge makes it: the snapshot turned into the guest's types, a fresh instance,
//! the call, the plan checked. Beside the median of `decide`, of which it is a part.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wattle_policy_host::{Host, Limits, Policy};
use wattle_wire::message::ChargerState;
use wattle_wire::policy::{Charger, Circuit, Session, Signals, Snapshot};
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, UserId, WattHours,
};

use crate::load::place::programs;
use crate::report::Report;
use crate::sample::{micros, percentile};

const CHARGERS: [usize; 3] = [10, 100, 1000];
/// Calls before any counts, and calls that count.
const WARM_UP: usize = 200;
const CALLS: usize = 2000;

/// Measures, beside the median of `decide`.
///
/// # Errors
/// When the policy isn't there, or fails.
pub fn measure(report: &mut Report, decided: Duration) -> Result<()> {
    let policy = load()?;
    for chargers in CHARGERS {
        let snapshot = snapshot(chargers)?;
        for _ in 0..WARM_UP {
            policy.decide(&snapshot, "{}", &[])?;
        }
        let mut calls = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let started = Instant::now();
            std::hint::black_box(policy.decide(&snapshot, "{}", &[])?);
            calls.push(started.elapsed());
        }
        report.add(
            "policy",
            format!("{chargers} chargers, p50"),
            (micros(percentile(&mut calls, 50)), "us"),
            (format!("decide's p50, {:.0}", micros(decided)), micros(decided)),
        );
    }
    Ok(())
}

fn load() -> Result<Policy> {
    let folder = match std::env::var_os("WATTLE_POLICIES") {
        Some(folder) => PathBuf::from(folder),
        None => programs()?.join("../policies"),
    };
    let path = folder.join("equal-share.wasm");
    let bytes = std::fs::read(&path)
        .with_context(|| format!("can't read {}; run `make policies`", path.display()))?;
    Ok(Host::new(Limits::default())?.load(&bytes)?)
}

/// A site of one circuit with vehicles that ask at all chargers, which are spread over the phases, and share 8 A each.
fn snapshot(chargers: usize) -> Result<Snapshot> {
    let available = Milliamps::from_amps(8 * chargers.div_ceil(3) as i32);
    let uncontrolled = Milliamps::from_amps(5);
    Ok(Snapshot {
        site: SiteId::new("bench")?,
        now_us: Micros::from_secs(1_790_000_000),
        interval_ms: Millis(1000),
        circuits: vec![Circuit {
            id: CircuitId::new("grid")?,
            parent: None,
            limit_ma: PerPhase::all(available + uncontrolled),
            available_ma: PerPhase::all(available),
            uncontrolled_ma: PerPhase::all(uncontrolled),
            stale: false,
        }],
        chargers: (0..chargers).map(charger).collect::<Result<_>>()?,
        signals: Signals::default(),
    })
}

fn charger(n: usize) -> Result<Charger> {
    let id = DeviceId::new(format!("cp-{n:03}"))?;
    Ok(Charger {
        session: Some(Session {
            id: SessionId::new(format!("{id}-1-17"))?,
            user: Some(UserId::new(format!("user-{n}"))?),
            arrived_us: Micros::from_secs(1_789_990_000),
            departure_us: Some(Micros::from_secs(1_790_010_000)),
            requested_wh: Some(WattHours(20_000)),
            needed_wh: Some(WattHours(12_345)),
            delivered_wh: WattHours(7_655),
            soc_percent: Some(48),
        }),
        id,
        circuit: 0,
        phases: vec![Phase::ALL[n % 3]],
        state: ChargerState::Charging,
        online: true,
        min_ma: Milliamps::from_amps(6),
        max_ma: Milliamps::from_amps(32),
        step_ma: Milliamps::from_amps(1),
        safe_ma: Milliamps::ZERO,
        setpoint_ma: Milliamps::from_amps(9),
        draw_ma: PerPhase::all(Milliamps(8_950)),
        priority: 0,
    })
}
