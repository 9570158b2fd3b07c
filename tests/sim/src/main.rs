//! `wattle-sim`: runs the worlds of many seeds, or shows one.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use wattle_sim::{Random, Report, Switch, Violation};

/// Run the whole line on virtual time, with everything that can go wrong.
#[derive(Parser)]
#[command(name = "wattle-sim", version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this one, and show its plan.
    #[arg(long)]
    seed: Option<u64>,
    /// Write down each event of that one.
    #[arg(long)]
    trace: bool,
    /// Take something away, as `LogBytes`.
    #[arg(long, value_parser = switch)]
    without: Option<Switch>,
}

fn switch(name: &str) -> Result<Switch, String> {
    let known = Switch::ALL.iter().find(|switch| format!("{switch:?}") == name);
    known.copied().ok_or_else(|| format!("there are {:?}", Switch::ALL))
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(&args, seed),
        None => many(&args),
    }
}

fn one(args: &Args, seed: u64) -> ExitCode {
    let plan = wattle_sim::Plan::of(&mut Random::new(seed)).with_rare(seed);
    println!("{plan:#?}");
    let write = |line: String| {
        if args.trace {
            println!("{line}");
        }
    };
    match wattle_sim::run_aloud(args.without, seed, write) {
        Ok(report) => {
            println!("seed {seed}: {report:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => fail(seed, &violation),
    }
}

fn fail(seed: u64, violation: &Violation) -> ExitCode {
    println!("seed {seed}: {violation}\n  again: {}", wattle_sim::replay(seed));
    ExitCode::FAILURE
}

fn many(args: &Args) -> ExitCode {
    let started = Instant::now();
    let seeds = args.seeds;
    let run = |seed| match args.without {
        Some(switch) => wattle_sim::run_without(switch, seed),
        None => wattle_sim::run(seed),
    };
    let results = wattle_sim::many(args.from, seeds, run);
    let mut all = Report::default();
    let mut failed = 0;
    for (seed, result) in &results {
        match result {
            Ok(report) => all.add(report),
            Err(violation) => {
                failed += 1;
                fail(*seed, violation);
            }
        }
    }
    println!(
        "{seeds} seeds in {:.1} s: {failed} failed; {} events, {} restarts, {} s of virtual time; {} messages \
         acknowledged, {} rows in the lake, {} dropped by the byte budget and recorded",
        started.elapsed().as_secs_f64(),
        all.events,
        all.restarts,
        all.lasted / 1_000_000,
        all.acknowledged,
        all.rows,
        all.gaps,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
