//! Prints what loading and deciding cost: `cargo run -p wattle-policy-host --example measure [COMPONENT.wasm]`.

use std::time::{Duration, Instant};

use wattle_policy_host::{Cache, Host, Limits};
use wattle_wire::Milliamps;

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
    println!("chargers  p50 us  p99 us      fuel");
    for chargers in [1, 10, 100, 1000] {
        let snapshot = common::snapshot(chargers, Milliamps::from_amps(chargers as i32 * 4));
        let mut times = Vec::new();
        let mut fuel = 0;
        for _ in 0..1000 {
            let start = Instant::now();
            fuel = policy.decide(&snapshot, "", &[])?.fuel;
            times.push(start.elapsed().as_micros());
        }
        times.sort_unstable();
        println!("{chargers:8}  {:6}  {:6}  {fuel:8}", times[500], times[990]);
    }
    Ok(())
}
