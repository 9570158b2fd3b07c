//! `wattle-edge journal repair`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::json;
use wattle_wire::{EdgeId, Micros};

use crate::journal::{Journal, JournalError, Options, Recovery, View};

/// Opens the journal, sets damaged files aside and puts gaps in the place of what is lost.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The journal's folder, or the data folder around it.
    folder: PathBuf,
    /// Whose journal it is, where the folder doesn't say so any more.
    #[arg(long, value_name = "NAME")]
    edge: Option<EdgeId>,
    /// The folder is a copy, as an image of a disk or a clone of a machine: entries that it has not handed out yet, and new
    /// ones, are counted in a new life of the journal; the rest goes up under the old one.
    #[arg(long)]
    restored: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let inner = arguments.folder.join("journal");
    let dir = if inner.is_dir() { &inner } else { &arguments.folder };
    let edge = match (&arguments.edge, View::open(dir)) {
        (Some(edge), _) => edge.clone(),
        (None, Ok(view)) => view.edge,
        (None, Err(error)) => return Err(error).context("nothing was changed"),
    };
    if !dir.is_dir() {
        bail!("{} is no folder", dir.display());
    }
    let (mut journal, mut recovery) = open(dir, &edge)?;
    // What the opening has found to be a copy by itself, or has gone on with, has its new life by now.
    if arguments.restored && recovery.restored_from.is_none() {
        journal.declare_restored()?;
        drop((journal, recovery));
        (journal, recovery) = open(dir, &edge)?;
    }
    let segments = read_all(&mut journal).context("can't read every segment")?;
    tell(arguments.json, &journal, &recovery, segments)?;
    Ok(ExitCode::SUCCESS)
}

fn open(dir: &Path, edge: &EdgeId) -> anyhow::Result<(Journal, Recovery)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let opened = Journal::open(Options::new(dir, edge.clone()), now);
    if matches!(opened, Err(JournalError::Locked { .. })) {
        bail!("a node runs on {}; stop it first", dir.display());
    }
    Ok(opened?)
}

/// Reads each segment, which mends those that are damaged. Nothing of it is handed to the uplink.
fn read_all(journal: &mut Journal) -> Result<usize, JournalError> {
    let (mut after, mut segments) = (None, 0);
    while let Some((header, _)) = journal.look_after(after)? {
        after = Some(header.to);
        segments += 1;
    }
    Ok(segments)
}

fn tell(as_json: bool, journal: &Journal, recovery: &Recovery, segments: usize) -> anyhow::Result<()> {
    let (repaired, stats) = (&recovery.repaired, journal.stats());
    let mut out = std::io::stdout().lock();
    if as_json {
        let missing: Vec<_> = repaired.missing_segments.iter().map(|(from, to)| json!([from, to])).collect();
        let told = json!({
            "incarnation": recovery.incarnation.to_string(),
            "restored_from": recovery.restored_from.map(|life| life.to_string()),
            "last": recovery.last,
            "torn_bytes": repaired.torn_bytes,
            "damaged": stats.damaged,
            "set_aside": repaired.set_aside,
            "missing_segments": missing,
            "segments": segments,
        });
        writeln!(out, "{told:#}")?;
        return Ok(());
    }
    writeln!(out, "entries up to {}, {segments} segments can be read", recovery.last)?;
    if let Some(former) = recovery.restored_from {
        writeln!(
            out,
            "the folder was a copy: these are of its new life, {}; what was handed out before goes up under {former}",
            recovery.incarnation
        )?;
    }
    if repaired.torn_bytes > 0 {
        writeln!(out, "passed over {} bytes of a write that was cut", repaired.torn_bytes)?;
    }
    if stats.damaged > 0 {
        writeln!(out, "{} damaged places; gaps stand for what can't be read any more", stats.damaged)?;
    }
    for file in &repaired.set_aside {
        writeln!(out, "set aside {file}")?;
    }
    for (from, to) in &repaired.missing_segments {
        writeln!(
            out,
            "made the missing segment {from} to {to} again, with gaps for what the log has no more"
        )?;
    }
    Ok(())
}
