//! `wattle-edge journal export`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use arrow::datatypes::Schema;
use arrow::ipc::writer::FileWriter;
use clap::ValueEnum;
use wattle_columns::schema;

use super::entries;
use crate::journal::View;

/// Writes entries to a file as JSON lines, or to a folder as Arrow files.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The journal's folder, or the data folder around it.
    folder: PathBuf,
    /// The new file, `-` for standard output; for --format arrow the new folder.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// How.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// The first entry.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    first: u64,
    /// The last entry; default the newest.
    #[arg(long, value_name = "SEQUENCE")]
    last: Option<u64>,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines: one entry a line with its `table`, a decision one line for each charger.
    Json,
    /// A folder with readings.arrow, events.arrow and decisions.arrow (Arrow IPC files).
    Arrow,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let view = super::open(&arguments.folder)?;
    let range = (arguments.first, arguments.last.unwrap_or(view.last()));
    let rows = match arguments.format {
        Format::Json if arguments.to == Path::new("-") => json(&view, range, io::stdout().lock())?,
        Format::Json => {
            let file = File::create_new(&arguments.to);
            let file = file.with_context(|| format!("can't make {}", arguments.to.display()))?;
            json(&view, range, BufWriter::new(file))?
        }
        Format::Arrow => arrow(&view, range, &arguments.to)?,
    };
    eprintln!("{rows} rows, entries {} to {}", view.first().max(range.0), view.last().min(range.1));
    Ok(ExitCode::SUCCESS)
}

fn json(view: &View, (from, to): (u64, u64), mut out: impl Write) -> anyhow::Result<usize> {
    let mut rows = 0;
    for segment in view.entries(from, to) {
        for entry in entries::of(&segment?, from, to) {
            writeln!(out, "{}", entry.json()?)?;
            rows += 1;
        }
    }
    out.flush()?;
    Ok(rows)
}

fn arrow(view: &View, (from, to): (u64, u64), folder: &Path) -> anyhow::Result<usize> {
    fs::create_dir(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
    let open = |name: &str, schema: &Schema| -> anyhow::Result<_> {
        let path = folder.join(name);
        let file = File::create_new(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(FileWriter::try_new(BufWriter::new(file), schema)?)
    };
    let mut readings = open("readings.arrow", &schema::readings())?;
    let mut events = open("events.arrow", &schema::events())?;
    let mut decisions = open("decisions.arrow", &schema::decisions())?;
    let mut rows = 0;
    for segment in view.entries(from, to) {
        let segment = entries::within(segment?, from, to)?;
        rows += segment.rows();
        readings.write(&segment.readings)?;
        events.write(&segment.events)?;
        decisions.write(&segment.decisions)?;
    }
    readings.finish()?;
    events.finish()?;
    decisions.finish()?;
    Ok(rows)
}
