//! How the cost of a commit, a derivation and a query grows with the number of commits.
//!
//! ```text
//! cargo run -p wattle-fog --example commits -- [--compact EVERY] [--derive EVERY] UP_TO...
//! ```
//!
//! 5,000 devices measure once a second, each second is a commit into a lake in a temporary folder. At each number of
//! commits it prints the median of the last 25 and the longest commit since the number before; how long a
//! derivation, the making of a query's context, and two queries take then; and how many data files
//! the table of readings has on the disk. `--compact` compacts after every so many commits, `--derive` derives (60 if not
//! given).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use wattle_columns::{Segment, SegmentBuilder};
use wattle_fog::lake::Lake;
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{Reading, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, Milliamps, Millivolts, SessionId, SiteId, WattHours, Watts};

/// Devices, each with one reading in a commit.
const DEVICES: usize = 5000;
/// When the first was measured, UTC seconds.
const START: i64 = 1_790_000_000;
/// How large files are compacted to, bytes.
const COMPACTED: u64 = 64 << 20;
/// The commits that a median is of.
const LAST: usize = 25;

#[derive(Default)]
struct Arguments {
    compact: Option<usize>,
    derive: usize,
    up_to: Vec<usize>,
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments { derive: 60, ..Arguments::default() };
    let mut given = std::env::args().skip(1);
    let number = |text: Option<String>| -> Result<usize> {
        text.context("a number is missing")?.parse().context("not a number")
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--compact" => found.compact = Some(number(given.next())?.max(1)),
            "--derive" => found.derive = number(given.next())?.max(1),
            other => found.up_to.push(number(Some(other.to_owned()))?),
        }
    }
    if found.up_to.is_empty() {
        bail!("give the numbers of commits at which to measure, such as 25 300 600");
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = arguments()?;
    let folder = tempfile::tempdir()?;
    let lake = Lake::open(folder.path().join("lake")).await?;
    let mut journal = Journal::new()?;
    let mut commits: Vec<Duration> = Vec::new();
    let mut compactions = Vec::new();
    println!("commits  median  longest   derive  context  count(*)  intervals  files   (ms)");
    for up_to in arguments.up_to {
        let before = commits.len();
        while commits.len() < up_to {
            let segment = journal.second(commits.len())?;
            let started = Instant::now();
            lake.commit(vec![segment]).await?;
            commits.push(started.elapsed());
            if commits.len().is_multiple_of(arguments.derive) {
                lake.derive().await?;
            }
            if arguments.compact.is_some_and(|every| commits.len().is_multiple_of(every)) {
                let started = Instant::now();
                let report = lake.compact(COMPACTED).await?;
                compactions.push((started.elapsed(), report.replaced));
            }
        }
        let longest = commits.iter().skip(before).max().copied().unwrap_or_default();
        let mut last: Vec<_> = commits.iter().rev().take(LAST).copied().collect();
        last.sort_unstable();
        let median = last.get(last.len() / 2).copied().unwrap_or_default();
        let derive = timed(lake.derive()).await?;
        let context = timed(lake.session_context()).await?;
        let count = query(&lake, "SELECT count(*) FROM readings").await?;
        let intervals = query(&lake, "SELECT count(*), sum(energy_wh) FROM intervals").await?;
        let files = std::fs::read_dir(lake.folder().join("readings_raw"))?.count() - 1;
        let times = [median, longest, derive, context, count, intervals].map(|took| took.as_secs_f64() * 1e3);
        let [median, longest, derive, context, count, intervals] = times;
        println!(
            "{up_to:7} {median:7.1} {longest:8.1} {derive:8.1} {context:8.1} {count:9.1} {intervals:10.1} {files:6}"
        );
    }
    if let Some((longest, files)) = compactions.iter().max() {
        println!("{} compactions; the longest took {longest:.1?} for {files} files", compactions.len());
    }
    Ok(())
}

async fn timed<T, E>(what: impl Future<Output = Result<T, E>>) -> Result<Duration, E> {
    let started = Instant::now();
    what.await?;
    Ok(started.elapsed())
}

async fn query(lake: &Lake, sql: &str) -> Result<Duration> {
    let context = lake.session_context().await?;
    let started = Instant::now();
    context.sql(sql).await?.collect().await?;
    Ok(started.elapsed())
}

/// One edge's journal with a reading of each device a second.
struct Journal {
    builder: SegmentBuilder,
    devices: Vec<(DeviceId, SessionId)>,
    site: SiteId,
}

impl Journal {
    fn new() -> Result<Self> {
        let device = |n| -> Result<_> {
            let id = DeviceId::new(format!("cp-{n:04}"))?;
            let session = SessionId::new(format!("{id}-1-17"))?;
            Ok((id, session))
        };
        Ok(Self {
            builder: SegmentBuilder::new(EdgeId::new("edge-1")?, Incarnation(1)),
            devices: (0..DEVICES).map(device).collect::<Result<_>>()?,
            site: SiteId::new("bench")?,
        })
    }

    fn second(&mut self, second: usize) -> Result<Segment> {
        for (n, (device, session)) in self.devices.iter().enumerate() {
            let measured = Micros::from_secs(START + second as i64) + Micros(n as i64);
            let volts = 230_000 + (n * 37 + second * 101) as i32 % 900;
            let reading = Reading {
                site: self.site.clone(),
                device: device.clone(),
                number: Some(Number { boot: 1, seq: second as u64 + 1 }),
                measured_us: Some(measured),
                state: Some(ChargerState::Charging),
                setpoint: Some(17),
                session: Some(session.clone()),
                values: Values {
                    current_ma: Some(Phases::new(&[Milliamps(16_000)])),
                    voltage_mv: Some(Phases::new(&[Millivolts(volts)])),
                    power_w: Some(Watts(volts * 16 / 1000)),
                    register_wh: Some(WattHours(1_000_000 + second as i64)),
                    ..Values::default()
                },
            };
            let sequence = (second * DEVICES + n) as u64 + 1;
            let at_us = measured + Micros(20_000);
            self.builder.push(&Record { sequence, at_us, row: Row::Reading(reading) })?;
        }
        self.builder.finish().context("a segment of readings")
    }
}
