//! `wattle policy run`: one decision of a policy, from a snapshot in a file; or one after the other, beside a live edge node ([`beside`]).

mod beside;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use wattle_edge::policy;
use wattle_edge_core::fit;
use wattle_policy_dev::files::{self, read, read_text, unusable};
use wattle_policy_dev::progress::Waiting;
use wattle_policy_host::{Decided, Grants, LoadError, Policy, RunError};
use wattle_wire::policy::{Allocation, Snapshot};
use wattle_wire::{DeviceId, Milliamps, SiteId};

use crate::Usage;

/// Run a policy on one snapshot and print its plan, or beside a live edge node and compare
///
/// With --snapshot it decides once, and its plan is printed as JSON. With --beside it sees what the edge node sees at each of its decisions,
/// and a line per decision says what was done and what this policy would have done. It runs here: nothing at the site changes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("on").required(true), after_help = "Examples:
  wattle policy run equal-share --snapshot docs/examples/snapshot.json
  wattle policy run ./mine.wasm --snapshot now.json --settings mine.json --state mine.state --envelope
  wattle policy run ./mine.wasm --beside http://127.0.0.1:7480 --site depot --ticks 60

docs/policies/snapshot.md says what a snapshot holds and what is printed.
Exit codes: 0 it gave a plan, beside a node at every decision; 1 it gave none, or no answer; 2 something that can't be used.")]
pub struct Args {
    /// A name in the folder of policies (see docs/edge.md), or a path that ends in .wasm
    #[arg(value_name = "NAME|FILE.wasm")]
    policy: String,
    /// The snapshot, JSON
    #[arg(long, value_name = "FILE", group = "on")]
    snapshot: Option<PathBuf>,
    /// An edge node beside which it decides, until Ctrl-C
    #[arg(long, value_name = "URL", group = "on")]
    beside: Option<String>,
    /// The site, where the edge node has more than one
    #[arg(long, value_name = "SITE", requires = "beside")]
    site: Option<SiteId>,
    /// End after so many decisions
    #[arg(long, value_name = "N", requires = "beside", value_parser = clap::value_parser!(u64).range(1..))]
    ticks: Option<u64>,
    /// The policy's settings, JSON; none if it is left out
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The state that the last run has left; read if it is there, and replaced by what this run leaves
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The memory that it may have, MiB, as a site file's `policy_memory_mib`
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    memory_mib: u32,
    /// Add the setpoints that the edge's envelope makes of the plan; beside a node they are shown in any case
    #[arg(long)]
    envelope: bool,
    /// JSON instead of text beside a node, an object per line; one snapshot gives JSON in any case
    #[arg(long)]
    json: bool,
}

/// A policy that is ready to decide.
struct Asked {
    policy: Policy,
    settings: String,
    state: Vec<u8>,
}

/// What is printed.
#[derive(Serialize)]
struct Printed {
    policy: String,
    fuel: u64,
    log: Vec<String>,
    plan: Vec<Proposed>,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    setpoints: Option<Vec<Setpoint>>,
}

#[derive(Serialize)]
struct Proposed {
    charger: DeviceId,
    limit_ma: Milliamps,
    reason: String,
}

/// What the envelope makes of the plan.
#[derive(Serialize)]
struct Setpoint {
    charger: DeviceId,
    setpoint_ma: Milliamps,
    target_ma: Milliamps,
    reason: &'static str,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for what can't be used; another when the policy gives no plan, or an edge node no answer.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    match (&args.snapshot, &args.beside) {
        (Some(file), _) => once(args, &snapshot(file)?),
        (None, Some(url)) => beside::run(args, url, asked(args)?).await,
        (None, None) => Err(Usage("give --snapshot or --beside".into()).into()),
    }
}

/// Loads the policy, and looks whether it takes the settings.
fn asked(args: &Args) -> anyhow::Result<Asked> {
    let settings = args.settings.as_deref().map(read_text).transpose()?.unwrap_or_default();
    let state = match &args.state {
        Some(file) if file.exists() => read(file)?,
        _ => Vec::new(),
    };
    let waiting = Waiting::on("compiling", !args.json);
    let policy = load(&policy::path(&policy::folder(None), &args.policy), args.memory_mib)?;
    drop(waiting);
    let faults = policy.validate_settings(&settings)?;
    if !faults.is_empty() {
        let place = args.settings.as_ref().map_or("no settings".into(), |file| file.display().to_string());
        return Err(Usage(format!("{place}: {}", faults.join("; "))).into());
    }
    Ok(Asked { policy, settings, state })
}

fn once(args: &Args, snapshot: &Snapshot) -> anyhow::Result<()> {
    let asked = asked(args)?;
    let decided = asked.policy.decide(snapshot, &asked.settings, &asked.state)?;
    leave(args, &decided.plan.state)?;
    let printed = serde_json::to_string_pretty(&printed(asked.name(), snapshot, decided, args.envelope))?;
    writeln!(std::io::stdout(), "{printed}").context("cannot write to standard output")
}

impl Asked {
    fn name(&self) -> String {
        format!("{} {}", self.policy.name(), self.policy.version())
    }
}

fn printed(policy: String, snapshot: &Snapshot, decided: Decided, envelope: bool) -> Printed {
    let id = |index: usize| snapshot.chargers[index].id.clone();
    let setpoints = envelope.then(|| {
        let fitted = fit(snapshot, &decided.plan).into_iter();
        let setpoint = |fitted: wattle_edge_core::Fitted| Setpoint {
            charger: id(fitted.charger),
            setpoint_ma: fitted.setpoint_ma,
            target_ma: fitted.target_ma,
            reason: fitted.reason,
        };
        fitted.map(setpoint).collect()
    });
    let proposed = |allocation: Allocation| Proposed {
        // The host takes no plan that names a charger that isn't there.
        charger: id(allocation.charger as usize),
        limit_ma: allocation.limit_ma,
        reason: allocation.reason,
    };
    Printed {
        policy,
        fuel: decided.fuel,
        log: decided.log,
        state: decided.plan.state.iter().map(|byte| format!("{byte:02x}")).collect(),
        plan: decided.plan.allocations.into_iter().map(proposed).collect(),
        setpoints,
    }
}

fn load(path: &Path, memory_mib: u32) -> anyhow::Result<Policy> {
    let bytes = read(path)?;
    let memory_bytes = memory_mib as usize * 1024 * 1024;
    let host = files::host()?;
    let grants = Grants { memory_bytes, ..files::grants(&host) };
    let wants_more = |error: &LoadError| match error {
        LoadError::TooLarge { .. } | LoadError::Describe(RunError::OutOfMemory(_)) => true,
        LoadError::AsksTooMuch { what, .. } => what.contains("memory"),
        _ => false,
    };
    let loaded = host.load_within(&bytes, grants).map_err(|error| {
        let hint = if wants_more(&error) { "; give it more memory with --memory-mib" } else { "" };
        unusable(path, &format!("{error}{hint}"))
    });
    Ok(loaded?)
}

/// Puts the state where the next run finds it, if that was named.
fn leave(args: &Args, state: &[u8]) -> anyhow::Result<()> {
    args.state.as_deref().map_or(Ok(()), |file| files::write(file, state))
}

/// Reads a snapshot, and looks whether its parts fit together.
fn snapshot(file: &Path) -> Result<Snapshot, Usage> {
    let text = read_text(file)?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    let snapshot: Snapshot = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| unusable(file, &format!("{}: {}", error.path(), error.inner())))?;
    reader.end().map_err(|error| unusable(file, &error))?;
    snapshot.check().map_err(|error| unusable(file, &error))?;
    Ok(snapshot)
}
