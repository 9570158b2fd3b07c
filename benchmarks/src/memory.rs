//! What an edge takes of memory at most, with few devices and with many.
//!
//! The broker is outside, the policy (`fair-share`, the default) is loaded and asked every second for every charger, and each
//! device sends a reading a second, for a while that is long enough to seal, to checkpoint and to fill every queue
//! as far as it gets. `VmHWM` is the most that the process ever had in memory.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::load::edge::Uses;
use crate::load::publish::device;
use crate::load::{Broker, BrokerKind, Edge, SITE, Worker};
use crate::report::Report;

/// How many devices, how many on one site, and the limit in MB.
const CASES: [(usize, usize, f64); 2] = [(64, 64, 64.0), (10_000, 200, 300.0)];
/// How long it runs.
const RUNS: Duration = Duration::from_secs(25);

/// Measures.
///
/// # Errors
/// When something doesn't start, or the edge takes nothing.
pub fn measure(report: &mut Report) -> Result<()> {
    for (devices, per_site, limit) in CASES {
        let broker = Broker::start(BrokerKind::Mosquitto, &[])?;
        let sites: Vec<String> = (0..devices.div_ceil(per_site))
            .map(|n| site(n, n * per_site..((n + 1) * per_site).min(devices)))
            .collect();
        let edge = Edge::start(Uses::External(broker.port()), &sites, &[])?;
        let arguments = [
            format!("--port={}", broker.port()),
            format!("--rate={devices}"),
            format!("--devices={devices}"),
            format!("--per-site={per_site}"),
        ];
        let publishers = Worker::start("publish", &arguments)?;
        std::thread::sleep(RUNS);
        let taken = edge.metric("wattle_edge_readings_total")?;
        drop(publishers);
        ensure!(taken as f64 > devices as f64 * 10.0, "the edge took only {taken} readings: {}", edge.log());
        ensure!(edge.is_decided_by("fair-share")?, "the policy isn't loaded: {}", edge.log());
        let peak = edge.process().peak_memory_mb().context("the edge has ended")?;
        report.add("memory", format!("an edge with {devices} devices"), (peak, "MB VmHWM"), ("limit", limit));
    }
    Ok(())
}

fn site(n: usize, devices: std::ops::Range<usize>) -> String {
    let mut site = format!("id = '{SITE}-{n}'\n[[circuits]]\nid = 'grid'\nlimit_a = 10000\n");
    for n in devices {
        site.push_str(&format!(
            "[[chargers]]\nid = '{}'\ncircuit = 'grid'\nphases = ['L{}']\nmax_a = 16\nsafe_a = 16\n",
            device(n),
            n % 3 + 1
        ));
    }
    site
}
