//! `wattle policy test`: builds a project and runs its cases.

mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use wattle_policy_host::Policy;

use crate::cases::{self, Case, check, print};
use crate::progress::{Progress, Waiting};
use crate::{build, files};

/// Build a project and run its cases, or run cases against a component
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy test
  wattle policy test --update
  wattle policy test fair-share.wasm --cases policies/fair-share/cases --junit report.xml

docs/policies/cases.md says how a case is written.
Exit codes: 0 all is as expected, 1 something isn't, 2 a case, a folder or a component that can't be used.")]
pub struct Args {
    /// The project's folder, or a component that is built already
    #[arg(value_name = "FOLDER|FILE.wasm", default_value = ".")]
    policy: PathBuf,
    /// A case, or a folder of them [default: `cases` in the project or beside the component]
    #[arg(long, value_name = "DIR|FILE.json")]
    cases: Option<PathBuf>,
    /// Write what the policy gives into the cases as what is expected; assertions such as `order` stay
    #[arg(long)]
    update: bool,
    /// Also write a report for continuous integration, JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    /// As for `wattle policy build`
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
}

/// What became of a case.
#[derive(Debug)]
struct Ran {
    name: String,
    about: String,
    took: Duration,
    /// Empty if all is as expected.
    differences: Vec<String>,
    /// Whether its file was written anew.
    updated: bool,
}

/// Runs the command.
///
/// # Errors
/// When something isn't as expected; [`crate::Usage`] for what can't be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let is_component = args.policy.is_file();
    let beside = if is_component { args.policy.parent().unwrap_or(Path::new(".")) } else { &args.policy };
    let folder = args.cases.clone().unwrap_or_else(|| beside.join("cases"));
    let cases = cases::read(&folder)?;
    let waiting = if is_component {
        Waiting::on("compiling", !args.json)
    } else {
        build::waiting(&args.policy, !args.json)
    };
    let policy = if is_component {
        let bytes = files::read(&args.policy)?;
        files::load(&files::host()?, &args.policy, &bytes)?
    } else {
        build::build(&args.policy, None, args.env.as_deref())?.policy
    };
    drop(waiting);
    let ran = run_all(&policy, &cases, args)?;
    let name = format!("{} {}", policy.name(), policy.version());
    if let Some(file) = &args.junit {
        files::write(file, report::junit(&name, &ran).as_bytes())?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report::json(&name, &ran))?);
    } else {
        print!("{}", report::text(&name, &ran));
    }
    match ran.iter().filter(|one| !one.differences.is_empty()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} cases are not as expected", ran.len()),
    }
}

fn run_all(policy: &Policy, cases: &[Case], args: &Args) -> anyhow::Result<Vec<Ran>> {
    let mut progress = Progress::new("testing", 0, cases.len() as u64, 1, !args.json);
    let mut run = |(number, case): (u64, &Case)| {
        progress.tell(number);
        run_case(policy, case, args.update)
    };
    let ran = (0..).zip(cases).map(&mut run).collect();
    progress.end();
    ran
}

fn run_case(policy: &Policy, case: &Case, update: bool) -> anyhow::Result<Ran> {
    let begun = Instant::now();
    let outcome = check::run(policy, case);
    let took = begun.elapsed();
    let name = case.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut ran = Ran { name, about: case.about.clone(), took, differences: Vec::new(), updated: false };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => {
            ran.differences.push(why);
            return Ok(ran);
        }
    };
    ran.differences = outcome.differences;
    if update && !ran.differences.is_empty() {
        let document = print::updated(&case.document, &outcome.given);
        ran.updated = document != case.document;
        if ran.updated {
            files::write(&case.file, print::text(&document).as_bytes())?;
        }
        // What is left after the new expectations: assertions that they break.
        let again = cases::read(&case.file)?;
        ran.differences = again
            .iter()
            .flat_map(|case| match check::run(policy, case) {
                Ok(outcome) => outcome.differences,
                Err(why) => vec![why],
            })
            .collect();
    }
    Ok(ran)
}
