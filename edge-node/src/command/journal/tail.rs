//! `wattle-edge journal tail`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::entries;
use crate::journal::View;

/// How often a journal that is followed is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Shows the last entries, and with --follow those that come.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The journal's folder, or the data folder around it.
    folder: PathBuf,
    /// How many entries.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u64,
    /// Goes on with what comes, until it is interrupted.
    #[arg(short, long)]
    follow: bool,
    /// As JSON, one entry a line.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut view = super::open(&arguments.folder)?;
    let mut next = view.last().saturating_sub(arguments.lines) + 1;
    loop {
        let last = view.last();
        show(&view, next, last, arguments.json)?;
        next = next.max(last + 1);
        if !arguments.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(LOOK);
        view = super::open(&arguments.folder)?;
    }
}

fn show(view: &View, from: u64, to: u64, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for segment in view.entries(from, to) {
        for entry in entries::of(&segment?, from, to) {
            match json {
                true => writeln!(out, "{}", entry.json()?)?,
                false => writeln!(out, "{}", entry.line()?)?,
            }
        }
    }
    Ok(out.flush()?)
}
