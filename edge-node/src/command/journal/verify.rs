//! `wattle-edge journal verify`.

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
    let mut all = own.json();
    all["sound"] = is_sound.into();
    super::tell(arguments.json, (all, own.text()), &former, Verified::json, Verified::text)?;
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
