//! Prints what loading and deciding cost: `cargo run -p wattle-policy-host --example measure [COMPONENT.wasm [SETTINGS]]`.
//!
//! Every vehicle asks; the snapshot has 96 prices and a surplus. The chargers hang on one circuit, those of the last row on boards of 50
//! behind it.

use std::time::{Duration, Instant};

use wattle_policy_host::{Cache, Host, Limits, Policy};
use wattle_wire::policy::{Circuit, Series, Signals, Snapshot};
use wattle_wire::{CircuitId, Milliamps, Millis, PerPhase};

#[path = "../tests/host/common.rs"]
#[allow(dead_code)]
mod common;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bytes = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => common::component("equal-share"),
    };
    let host = Host::new(Limits { deadline: Duration::from_secs(5), ..Limits::default() })?;
    let start = Instant::now();
    let policy = host.load(&bytes)?;
    println!(
        "{} {}: {} bytes, loaded in {:?}",
        policy.name(),
        policy.version(),
        bytes.len(),
        start.elapsed()
    );
    let folder = std::env::temp_dir().join(format!("wattle-measure-{}", std::process::id()));
    let cached =
        || Ok::<_, Box<dyn std::error::Error>>(Host::with_cache(Limits::default(), Cache::open(&folder)?)?);
    cached()?.load(&bytes)?;
    let (other, start) = (cached()?, Instant::now());
    let _loaded = other.load(&bytes)?;
    println!("loaded from the disk in {:?}", start.elapsed());
    let start = Instant::now();
    other.load(&bytes)?;
    println!("loaded once more in {:?}", start.elapsed());
    std::fs::remove_dir_all(&folder)?;
    let settings = std::env::args().nth(2).unwrap_or_default();
    println!("chargers             p50 us  p99 us      fuel");
    for chargers in [1, 10, 100, 1000] {
        row(&policy, &settings, &site(chargers), "")?;
    }
    row(&policy, &settings, &on_boards(site(1000)), " on boards")
}

/// Decides a thousand times, each time from nothing, and prints how long that took.
fn row(
    policy: &Policy,
    settings: &str,
    site: &Snapshot,
    place: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    let mut fuel = 0;
    for _ in 0..1000 {
        let start = Instant::now();
        fuel = policy.decide(site, settings, &[])?.fuel;
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    let chargers = format!("{}{place}", site.chargers.len());
    println!("{chargers:<19}  {:6}  {:6}  {fuel:8}", times[500], times[990]);
    Ok(())
}

/// A site with 4 A for each charger, prices and a surplus.
fn site(chargers: usize) -> Snapshot {
    let mut site = common::snapshot(chargers, Milliamps::from_amps(chargers as i32 * 4));
    let quarters = |values: Vec<i64>| Series { start_us: site.now_us, step_ms: Millis(900_000), values };
    let prices = (0..96).map(|quarter| 100_000 + quarter * 7_919 % 96 * 3_000).collect();
    let surplus = quarters(vec![chargers as i64 * 1_000]);
    site.signals = Signals { price: Some(quarters(prices)), surplus_w: Some(surplus), ..Signals::default() };
    site
}

/// The same with boards of 50 chargers, which have 4 A for each of them too.
fn on_boards(mut site: Snapshot) -> Snapshot {
    for (n, charger) in site.chargers.iter_mut().enumerate() {
        charger.circuit = 1 + n as u32 / 50;
    }
    let current = PerPhase::all(Milliamps::from_amps(50 * 4));
    let board = |n: usize| Circuit {
        id: CircuitId::new(format!("board-{n}")).expect("a name"),
        parent: Some(0),
        limit_ma: current,
        available_ma: current,
        uncontrolled_ma: PerPhase::all(Milliamps::ZERO),
        stale: false,
    };
    site.circuits.extend((0..site.chargers.len().div_ceil(50)).map(board));
    site
}
