//! A site without its fog node: what a day and a week of it take on disk, how fast the node is back after a restart, and how
//! fast the lake has all of it once the link is back.
//!
//! The source is virtual ([`VirtualSite`]), the journal and its disk are real: rows are appended and written once a virtual
//! second, checkpoints are made once a virtual minute, files are sealed when they are due. Only fsync is not waited for
//! (`sync = "off"`), which changes no byte: a week would need 600,000 of them. All bytes of the folder count,
//! as the file system tells them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use wattle_columns::Segment;
use wattle_edge::journal::{Journal, Options, SyncPolicy};
use wattle_fog::lake::Lake;
use wattle_wire::{EdgeId, Micros};

use crate::load::Place;
use crate::report::Report;
use crate::virtual_site::{DEVICES, START, VirtualSite};

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
const GIB: f64 = (1 << 30) as f64;
/// What a checkpoint of this many devices comes to, bytes.
const CHECKPOINT_BYTES: usize = DEVICES * 512;
/// Segments that are committed at once, and how many readings go up at least.
const SEGMENTS: usize = 8;
const DRAINED: usize = 1_000_000;

/// Measures.
///
/// # Errors
/// When a folder can't be written, or something is dropped or missing.
pub fn measure(report: &mut Report) -> Result<()> {
    let place = Place::new()?;
    let options = Options {
        sync: SyncPolicy::Off,
        budget_bytes: 8 << 30,
        ..Options::new(place.path().join("journal"), EdgeId::new("edge-1")?)
    };
    fill(&options, report)?;
    let mut journal = recover(&options, report)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(drain(&mut journal, place.path(), report))
}

fn fill(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = VirtualSite::new()?;
    let (mut journal, _) = Journal::open(options.clone(), Micros::from_secs(START))?;
    let state = vec![0xA5; CHECKPOINT_BYTES];
    let (started, mut readings) = (Instant::now(), 0);
    for second in 0..WEEK {
        if second == DAY {
            add_day(&options.dir, &journal, report)?;
        }
        for (at, row) in site.second(second)? {
            journal.append(at, row)?;
        }
        readings += DEVICES as i64;
        let last = journal.sync()?;
        if second % 60 == 0 {
            journal.checkpoint(last, &state)?;
        }
        journal.seal(Micros::from_secs(START + second + 1))?;
    }
    let stats = journal.stats();
    ensure!(stats.dropped == 0 && stats.depth as i64 > readings, "a week is not all there");
    let (on_disk, _) = bytes_on_disk(&options.dir)?;
    let limit = ("a GiB in MB", GIB / 1e6);
    report.add("outage", "a week of it, everything included,", (on_disk / 1e6, "MB"), limit);
    let speed = readings as f64 / started.elapsed().as_secs_f64();
    let real_time = DEVICES as f64;
    report.add("outage", "the journal takes and seals", (speed, "readings/s"), ("the site gives", real_time));
    Ok(())
}

/// What all files of the folder come to, and what the segments do.
fn bytes_on_disk(dir: &Path) -> Result<(f64, f64)> {
    let (mut all, mut sealed) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let bytes = entry.metadata()?.len();
        all += bytes;
        if entry.file_name().to_string_lossy().ends_with(".wseg") {
            sealed += bytes;
        }
    }
    Ok((all as f64, sealed as f64))
}

fn add_day(dir: &Path, journal: &Journal, report: &mut Report) -> Result<()> {
    let readings = DAY as f64 * DEVICES as f64;
    let (on_disk, sealed) = bytes_on_disk(dir)?;
    let stats = journal.stats();
    ensure!(stats.dropped == 0 && stats.depth as f64 > readings, "a day is not all there");
    report.add("outage", "a day of 66 devices takes", (on_disk / 1e6, "MB"), ("a GiB in MB", GIB / 1e6));
    report.add(
        "outage",
        "sealed, events and decisions included,",
        (sealed / readings, "B/reading"),
        ("limit", 12.0),
    );
    report.add("outage", "segments", (stats.segments as f64, "files"), ("minutes of a day", 1440.0));
    Ok(())
}

/// The node is restarted as if it had been killed: with a minute of rows behind the last checkpoint.
fn recover(options: &Options, report: &mut Report) -> Result<Journal> {
    let started = Instant::now();
    let (journal, recovery) = Journal::open(options.clone(), Micros::from_secs(START + WEEK))?;
    let opened = started.elapsed();
    let replayed = recovery.rows.collect::<Result<Vec<_>, _>>()?.len();
    let took = started.elapsed().as_secs_f64();
    let readings = WEEK * DEVICES as i64;
    let case = format!(
        "restart with {readings} readings on disk, {replayed} of them replayed ({opened:.2?} to open),"
    );
    report.add("outage", case, (took, "s"), ("limit", 2.0));
    Ok(journal)
}

/// The link is back: what is sealed goes into a lake and is freed behind it, over no network.
async fn drain(journal: &mut Journal, folder: &Path, report: &mut Report) -> Result<()> {
    let lake = Lake::open(folder.join("lake")).await?;
    let (started, mut readings, mut after) = (Instant::now(), 0, None);
    while readings < DRAINED {
        let mut segments = Vec::with_capacity(SEGMENTS);
        while segments.len() < SEGMENTS {
            let Some((header, bytes)) = journal.read_after(after)? else { break };
            after = Some(header.to);
            segments.push(Segment::decode(&bytes)?);
        }
        ensure!(!segments.is_empty(), "there is less than should go up");
        readings += lake.commit(segments).await?.readings;
        journal.free(after.unwrap_or_default())?;
    }
    let rate = readings as f64 / started.elapsed().as_secs_f64();
    let case = "drain: from the journal into the lake, one edge, on the same two cores";
    report.add("outage", case, (rate, "readings/s"), ("100 times real time", 100.0 * DEVICES as f64));
    Ok(())
}
