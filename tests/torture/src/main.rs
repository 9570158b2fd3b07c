//! `wattle-torture`: kills every process of the line at random moments, and counts what the lake has of it. See the
//! library. `make torture KILLS=200 SEED=7` runs it.

use std::path::PathBuf;
use std::process::exit;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use wattle_torture::plan::Way;
use wattle_torture::play::Options;
use wattle_torture::{devices, play, report};

/// Kills every process of the line at random moments, and counts what the lake has of what was acknowledged.
///
/// Exit code 1 when something is missing, twice or changed, when a process ends by itself, or when it doesn't go on.
#[derive(Debug, Parser)]
#[command(name = "wattle-torture")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many kills
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// What the plan is made from; the time of day unless given
    #[arg(long)]
    seed: Option<u64>,
    /// How segments reach the fog node
    #[arg(long, value_enum, default_value = "kafka")]
    way: Way,
    /// The folder of the run, emptied first; in torture/ beside the program unless given. It stays when something is wrong
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the folder also when nothing is wrong
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Plays the devices, as the torture starts them
    #[command(hide = true)]
    Devices(devices::Args),
}

fn main() {
    let cli = Cli::parse();
    let ended = match &cli.part {
        Some(Part::Devices(args)) => play_devices(args),
        None => torture(&cli),
    };
    if let Err(error) = ended {
        eprintln!("wattle-torture: {error:#}");
        exit(1);
    }
}

fn play_devices(args: &devices::Args) -> Result<()> {
    wattle_process::init_tracing();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, devices::run(args))
}

fn torture(cli: &Cli) -> Result<()> {
    let seed = cli.seed.unwrap_or_else(rand::random);
    let folder = match &cli.dir {
        Some(folder) => folder.clone(),
        None => beside()?.join(format!("{}-{seed}", cli.way.as_str())),
    };
    let kills = usize::try_from(cli.kills)?;
    let options = Options { seed, kills, way: cli.way, folder: folder.clone() };
    println!("{kills} kills; {}", report::whereabouts(seed, cli.way, &folder));
    let outcome = play::run(&options).with_context(|| report::whereabouts(seed, cli.way, &folder))?;
    println!("\n{}", outcome.table());
    if !outcome.findings.is_sound() {
        eprintln!("{}", outcome.complaint(&folder));
        exit(1);
    }
    if !cli.keep {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    Ok(())
}

/// On the disk of the build: what is synced in a folder that lives in memory is not on a disk.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program stands in a folder")?.join("torture"))
}
