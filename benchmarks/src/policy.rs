//! One decision of a policy, as the edge makes it: the snapshot turned into the guest's types, a fresh instance, the call, the
//! plan checked. Beside the median of `decide` with as many chargers, of which it is a part.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wattle_policy_host::{Host, Limits, Policy};
use wattle_wire::message::ChargerState;
use wattle_wire::policy::{Charger, Circuit, Session, Signals, Snapshot};
use wattle_wire::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, UserId, WattHours,
};

use crate::decide::Medians;
use crate::load::place::programs;
use crate::report::Report;
use crate::sample::{micros, percentile};

const CHARGERS: [usize; 4] = [0, 10, 100, 1000];
/// The default of a site, and the plainest.
const POLICIES: [&str; 2] = ["fair-share", "equal-share"];
/// Calls before any counts, and calls that count.
const WARM_UP: usize = 200;
const CALLS: usize = 2000;

/// Measures, beside the medians of `decide`.
///
/// # Errors
/// When a policy isn't there, or fails.
pub fn measure(report: &mut Report, decided: Option<Medians>) -> Result<()> {
    for name in POLICIES {
        let policy = load(name)?;
        for chargers in CHARGERS {
            let (call, fuel) = call(&policy, chargers)?;
            let peer = match (decided, chargers) {
                (Some(medians), 10) => Some(("three", medians.small)),
                (Some(medians), 100) => Some(("as many", medians.large)),
                _ => None,
            };
            let against = match peer {
                Some((who, median)) => {
                    (format!("decide's p50 with {who}, {:.0}", micros(median)), micros(median))
                }
                None => (String::new(), 0.0),
            };
            let case = format!("{name}, {chargers} chargers, p50, {fuel} units of fuel");
            report.add("policy", case, (micros(call), "us"), against);
            if let (Some(medians), 100) = (decided, chargers) {
                let first = micros(medians.large_first);
                let case = format!("{name}, 100 chargers, the same");
                let against = (format!("p50 of the first of them to hear, {first:.0}"), first);
                report.add("policy", case, (micros(call), "us"), against);
            }
        }
    }
    Ok(())
}

/// The median of a call, and its fuel.
fn call(policy: &Policy, chargers: usize) -> Result<(Duration, u64)> {
    let snapshot = snapshot(chargers)?;
    let mut fuel = 0;
    for _ in 0..WARM_UP {
        fuel = policy.decide(&snapshot, "{}", &[])?.fuel;
    }
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        std::hint::black_box(policy.decide(&snapshot, "{}", &[])?);
        calls.push(started.elapsed());
    }
    Ok((percentile(&mut calls, 50), fuel))
}

fn load(name: &str) -> Result<Policy> {
    let folder = match std::env::var_os("WATTLE_POLICIES") {
        Some(folder) => PathBuf::from(folder),
        None => programs()?.join("../policies"),
    };
    let path = folder.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path)
        .with_context(|| format!("can't read {}; run `make policies`", path.display()))?;
    // A call that the machine lets wait is slow, and no failure.
    Ok(Host::new(Limits { deadline: Duration::from_secs(10), ..Limits::default() })?.load(&bytes)?)
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
