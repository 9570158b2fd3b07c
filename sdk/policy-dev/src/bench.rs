//! `wattle policy bench`: what decisions take.
//!
//! A made-up site: one vehicle at each charger, every one asking, single-phase and three-phase in turn; circuits of fifty chargers behind a
//! grid connection that has 10 A for each. Fuel and memory are the same on every machine; the time is that of this one, with whatever
//! else it does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Value, json};
use wattle_policy_host::{Decided, Policy, RunError};
use wattle_wire::policy::Snapshot;

use crate::cases::fill;
use crate::progress::{Progress, Waiting};
use crate::{Usage, files};

/// The most chargers of a site.
const MOST_CHARGERS: usize = 10_000;
/// The most decisions of a row.
const MOST_DECISIONS: usize = 1_000;
/// How long a row may take, beside its first decision.
const BUDGET: Duration = Duration::from_secs(2);
/// What an edge node grants unasked.
const USUAL_FUEL: u64 = 20_000_000;

/// Measure what decisions take: time, fuel and memory at several sizes of a site
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy bench my-policy.wasm
  wattle policy bench my-policy.wasm --chargers 20,200 --settings mine.json --json

Times are those of this machine; fuel and memory are the same everywhere. 20 million fuel, 16 MiB and 50 ms is what an edge node grants a
policy that asks for no more.
Exit codes: 0 done, 1 a decision fails, 2 a component or settings that can't be used.")]
pub struct Args {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Chargers of each site
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [10, 100, 1000])]
    chargers: Vec<usize>,
    /// The policy's settings, JSON
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What decisions for a site of some size take.
#[derive(Debug, Serialize)]
struct Row {
    chargers: usize,
    decisions: usize,
    p50_us: u128,
    p99_us: u128,
    fuel: u64,
    peak_memory_bytes: usize,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for what can't be used; another when a decision fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(wrong) = args.chargers.iter().find(|count| !(1..=MOST_CHARGERS).contains(*count)) {
        bail!(Usage(format!("--chargers {wrong}: give 1 to {MOST_CHARGERS}")));
    }
    let bytes = files::read(&args.file)?;
    let settings = args.settings.as_deref().map(files::read_text).transpose()?.unwrap_or_default();
    // Fuel is what is measured here, not what ends a decision.
    let host = files::host_with_fuel(files::MOST_FUEL)?;
    let waiting = Waiting::on("compiling", !args.json);
    let policy = files::load(&host, &args.file, &bytes)?;
    drop(waiting);
    let faults = policy.validate_settings(&settings)?;
    if !faults.is_empty() {
        bail!(Usage(format!("the settings are wrong: {}", faults.join("; "))));
    }
    let rows = measure(args, &policy, &settings)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", table(&rows));
    }
    Ok(())
}

fn measure(args: &Args, policy: &Policy, settings: &str) -> anyhow::Result<Vec<Row>> {
    let budget_ms = u64::try_from(BUDGET.as_millis()).unwrap_or(u64::MAX);
    let bar = Progress::new("measuring", 0, budget_ms, args.chargers.len(), !args.json);
    let measured = |count: &usize| {
        let mut bar = bar.clone();
        let row = row(policy, settings, *count, |spent| {
            bar.tell(u64::try_from(spent.as_millis()).unwrap_or(u64::MAX));
        });
        bar.tell(budget_ms);
        row.with_context(|| format!("at {count} chargers"))
    };
    let rows = args.chargers.iter().map(measured).collect();
    bar.end();
    rows
}

fn row(
    policy: &Policy,
    settings: &str,
    chargers: usize,
    mut spent: impl FnMut(Duration),
) -> anyhow::Result<Row> {
    let snapshot = site(chargers)?;
    let decide = || -> Result<(Duration, Decided), RunError> {
        let start = Instant::now();
        policy.decide(&snapshot, settings, &[]).map(|decided| (start.elapsed(), decided))
    };
    // The first touches memory that the others find there.
    let (_, first) = decide()?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < MOST_DECISIONS && (times.is_empty() || begun.elapsed() < BUDGET) {
        times.push(decide()?.0.as_micros());
        spent(begun.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (fuel, peak_memory_bytes) = (first.fuel, first.memory_bytes);
    Ok(Row { chargers, decisions: times.len(), p50_us: at(50), p99_us: at(99), fuel, peak_memory_bytes })
}

/// A site with this many chargers.
fn site(chargers: usize) -> anyhow::Result<Snapshot> {
    let boards = chargers.div_ceil(50);
    let grid = json!({ "id": "grid", "limit_ma": 10_000 * chargers });
    let board = |n: usize| json!({ "id": format!("board-{n}"), "parent": 0, "limit_ma": 400_000 });
    let circuits: Vec<Value> = std::iter::once(grid).chain((0..boards).map(board)).collect();
    let phases = [json!(["L1"]), json!(["L2"]), json!(["L3"]), json!(["L1", "L2", "L3"])];
    let charger = |n: usize| json!({ "id": format!("c{n}"), "circuit": 1 + n / 50, "phases": phases[n % 4] });
    let chargers: Vec<Value> = (0..chargers).map(charger).collect();
    fill::snapshot(&json!({ "circuits": circuits, "chargers": chargers })).map_err(anyhow::Error::msg)
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from("chargers     p50 ms     p99 ms  fuel, million  memory, MiB  decisions\n");
    for row in rows {
        let (p50, p99, fuel) = (row.p50_us as f64 / 1e3, row.p99_us as f64 / 1e3, row.fuel as f64 / 1e6);
        let memory = row.peak_memory_bytes as f64 / f64::from(1 << 20);
        let beyond = if row.fuel > USUAL_FUEL { "  more fuel than an edge node grants unasked" } else { "" };
        out += &format!(
            "{:8}  {p50:9.2}  {p99:9.2}  {fuel:13.2}  {memory:11.2}  {:9}{beyond}\n",
            row.chargers, row.decisions
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sites_are_whole_at_any_size() {
        for chargers in [1, 49, 50, 51, 1_000] {
            assert_eq!(site(chargers).expect("a snapshot").chargers.len(), chargers);
        }
    }
}
