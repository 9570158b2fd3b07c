//! `wattle-edge journal verify`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::journal::View;

/// Reads everything and names what is damaged or missing.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The journal's folder, or the data folder around it.
    folder: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut view = super::open(&arguments.folder)?;
    view.verify_segments();
    let records: u64 = view.logs.iter().map(|log| log.records).sum();
    let (logs, segments) = (view.logs.len(), view.segments.len());
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let read = json!({"log_files": logs, "records": records, "segments": segments});
        writeln!(
            out,
            "{:#}",
            json!({"sound": view.problems.is_empty(), "read": read, "problems": problems_json(&view)})
        )?;
    } else {
        writeln!(out, "read {records} records in {logs} log files, and {segments} segments")?;
        write!(out, "{}", problems_text(&view))?;
    }
    Ok(if view.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn problems_json(view: &View) -> Value {
    view.problems.iter().map(|(file, problem)| json!({"file": file, "problem": problem})).collect()
}

pub(super) fn problems_text(view: &View) -> String {
    if view.problems.is_empty() {
        return "no problems\n".into();
    }
    let lines = view.problems.iter().map(|(file, problem)| format!("  {file}: {problem}\n"));
    format!("problems:\n{}", lines.collect::<String>())
}
