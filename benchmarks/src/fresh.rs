//! From a device's measurement to the answer of a query that shows it: the whole line with every setting at its default,
//! direct and through Apache Kafka.
//!
//! A site of 66 devices measures once a second. Meanwhile a client asks the fog node over Flight SQL, again and again, for the
//! readings that it hasn't seen; a reading's age is the time from its device's stamp until the answer that has it was read whole.
//! All processes are on one machine and have one clock.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arrow::array::AsArray as _;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use wattle_client::Client;
use wattle_testkit::{Kafka, Process, free_port};

use crate::load::edge::Uses;
use crate::load::publish::device;
use crate::load::{Broker, BrokerKind, Edge, Place, SITE, Worker, place, worker};
use crate::report::Report;
use crate::sample::percentile;

/// Devices, and readings a second.
const DEVICES: usize = 66;
/// How long they measure.
const RUNS: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// After how long data has to be queryable, seconds.
const LIMIT: f64 = 10.0;
/// How long a node may take to start.
const START: Duration = Duration::from_secs(60);

/// Measures both ways; through Kafka where it was fetched.
///
/// # Errors
/// When something doesn't start, or no reading is ever shown.
pub fn measure(report: &mut Report) -> Result<()> {
    add(report, "direct", &mut ages(None)?);
    match Kafka::start() {
        Ok(kafka) => add(report, "Kafka", &mut ages(Some(&kafka.plain()))?),
        Err(error) => eprintln!("fresh: left out the way through Kafka: {error:#}"),
    }
    Ok(())
}

fn add(report: &mut Report, way: &str, ages: &mut [Duration]) {
    for percent in [50, 99, 100] {
        let name = if percent == 100 { "longest".to_owned() } else { format!("p{percent}") };
        let case = format!("{way}, measured to queryable: {name} of {} readings", ages.len());
        let age = percentile(ages, percent).as_secs_f64();
        report.add("fresh", case, (age, "s"), (format!("limit, {LIMIT}"), LIMIT));
    }
}

/// How old each reading was when it was first shown.
fn ages(kafka: Option<&str>) -> Result<Vec<Duration>> {
    let fog = Fog::start(kafka)?;
    let broker = Broker::start(BrokerKind::Mosquitto, &[])?;
    let uplink = match kafka {
        Some(brokers) => format!("[uplink]\nway = 'kafka'\n[kafka]\nbrokers = '{brokers}'\n"),
        None => format!("[uplink]\naddress = 'http://127.0.0.1:{}'\n", fog.uplink),
    };
    let edge = Edge::start_with(Uses::External(broker.port()), &[site()], &[], &uplink)?;
    let arguments =
        [format!("--port={}", broker.port()), format!("--rate={DEVICES}"), format!("--devices={DEVICES}")];
    let publishers = Worker::start("publish", &arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ages = runtime.block_on(ask(&fog))?;
    drop(publishers);
    let expected = DEVICES as u64 * RUNS.as_secs() / 2;
    ensure!(
        ages.len() as u64 > expected,
        "only {} readings were shown; the edge says: {}",
        ages.len(),
        edge.log()
    );
    Ok(ages)
}

async fn ask(fog: &Fog) -> Result<Vec<Duration>> {
    let mut client = Client::connect(&format!("http://127.0.0.1:{}", fog.sql)).await?;
    let (mut ages, mut seen) = (Vec::new(), 0);
    let end = Instant::now() + RUNS;
    while Instant::now() < end {
        let sql =
            format!("SELECT sequence, measured_at FROM readings WHERE sequence > {seen} ORDER BY sequence");
        let batches = client.query(&sql).await?.collect().await?;
        let now_us = worker::now_us();
        for batch in batches {
            let measured = batch.column(1).as_primitive::<TimestampMicrosecondType>().values();
            let age = |at: &i64| Duration::from_micros(now_us.saturating_sub(at.unsigned_abs()));
            ages.extend(measured.iter().map(age));
            seen = batch.column(0).as_primitive::<Int64Type>().values().last().copied().unwrap_or(seen);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(ages)
}

/// A fog node with a lake of its own.
struct Fog {
    uplink: u16,
    sql: u16,
    _process: Process,
    _place: Place,
}

impl Fog {
    fn start(kafka: Option<&str>) -> Result<Self> {
        let place = Place::new()?;
        let [uplink, sql, http] = [free_port()?, free_port()?, free_port()?];
        let kafka = kafka.map(|brokers| format!("[kafka]\nbrokers = '{brokers}'\n")).unwrap_or_default();
        let text = format!(
            "lake = {:?}\nuplink = '127.0.0.1:{uplink}'\nsql = '127.0.0.1:{sql}'\nhttp = '127.0.0.1:{http}'\n{kafka}",
            place.path().join("lake")
        );
        let config = place.write("fog.toml", &text)?;
        let program = place::programs()?.join("wattle-fog");
        let mut command = Command::new(&program);
        command.arg("--config").arg(config).env("RUST_LOG", "warn").stdout(Stdio::null());
        let mut process =
            Process::start(command).with_context(|| format!("{} has to be built", program.display()))?;
        process.wait_healthy(http, START)?;
        Ok(Self { uplink, sql, _process: process, _place: place })
    }
}

fn site() -> String {
    let charger =
        |n| format!("[[chargers]]\nid = '{}'\ncircuit = 'grid'\nphases = ['L{}']\n", device(n), n % 3 + 1);
    let chargers: String = (0..DEVICES).map(charger).collect();
    format!("id = '{SITE}'\n[[circuits]]\nid = 'grid'\nlimit_a = 10000\n{chargers}")
}
