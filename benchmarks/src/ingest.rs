//! Readings from the broker to the edge's disk, beside a client that only acknowledges them.
//!
//! First the rate *R* that the client can take from a broker; then the edge on the same kind of broker under the same
//! publishers, at shares of *R*: whether it keeps up, and what CPU time it takes over what the client takes at
//! the same rate. Once with the edge's own broker: then the broker's CPU time is counted, with the edge as with the
//! client. And once with Mosquitto, which is counted with neither.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::load::edge::Uses;
use crate::load::place::sync_times;
use crate::load::publish::{DEVICES, device};
use crate::load::worker::Tally;
use crate::load::{Broker, BrokerKind, Edge, SITE, Worker};
use crate::report::Report;
use crate::sample::percentile;

/// The shares of *R* at which the edge is looked at.
const SHARES: [f64; 2] = [0.5, 0.7];
/// What the broker sends an edge before it waits for an acknowledgement: 100 messages on each of eight lanes.
const WINDOWS: f64 = 800.0;
/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(1500);
/// How long the client is measured at a share, and the edge.
const CLIENT: Duration = Duration::from_secs(3);
const EDGE: Duration = Duration::from_secs(10);
/// The pause between two comparisons of what is published and journaled.
const LOOK: Duration = Duration::from_millis(300);
/// How long an edge may take to tell anew what is on its disk; it does every quarter of a second.
const TELL: Duration = Duration::from_secs(5);
/// How long whoever reads may take, once nothing is published any more, to take the rest.
const REST: Duration = Duration::from_secs(4);

/// Measures the edge with its own broker and with Mosquitto.
///
/// # Errors
/// When something doesn't start.
pub fn measure(report: &mut Report) -> Result<()> {
    for kind in [BrokerKind::Rumqttd, BrokerKind::Mosquitto] {
        let taken = capacity(kind)?;
        let name = kind.as_str();
        report.add(
            "ingest",
            format!("{name}: a client that only acknowledges takes (R)"),
            (taken.rate, "readings/s"),
            ("published meanwhile", taken.published),
        );
        if kind == BrokerKind::Rumqttd {
            let sync = percentile(&mut sync_times()?, 50).as_secs_f64();
            report.add(
                "ingest",
                format!("{name}: the lanes carry at one fsync ({:.1} ms) for each window", sync * 1e3),
                (WINDOWS / sync, "readings/s"),
                ("R", taken.rate),
            );
        }
        for share in SHARES {
            let rate = taken.rate * share;
            let client = client(kind, rate)?;
            let edge = match kind {
                BrokerKind::Rumqttd => edge(Uses::Embedded, rate)?,
                BrokerKind::Mosquitto => {
                    let broker = Broker::start(kind, &[])?;
                    edge(Uses::External(broker.port()), rate)?
                }
            };
            add(report, &format!("{name} at {:.0} % of R", share * 100.0), rate, edge, client);
        }
    }
    Ok(())
}

fn add(report: &mut Report, name: &str, rate: f64, edge: Kept, client_cpu: f64) {
    let case = |what: &str| format!("{name}: {what}");
    report.add("ingest", case("the edge journals"), (edge.rate, "readings/s"), ("offered", rate));
    report.add(
        "ingest",
        case("backlog grows by"),
        (edge.growth, "readings/s"),
        ("journaled meanwhile", edge.rate),
    );
    if edge.missing > 0.0 {
        report.add(
            "ingest",
            case("the broker let go, for devices to resend,"),
            (edge.missing, "readings"),
            ("published", edge.published),
        );
    }
    report.add(
        "ingest",
        case("CPU time per million readings"),
        (edge.cpu, "s"),
        (format!("the client's, {client_cpu:.2}"), client_cpu),
    );
}

/// The first rate that is tried, and by how much it grows as long as the client keeps up.
const FIRST_RATE: f64 = 15_000.0;
const GROWTH: f64 = 1.5;
/// The most steps up, and how often the rate between the last that held and the first that didn't is tried.
const CLIMBS: usize = 9;
const BISECTIONS: usize = 3;
/// How long a rate is tried, after a while that doesn't count.
const TRY_WARM_UP: Duration = Duration::from_millis(400);
const TRY: Duration = Duration::from_millis(1200);
/// The client keeps up when it takes this share of what is published, and that is this share of what was asked for.
const KEEPS_UP: f64 = 0.98;

/// What a client took at most.
#[derive(Clone, Copy, Default)]
struct Taken {
    rate: f64,
    published: f64,
}

/// The highest rate of the publishers at which the client keeps up. Publishers that aren't held back don't show
/// it: they keep the broker from its reader.
fn capacity(kind: BrokerKind) -> Result<Taken> {
    let (mut best, mut failed, mut rate) = (Taken::default(), None, FIRST_RATE);
    for _ in 0..CLIMBS {
        match attempt(kind, rate)? {
            Some(taken) => best = taken,
            None => {
                failed = Some(rate);
                break;
            }
        }
        rate *= GROWTH;
    }
    let Some(mut too_much) = failed else { return Ok(best) };
    ensure!(best.rate > 0.0, "a client on {} doesn't keep up with {FIRST_RATE} readings/s", kind.as_str());
    for _ in 0..BISECTIONS {
        let rate = (best.rate * too_much).sqrt();
        match attempt(kind, rate)? {
            Some(taken) => best = taken,
            None => too_much = rate,
        }
    }
    Ok(best)
}

/// Tries a rate; nothing when the client doesn't keep up.
fn attempt(kind: BrokerKind, rate: f64) -> Result<Option<Taken>> {
    let broker = Broker::start(kind, &[])?;
    let client = drain(broker.port())?;
    let publishers = publish(broker.port(), Some(rate))?;
    std::thread::sleep(TRY_WARM_UP);
    let before = (client.tally(), publishers.tally());
    std::thread::sleep(TRY);
    let taken = client.tally().rate_since(before.0);
    let published = publishers.tally().rate_since(before.1);
    let keeps_up = taken > KEEPS_UP * published && published > KEEPS_UP * rate;
    Ok(keeps_up.then_some(Taken { rate: taken.min(published), published }))
}

/// CPU seconds that the client takes per million readings at a rate; those of the broker are part of it where the
/// broker is part of the edge.
fn client(kind: BrokerKind, rate: f64) -> Result<f64> {
    let broker = Broker::start(kind, &[])?;
    let client = drain(broker.port())?;
    let _publishers = publish(broker.port(), Some(rate))?;
    std::thread::sleep(WARM_UP);
    let cpu =
        || client.process().cpu_seconds() + broker.process().map_or(0.0, |process| process.cpu_seconds());
    let before = (client.tally(), cpu());
    std::thread::sleep(CLIENT);
    let millions = client.tally().since(before.0) / 1e6;
    ensure!(millions > 0.0, "the client took nothing from {}", kind.as_str());
    Ok((cpu() - before.1) / millions)
}

/// How an edge kept up.
struct Kept {
    /// Readings journaled a second.
    rate: f64,
    /// By how many readings a second the backlog grew: the slope over all looks.
    growth: f64,
    /// CPU seconds per million readings.
    cpu: f64,
    /// Readings that the broker has taken, in all.
    published: f64,
    /// How many of them the edge never got: a broker with a bounded memory lets go of the oldest when its reader is far
    /// behind. Real devices send them again, as the edge has not acknowledged them.
    missing: f64,
}

fn edge(uses: Uses, rate: f64) -> Result<Kept> {
    let edge = Edge::start(uses, &[site()], &[])?;
    let publishers = publish(edge.mqtt_port(), Some(rate))?;
    std::thread::sleep(WARM_UP);
    let before = (durable(&edge)?, edge.process().family_cpu_seconds());
    let (mut backlog, started) = (Vec::new(), Instant::now());
    while started.elapsed() < EDGE {
        std::thread::sleep(LOOK);
        let journaled = durable(&edge)?.count as f64;
        backlog.push((started.elapsed().as_secs_f64(), publishers.tally().count as f64 - journaled));
    }
    let (journaled, cpu) = (durable(&edge)?, edge.process().family_cpu_seconds() - before.1);
    let published = publishers.finish()?.count;
    let journaled_at_last = || edge.metric("wattle_edge_readings_total").unwrap_or_default();
    // What the broker has let go never comes: then the time just passes.
    let _ = wattle_testkit::wait_for("the rest", REST, || (journaled_at_last() >= published).then_some(()));
    let missing = published.saturating_sub(journaled_at_last());
    Ok(Kept {
        rate: journaled.rate_since(before.0),
        growth: slope(&backlog),
        cpu: cpu / (journaled.since(before.0) / 1e6),
        published: published as f64,
        missing: missing as f64,
    })
}

/// What is on the edge's disk, at the moment at which it tells it anew: at any other the figure's age would look like a
/// backlog, and one that grows where that age does.
fn durable(edge: &Edge) -> Result<Tally> {
    let before = edge.durable()?;
    let told = || edge.durable().ok().filter(|count| *count != before);
    let count = wattle_testkit::wait_for("the edge to journal more", TELL, told)?;
    Ok(Tally { count, at_us: crate::load::worker::now_us() })
}

fn drain(port: u16) -> Result<Worker> {
    Worker::start("drain", &[format!("--port={port}")])
}

fn publish(port: u16, rate: Option<f64>) -> Result<Worker> {
    let mut arguments = vec![format!("--port={port}")];
    arguments.extend(rate.map(|rate| format!("--rate={rate}")));
    Worker::start("publish", &arguments)
}

/// Two hundred chargers whose vehicles draw their safe current, for which there is room: the edge decides for all of
/// them every second meanwhile, and nothing has to be lowered.
fn site() -> String {
    let mut site = format!("id = '{SITE}'\n[[circuits]]\nid = 'grid'\nlimit_a = 10000\n");
    for n in 0..DEVICES {
        site.push_str(&format!(
            "[[chargers]]\nid = '{}'\ncircuit = 'grid'\nphases = ['L{}']\nmax_a = 16\nsafe_a = 16\n",
            device(n),
            n % 3 + 1
        ));
    }
    site
}

/// The slope of the straight line that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let joint: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    if spread == 0.0 { 0.0 } else { joint / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_stays_has_no_slope_and_one_that_grows_has() {
        assert_eq!(slope(&[(0.0, 5000.0), (1.0, 5000.0), (2.0, 5000.0)]), 0.0);
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 300.0), (2.0, 600.0)]), 300.0);
        assert_eq!(slope(&[]), 0.0);
    }
}
