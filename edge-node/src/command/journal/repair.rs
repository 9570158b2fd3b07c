//! `wattle-edge journal repair`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use wattle_wire::{EdgeId, Micros};

use crate::journal::{self, Journal, JournalError, Options, Recovery, View};

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
    let own = Mended::of(journal, recovery)?;
    let (mut former, mut failed) = (Vec::new(), false);
    for dir in journal::former(dir).with_context(|| format!("can't list {}", dir.display()))? {
        let options = Options { is_former: true, ..Options::new(&dir, edge.clone()) };
        let mended = open_with(options).and_then(|(journal, recovery)| Mended::of(journal, recovery));
        failed |= mended.is_err();
        former.push((super::name(&dir), mended));
    }
    super::tell(arguments.json, (own.json(), own.text()), &former, Mended::json, Mended::text)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn open(dir: &Path, edge: &EdgeId) -> anyhow::Result<(Journal, Recovery)> {
    open_with(Options::new(dir, edge.clone()))
}

fn open_with(options: Options) -> anyhow::Result<(Journal, Recovery)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let dir = options.dir.clone();
    let opened = Journal::open(options, now);
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

/// A journal that was mended.
struct Mended {
    journal: Journal,
    recovery: Recovery,
    segments: usize,
}

impl Mended {
    fn of(mut journal: Journal, recovery: Recovery) -> anyhow::Result<Self> {
        let segments = read_all(&mut journal).context("can't read every segment")?;
        Ok(Self { journal, recovery, segments })
    }

    fn json(&self) -> Value {
        let Self { recovery, segments, .. } = self;
        let repaired = &recovery.repaired;
        let missing: Vec<_> = repaired.missing_segments.iter().map(|(from, to)| json!([from, to])).collect();
        json!({
            "incarnation": recovery.incarnation.to_string(),
            "restored_from": recovery.restored_from.map(|life| life.to_string()),
            "last": recovery.last,
            "torn_bytes": repaired.torn_bytes,
            "damaged": self.journal.stats().damaged,
            "set_aside": repaired.set_aside,
            "missing_segments": missing,
            "segments": segments,
        })
    }

    fn text(&self) -> String {
        let Self { recovery, segments, .. } = self;
        let (repaired, damaged) = (&recovery.repaired, self.journal.stats().damaged);
        let mut lines = vec![format!("entries up to {}, {segments} segments can be read", recovery.last)];
        lines.extend(recovery.restored_from.map(|former| {
            format!(
                "the folder was a copy: these are of its new life, {}; what was handed out before goes up under {former}",
                recovery.incarnation
            )
        }));
        if repaired.torn_bytes > 0 {
            lines.push(format!("passed over {} bytes of a write that was cut", repaired.torn_bytes));
        }
        if damaged > 0 && recovery.last > 0 {
            lines.push(format!("{damaged} damaged places; gaps stand for what can't be read any more"));
        } else if damaged > 0 {
            lines.push(format!(
                "{damaged} damaged places, and no entry that can be read: the journal begins with number 1"
            ));
        }
        lines.extend(repaired.set_aside.iter().map(|file| format!("set aside {file}")));
        lines.extend(repaired.missing_segments.iter().map(|(from, to)| {
            format!("made the missing segment {from} to {to} again, with gaps for what the log has no more")
        }));
        lines.join("\n") + "\n"
    }
}
