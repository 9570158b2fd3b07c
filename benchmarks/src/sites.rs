//! The memory that 1,000 sites add to a node: the program that people run, broker outside, policy loaded.
//!
//! The same node once with one site and once with 1,001 of the same size. At each charger stands a vehicle that charges, has a
//! session, and measures often enough to fill everything that the site's machine keeps of a charger ([`ROUNDS`] readings, spaced as
//! the machine keeps them apart); once also as often as fills what the device's own machine keeps ([`ALL_ROUNDS`]). A round begins when the node
//! has taken the one before it: publishers that aren't held back would fill the broker instead. Then nobody says anything for a
//! while, and the process is asked what it has in memory (`VmRSS`) and had at most (`VmHWM`, with what was on its way to
//! the journal meanwhile).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};

use crate::load::edge::Uses;
use crate::load::publish::users;
use crate::load::{Broker, BrokerKind, Edge, PASSWORD};
use crate::report::Report;

const SITES: usize = 1_000;
/// Chargers of each site, and readings of each charger.
const SIZES: [(usize, u64); 4] = [(HELD, ROUNDS), (HELD, ALL_ROUNDS), (20, ROUNDS), (100, ROUNDS)];
/// The size of a site that the aim is held against. A node is meant for up to 10,000 devices, so a thousand sites on one are
/// small ones; with 20 chargers each they would be 20,000 devices, of which each has a state of its own, whatever its site is.
const HELD: usize = 4;
/// What 1,000 sites may add.
const AIM_MIB: f64 = 64.0 * 1e6 / (1 << 20) as f64;
/// Readings of each charger: as many, this far apart, as the site's machine keeps bounds of.
const ROUNDS: u64 = 26;
const SPACING: Duration = Duration::from_millis(550);
/// More than the device's machine keeps digests of. Those before the last [`ROUNDS`] follow on each other at once.
const ALL_ROUNDS: u64 = 280;
/// For how long nobody says anything before the process is looked at.
const QUIET: Duration = Duration::from_secs(8);
/// How long the node may take for a round.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// Messages that the publisher has sent and the broker hasn't acknowledged.
const WINDOW: usize = 1_000;

/// What a process has in memory, MiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    now: f64,
    most: f64,
}

/// Measures each size.
///
/// # Errors
/// When something doesn't start, or the readings don't arrive.
pub fn measure(report: &mut Report) -> Result<()> {
    for (chargers, rounds) in SIZES {
        let (one, many) = (memory(1, chargers, rounds)?, memory(1 + SITES, chargers, rounds)?);
        let aim = if chargers == HELD { ("the aim, 61.0 MiB (64 MB)", AIM_MIB) } else { ("", 0.0) };
        let case = |what| format!("{SITES} sites of {chargers} chargers, {rounds} readings each, add {what}");
        report.add("sites", case("now"), (many.now - one.now, "MiB"), aim);
        report.add("sites", case("at most"), (many.most - one.most, "MiB"), aim);
        let each = (many.now - one.now) * 1024.0 / (SITES * chargers) as f64;
        report.add(
            "sites",
            format!("the same, for each charger, {chargers} a site"),
            (each, "KiB"),
            ("", 0.0),
        );
    }
    Ok(())
}

fn site(n: usize, chargers: usize) -> String {
    let mut text = format!(
        "id = 'site-{n}'\n[control]\ninterval_ms = 10000\nvalidity_ms = 60000\nmeter_stale_ms = 60000\n\
         [[circuits]]\nid = 'grid'\nlimit_a = {}\n",
        10 * chargers
    );
    for charger in 0..chargers {
        text.push_str(&format!("[[chargers]]\nid = 'cp-{n}-{charger}'\ncircuit = 'grid'\nphases = ['L1']\n"));
    }
    text
}

fn memory(sites: usize, chargers: usize, rounds: u64) -> Result<Memory> {
    let broker = Broker::start(BrokerKind::Mosquitto, &[])?;
    let files: Vec<String> = (0..sites).map(|n| site(n, chargers)).collect();
    let edge = Edge::start(Uses::External(broker.port()), &files, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (taken, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Who doesn't answer has taken no more.
                taken.fetch_max(edge.metric("wattle_edge_readings_total").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        let told = runtime.block_on(tell(broker.port(), (sites, chargers, rounds), &taken));
        over.store(true, Ordering::Relaxed);
        told
    });
    told.with_context(|| format!("the edge says: {}", edge.log()))?;
    std::thread::sleep(QUIET);
    read(edge.process().0)
}

/// Has every charger announce itself, begin a session and measure.
async fn tell(port: u16, (sites, chargers, rounds): (usize, usize, u64), taken: &AtomicU64) -> Result<()> {
    let user = users().next().context("there are publishers")?;
    let mut options = MqttOptions::new(&user, "127.0.0.1", port);
    options.set_credentials(&user, PASSWORD).set_inflight(WINDOW as u16);
    let (client, mut line) = AsyncClient::new(options, WINDOW);
    let (all, acknowledged) = (sites * chargers * (rounds as usize + 2), AtomicUsize::new(0));
    let publish = async {
        for round in 0..rounds + 2 {
            let started = Instant::now();
            for device in 0..sites * chargers {
                let (site, charger) = (device / chargers, device % chargers);
                let (channel, payload) = message(round, site, charger);
                let topic = format!("wattle/v1/site-{site}/cp-{site}-{charger}/{channel}");
                client.publish(topic, QoS::AtLeastOnce, false, payload).await?;
            }
            let told = (sites * chargers) as u64 * (round + 1).saturating_sub(2);
            while taken.load(Ordering::Relaxed) < told {
                ensure!(
                    started.elapsed() < LIMIT,
                    "only {} of {told} are taken",
                    taken.load(Ordering::Relaxed)
                );
                tokio::time::sleep(LOOK).await;
            }
            if round + ROUNDS > rounds {
                tokio::time::sleep(SPACING.saturating_sub(started.elapsed())).await;
            }
        }
        anyhow::Ok(())
    };
    let listen = async {
        while acknowledged.load(Ordering::Relaxed) < all {
            match line.poll().await? {
                Event::Incoming(Packet::PubAck(_)) => {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Event::Outgoing(Outgoing::Disconnect) => anyhow::bail!("the publisher was sent away"),
                _ => {}
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(publish, listen)?;
    Ok(())
}

/// What a charger says in a round: that it is there, that a vehicle has come, then a reading each time.
fn message(round: u64, site: usize, charger: usize) -> (&'static str, String) {
    let at_us = crate::load::worker::now_us();
    let draw_ma = 5_950 + (round * 7 + charger as u64) % 100;
    match round {
        0 => ("announce", r#"{"kind":"charger","boot":1}"#.into()),
        1 => (
            "session",
            format!(
                r#"{{"boot":1,"seq":1,"at_us":{at_us},"session":"s-{site}-{charger}","step":"start","user":"user-{charger}","register_wh":0}}"#
            ),
        ),
        round => (
            "reading",
            format!(
                r#"{{"boot":1,"seq":{round},"at_us":{at_us},"state":"charging","current_ma":[{draw_ma}],"register_wh":{round}}}"#
            ),
        ),
    }
}

fn read(process: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} of {process}"))
    };
    Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
}
