//! Rows appended with an fsync for each batch, beside a plain write and `fdatasync` of the same bytes.
//!
//! Rounds of both take turns on the same disk. A row is framed, counted and checked by the journal; the plain writer has its
//! bytes ready.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use wattle_edge::journal::{Journal, Options};
use wattle_wire::row::Row;
use wattle_wire::{EdgeId, Micros};

use crate::load::Place;
use crate::report::Report;
use crate::sample::median;
use crate::virtual_site::{START, VirtualSite};

/// Rows of a batch: what an edge gathers at a few thousand readings a second while a sync is under way.
const BATCH: usize = 500;
/// Batches of a round, and rounds; the first does not count.
const BATCHES: usize = 100;
const ROUNDS: usize = 8;

/// Measures.
///
/// # Errors
/// When a folder can't be written.
pub fn measure(report: &mut Report) -> Result<()> {
    let place = Place::new()?;
    let (mut rows, mut plain) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = place.path().join(format!("{round}"));
        let (rate, bytes) = journaled(&folder)?;
        let alone = (BATCH * BATCHES) as f64 / written(&folder, bytes)?;
        if round > 0 {
            rows.push(rate);
            plain.push(alone);
        }
    }
    let plain = median(plain);
    report.add(
        "journal",
        format!("append and sync, {BATCH} rows a batch"),
        (median(rows), "rows/s"),
        (format!("write and fdatasync of the same bytes, {plain:.0}"), plain),
    );
    Ok(())
}

/// Rows a second, and the bytes that they came to.
fn journaled(folder: &Path) -> Result<(f64, u64)> {
    let mut site = VirtualSite::new()?;
    let mut batches: Vec<Vec<(Micros, Row)>> = Vec::with_capacity(BATCHES);
    let mut rows = Vec::new();
    for second in 0.. {
        if batches.len() == BATCHES {
            break;
        }
        rows.extend(site.second(second)?);
        if rows.len() >= BATCH {
            let rest = rows.split_off(BATCH);
            batches.push(std::mem::replace(&mut rows, rest));
        }
    }
    let options = Options::new(folder.join("journal"), EdgeId::new("edge-1")?);
    let (mut journal, _) = Journal::open(options, Micros::from_secs(START))?;
    let started = Instant::now();
    for batch in batches {
        for (at, row) in batch {
            journal.append(at, row)?;
        }
        journal.sync()?;
    }
    let took = started.elapsed().as_secs_f64();
    Ok(((BATCH * BATCHES) as f64 / took, journal.stats().bytes))
}

/// The seconds that it takes to write so many bytes in as many batches, each synced.
fn written(folder: &Path, bytes: u64) -> Result<f64> {
    let batch = vec![0x5A; (bytes / BATCHES as u64) as usize];
    let file = File::create(folder.join("plain"))?;
    let started = Instant::now();
    for n in 0..BATCHES {
        file.write_all_at(&batch, (n * batch.len()) as u64)?;
        file.sync_data()?;
    }
    Ok(started.elapsed().as_secs_f64())
}
