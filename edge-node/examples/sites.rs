//! Prints the memory that sites add to a node, and what loading their policies takes:
//! `cargo run -p wattle-edge --example sites [SITES] [CHARGERS]`.
//!
//! Each site has the machine that decides and the policy `equal-share`, and has decided ten times with a vehicle at
//! each charger. Broker, journal and devices are left out.

use std::time::Instant;

use wattle_edge::policy::{self, SitePolicy};
use wattle_edge::site_model;
use wattle_edge_core::{Heard, Part, SiteInput, SiteMachine};
use wattle_policy_host::{Host, Limits};
use wattle_site::SiteFile;
use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::row::Cause;
use wattle_wire::{Micros, Milliamps};

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let sites = numbers.next().transpose()?.unwrap_or(1000);
    let chargers = numbers.next().transpose()?.unwrap_or(10);
    let host = Host::new(Limits::default())?;
    let folder = policy::folder(None);
    // What the first site costs is the node's; the others add to it.
    let first = site(&host, &folder, 0, chargers)?;
    let (before, started) = (resident_kib()?, Instant::now());
    let others =
        (1..=sites).map(|n| site(&host, &folder, n, chargers)).collect::<anyhow::Result<Vec<_>>>()?;
    let (took, after) = (started.elapsed(), resident_kib()?);
    let loads = host.loads();
    println!(
        "{sites} sites of {chargers} chargers: {} MiB more, in {took:?}; compiled {}, shared {}",
        (after - before) / 1024,
        loads.compiled,
        loads.shared
    );
    drop((first, others));
    Ok(())
}

fn site(
    host: &Host,
    folder: &std::path::Path,
    n: usize,
    chargers: usize,
) -> anyhow::Result<(SiteMachine, SitePolicy)> {
    let mut text = format!("id = 'site-{n}'\n[[circuits]]\nid = 'grid'\nlimit_a = {}\n", 10 * chargers);
    for charger in 0..chargers {
        text.push_str(&format!("[[chargers]]\nid = 'cp-{n}-{charger}'\ncircuit = 'grid'\nphases = ['L1']\n"));
    }
    let file = SiteFile::parse("site.toml", &text)?;
    let mut now = Micros::from_secs(1_000);
    let mut machine = SiteMachine::new(site_model(&file), 1, now)?;
    let mut policy = SitePolicy::load(host, folder, &file.control);
    for _ in 0..10 {
        now += Micros::from_secs(1);
        for charger in 0..chargers {
            let heard = Heard::Reading {
                state: Some(ChargerState::Charging),
                setpoint: None,
                current_ma: Some(Phases::new(&[Milliamps(6_000)])),
                register_wh: None,
                soc_percent: None,
                temperature_mc: None,
                voltage_mv: None,
            };
            machine.handle(SiteInput { part: Part::Charger(charger), seen: None, heard }, now);
        }
        let snapshot = machine.begin_decision(now, Cause::Interval);
        let proposal = policy.propose(&snapshot, machine.policy_state());
        anyhow::ensure!(proposal.plan.is_ok(), "{:?}; run `make policies`", proposal.plan);
        machine.finish_decision(proposal, now);
    }
    Ok((machine, policy))
}

/// What of this process is in memory.
fn resident_kib() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| anyhow::anyhow!("no VmRSS"))?.parse()?)
}
