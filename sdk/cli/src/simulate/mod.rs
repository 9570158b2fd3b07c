//! `wattle simulate`: real sessions through the whole line, on virtual time.
//!
//! ```text
//! trace -> vehicles at stalls -> device machines -> edge machines, policy, journal -> lake -> SQL
//!                   ^                                   |
//!                   '------------ setpoints ------------'
//! ```
//!
//! Devices, edge, policy, columns, lake and queries are those of the real nodes; what is simulated is time, the network
//! between devices and edge, and the vehicles. Nothing is random: the same site, policy and trace give the same rows.
//!
//! - [`trace`] and [`row`] read the sessions and refuse what is none; [`site`] gives the trace's stations chargers.
//! - [`guest`] is a vehicle with what it wants, from a trace here and from the history of a site in [`crate::backtest`].
//! - [`world`] is the clock; [`stall`] the devices and vehicles; [`edge`] and [`journal`] the edge node.
//! - [`series`] reads prices and surplus; [`cost`] and [`service`] tell what energy cost and how vehicles were served, [`outcome`] both.
//! - [`watch`] tells from outside whether the limit was kept; [`check`] asks the lake whether it holds the trace.

pub mod check;
pub mod cost;
pub mod edge;
pub mod guest;
pub mod journal;
pub mod outcome;
pub mod row;
pub mod series;
pub mod service;
pub mod site;
pub mod stall;
pub mod summary;
pub mod trace;
pub mod watch;
pub mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use wattle_edge::policy::{self, SitePolicy};
use wattle_fog::lake::Lake;
use wattle_policy_dev::progress::{Progress, Waiting};
use wattle_policy_host::{Host, Limits};
use wattle_site::Control;
use wattle_wire::Micros;
use wattle_wire::uplink::Incarnation;

use crate::Usage;
use crate::output::Output;
use crate::source::Source;
use cost::Outside;
use edge::Edge;
use guest::Guest;
use journal::Journal;
use outcome::Outcome;
use site::{Equipped, READING_MS, Site};
use summary::Summary;
use trace::Trace;
use world::{Ran, Scene, World};

/// The simulation begins this long before the first vehicle comes, six readings: so much a machine needs that has just begun to know
/// what chargers draw and what the load is.
pub const LEAD_MS: u64 = 6 * READING_MS;

/// Run the sessions of a trace through the whole line on virtual time
///
/// Each row of the trace becomes a session in the lake or, where it makes no sense, an entry of its quarantine.
/// A vehicle stays as long as the trace says and takes at most what it says was delivered, on the one phase that its
/// station is wired to. Ends with a summary; fails when the lake doesn't hold the trace.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle simulate --site depot.toml --trace sessions.csv.gz --lake ./lake
  wattle simulate --site depot.toml --policy ./mine.wasm --trace sessions.csv --lake ./lake --json
  wattle simulate --site depot.toml --policy cost-aware --prices prices.csv --trace sessions.csv --lake ./lake
  wattle sql --lake ./lake \"SELECT device, sum(energy_wh) FROM sessions GROUP BY device\"

Exit codes: 0 the lake holds the trace, 1 it doesn't, or can't be written, 2 a file that can't be used.")]
pub struct Args {
    /// The site file; where it names no chargers, each station of the trace becomes one
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// The policy: a name in the folder of policies, or a component; the site file's unless given
    #[arg(long, value_name = "NAME|WASM")]
    policy: Option<String>,
    /// The sessions, CSV or gzipped CSV
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// What energy costs, CSV: `from,price_per_kwh`
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// What the site has to spare for its chargers, CSV: `from,surplus_w`
    #[arg(long, value_name = "FILE")]
    surplus: Option<PathBuf>,
    /// Where the lake is made; an empty folder or none yet
    #[arg(long, value_name = "DIR")]
    lake: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for files that can't be used; others when the lake can't be written or doesn't hold the trace at the end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let summary = simulate(&args).await?;
    let mut output = Output::open(None)?;
    if args.json {
        writeln!(output, "{}", serde_json::to_string(&summary)?)?;
    } else {
        write!(output, "{summary}")?;
    }
    output.finish()
}

async fn simulate(args: &Args) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let site = Site::read(&args.site)?;
    let trace = trace::read(&args.trace, |station| site.has(station))?;
    let mut site = site.equipped(&trace.stations())?;
    if let Some(policy) = &args.policy {
        site.file.control.policy.clone_from(policy);
    }
    let outside = Outside::read(args.prices.as_deref(), args.surplus.as_deref(), &site.file.time_zone)?;
    let (_, policy) = load_policy(&policy::folder(None), &site.file.control)?;
    let lake = Arc::new(new_lake(&args.lake).await?);
    let (site, trace) = (Arc::new(site), Arc::new(trace));
    let ran = play(site.clone(), policy, outside, trace.clone(), (lake.clone(), !args.json)).await?;
    let waiting = Waiting::on("deriving tables", !args.json);
    lake.derive().await?;
    let lake = Arc::into_inner(lake).context("the lake is still being written")?;
    let found = check::check(&mut Source::Lake(Box::new(lake)), &site.file.id, &trace).await?;
    drop(waiting);
    let requested = trace.stays.iter().filter_map(|stay| stay.requested).map(|wh| wh.0);
    Ok(Summary {
        rows: trace.rows,
        sessions: found.sessions,
        quarantined: trace.refusals(),
        requested_wh: requested.sum(),
        wanted_wh: trace.stays.iter().map(|stay| stay.delivered.0).sum(),
        delivered_wh: found.delivered_wh,
        outcome: Outcome::of(ran.served, found.full, ran.cost_micros, ran.from_surplus_wh),
        peak_a: ran.peak.0.map(|peak| f64::from(peak.0) / 1000.0),
        breaches: ran.breaches,
        easy: found.easy,
        short: found.short,
        entries: ran.entries,
        decisions: ran.decisions,
        policy_failures: ran.failures,
        wall_s: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    })
}

/// The policy, which must load, with its name and version: a simulation with another one than was asked for helps nobody.
///
/// # Errors
/// [`Usage`] if it can't be used.
pub fn load_policy(folder: &Path, control: &Control) -> anyhow::Result<(String, SitePolicy)> {
    // Fuel is the limit that binds, on a busy machine too.
    let host = Host::new(Limits { deadline: Duration::from_secs(10), ..Limits::default() })?;
    let unusable = |why: &dyn std::fmt::Display| {
        let text = format!(
            "policy {}: {why}; give a component, or a name with its folder in ${}",
            control.policy,
            policy::FOLDER_VARIABLE
        );
        Usage(text)
    };
    let name = match policy::Source::active(folder, control) {
        Some(source) => source.load(&host).map_err(|error| unusable(&error))?.name(),
        None => "built-in equal share".to_owned(),
    };
    Ok((name, SitePolicy::load(&host, folder, control)))
}

async fn new_lake(folder: &Path) -> anyhow::Result<Lake> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!(
            "{} is not empty; a simulation makes a lake of its own, give a new folder",
            folder.display()
        );
        return Err(Usage(text).into());
    }
    Lake::open(folder).await.with_context(|| format!("lake {}", folder.display()))
}

/// Plays the trace on a thread of its own; when this returns, the raw tables hold everything.
async fn play(
    site: Arc<Equipped>,
    policy: SitePolicy,
    outside: Outside,
    trace: Arc<Trace>,
    (lake, is_shown): (Arc<Lake>, bool),
) -> anyhow::Result<Ran> {
    let first = trace.stays.first().map_or(LEAD_MS, |stay| world::millis(stay.arrival));
    let from_ms = first.saturating_sub(LEAD_MS);
    let (journal, committing) = Journal::open(lake, Incarnation(u128::from(from_ms) + 1));
    let playing = tokio::task::spawn_blocking(move || {
        let from = Micros::from_millis(i64::try_from(from_ms)?);
        let mut edge = Edge::new(&site, policy, outside.clone(), journal, from)?;
        edge.refuse(&trace.refused, from)?;
        let until = trace.stays.last().map_or(from_ms, |stay| world::millis(stay.departure));
        let mut progress = Progress::new("simulating", from_ms, until, 1, is_shown);
        let guests: Vec<Guest> = trace.stays.iter().map(Guest::from).collect();
        let scene = Scene { outside, ..Scene::default() };
        let ran = World::new(&site, &guests, &scene, edge, from_ms).run(|at| progress.tell(at));
        progress.end();
        ran
    });
    let played = playing.await.context("the simulation ended early")?;
    // Why the lake takes no more is said by who writes it.
    committing.done().await?;
    played
}
