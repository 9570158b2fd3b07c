//! What the positions of many edges cost in a table's log.
//!
//! ```text
//! cargo run -p wattle-fog --example positions -- [EDGES]...
//! ```
//!
//! For each number of edges (100, 1000 and 10000 if none is given), in a lake of its own: every edge sends a segment of one
//! reading, all of them in one commit; then one edge sends another. It prints how long both commits take and how large their
//! entries in the log of the readings are, and the same of a lake that was opened anew: the first commit of all edges there
//! looks every position up.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wattle_columns::{Segment, SegmentBuilder};
use wattle_fog::lake::Lake;
use wattle_wire::message::{Number, Values};
use wattle_wire::row::{Reading, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, SiteId, Watts};

/// When the first was measured, UTC seconds.
const START: i64 = 1_790_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let given: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let numbers = if given.is_empty() { vec![100, 1000, 10_000] } else { given };
    println!("edges   all, ms  entry, kB   one, ms  entry, kB   opened, ms   all again, ms   one again, ms");
    for edges in numbers {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("lake");
        let lake = Lake::open(&path).await?;
        let all = commit(&lake, edges, 1).await?;
        let entry = newest_entry(&path)?;
        let one = commit(&lake, 1, 2).await?;
        let small = newest_entry(&path)?;
        // So that a lake that is opened reads a checkpoint, as it would in the field.
        for round in 3..120 {
            commit(&lake, 1, round).await?;
        }
        lake.compact(64 << 20).await?;
        drop(lake);
        let started = Instant::now();
        let lake = Lake::open(&path).await?;
        let opened = started.elapsed();
        // All but the first stand at 1.
        let again = commit_from(&lake, 1..edges, 2).await?;
        let one_again = commit(&lake, 1, 120).await?;
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        println!(
            "{edges:5}  {:8.1}  {:9.1}  {:8.1}  {:9.1}   {:10.1}   {:13.1}   {:13.1}",
            ms(all),
            entry as f64 / 1e3,
            ms(one),
            small as f64 / 1e3,
            ms(opened),
            ms(again),
            ms(one_again)
        );
    }
    Ok(())
}

async fn commit(lake: &Lake, edges: usize, sequence: u64) -> Result<Duration> {
    commit_from(lake, 0..edges, sequence).await
}

async fn commit_from(lake: &Lake, edges: std::ops::Range<usize>, sequence: u64) -> Result<Duration> {
    let segments = edges.map(|edge| segment(edge, sequence)).collect::<Result<Vec<_>>>()?;
    let count = segments.len();
    let started = Instant::now();
    let report = lake.commit(segments).await?;
    let took = started.elapsed();
    anyhow::ensure!(report.rows == count && report.refused.is_empty(), "{} of {count} rows", report.rows);
    Ok(took)
}

/// The bytes of the newest entry of the readings' log.
fn newest_entry(lake: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(lake.join("readings_raw/_delta_log"))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let newest = paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")).max();
    Ok(std::fs::metadata(newest.context("an entry")?)?.len())
}

fn segment(edge: usize, sequence: u64) -> Result<Segment> {
    let mut builder =
        SegmentBuilder::new(EdgeId::new(format!("edge-{edge:05}"))?, Incarnation(edge as u128 + 1));
    let measured = Micros::from_secs(START + sequence as i64);
    let reading = Reading {
        site: SiteId::new("bench")?,
        device: DeviceId::new("cp-1")?,
        number: Some(Number { boot: 1, seq: sequence }),
        measured_us: Some(measured),
        state: None,
        setpoint: None,
        session: None,
        values: Values { power_w: Some(Watts(3680)), ..Values::default() },
    };
    builder.push(&Record { sequence, at_us: measured, row: Row::Reading(reading) })?;
    builder.finish().context("a segment of a reading")
}
