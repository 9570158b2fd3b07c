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
    let view = super::open(&arguments.folder)?;
    let former = super::former(&view)?;
    let own = Verified::of(view);
    let former: Vec<_> = former.into_iter().map(|(name, view)| (name, view.map(Verified::of))).collect();
    let is_well =
        |(_, verified): &(String, anyhow::Result<Verified>)| verified.as_ref().is_ok_and(Verified::is_sound);
    let is_sound = own.is_sound() && former.iter().all(is_well);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let mut all = own.json();
        all["sound"] = is_sound.into();
        all["former"] =
            former.iter().map(|(name, verified)| former_json(name, verified, Verified::json)).collect();
        writeln!(out, "{all:#}")?;
    } else {
        write!(out, "{}", own.text())?;
        for (name, verified) in &former {
            write!(out, "{}", former_text(name, verified, Verified::text))?;
        }
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A journal of which everything was read.
struct Verified(View);

impl Verified {
    fn of(mut view: View) -> Self {
        view.verify_segments();
        Self(view)
    }

    fn is_sound(&self) -> bool {
        self.0.problems.is_empty()
    }

    fn counts(&self) -> (usize, u64, usize) {
        (self.0.logs.len(), self.0.logs.iter().map(|log| log.records).sum(), self.0.segments.len())
    }

    fn json(&self) -> Value {
        let (logs, records, segments) = self.counts();
        let read = json!({"log_files": logs, "records": records, "segments": segments});
        json!({"sound": self.is_sound(), "read": read, "problems": problems_json(&self.0)})
    }

    fn text(&self) -> String {
        let (logs, records, segments) = self.counts();
        format!(
            "read {records} records in {logs} log files, and {segments} segments\n{}",
            problems_text(&self.0)
        )
    }
}

/// What is told of a former life, indented below the name of its folder.
pub(super) fn former_text<T>(name: &str, told: &anyhow::Result<T>, text: impl Fn(&T) -> String) -> String {
    let text = told.as_ref().map_or_else(|error| format!("can't be looked into: {error}\n"), text);
    let lines = text.lines().map(|line| format!("  {line}\n"));
    format!("{name}, a former life on its way up:\n{}", lines.collect::<String>())
}

/// The same as JSON: `folder`, and `error` or what there is.
pub(super) fn former_json<T>(name: &str, told: &anyhow::Result<T>, json: impl Fn(&T) -> Value) -> Value {
    let mut all = told.as_ref().map_or_else(|error| json!({"error": error.to_string()}), json);
    all["folder"] = name.into();
    all
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
