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

use super::{Usage, entries};
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
    let (first, last) = (arguments.first, arguments.last);
    if let Some(last) = last.filter(|last| *last < first) {
        return Err(Usage(format!("--first {first} stands behind --last {last}")).into());
    }
    if arguments.format == Format::Arrow && arguments.to == Path::new("-") {
        return Err(Usage("--format arrow makes a folder; give its name with --to".into()).into());
    }
    let view = super::open(&arguments.folder)?;
    tell_of_others(&view)?;
    let range = (first, last.unwrap_or(view.last()));
    if view.first().max(range.0) > view.last().min(range.1) {
        let there = match view.last() {
            last if view.first() <= last => format!("it has the entries {} to {last}", view.first()),
            last => format!("it has none: the last was {last}, and the lake has it"),
        };
        eprintln!("0 rows: no entry of that range is in this journal; {there}");
    }
    let rows = match arguments.format {
        Format::Json if arguments.to == Path::new("-") => json(&view, range, io::stdout().lock())?,
        Format::Json => {
            let file = File::create_new(&arguments.to);
            let file = file.with_context(|| format!("can't make {}", arguments.to.display()))?;
            json(&view, range, BufWriter::new(file))?
        }
        Format::Arrow => arrow(&view, range, &arguments.to)?,
    };
    let (first, last) = (view.first().max(range.0), view.last().min(range.1));
    if first <= last {
        eprintln!("{rows} rows, entries {first} to {last}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error where entries are that are in no export of this journal and not in the lake.
fn tell_of_others(view: &View) -> anyhow::Result<()> {
    for (name, former) in super::former(view)? {
        match former {
            Ok(former) if former.last() == former.committed => {}
            Ok(former) => eprintln!(
                "not in it: entries {} to {} of a former life, which wait for the lake; export {} by itself",
                former.committed + 1,
                former.last(),
                former.dir.display()
            ),
            Err(error) => eprintln!(
                "not in it: what {name} holds of a former life, which can't be looked into: {error}"
            ),
        }
    }
    Ok(())
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
