//! `wattle-bench`: every figure that we quote, each beside its limit or its peer in the same run.
//!
//! [`ingest`], [`memory`], [`journal`], `outage`, [`decide`], [`policy`], [`fleet`], [`sites`], `commit`, `fresh` and [`control`]
//! measure one thing each; `README.md` says how, and what limits
//! it. Brokers, publishers and the client that readings are counted against are processes of their own ([`load`]), and
//! so is the edge: the program that people run. The result is a table on standard output and
//! `results/latest.json` ([`report`]).
//!
//! Every measurement is bounded in time. Everything listens on 127.0.0.1 only, and what was started ends with
//! the run.

#[cfg(feature = "commit")]
mod commit;
mod control;
mod decide;
mod fleet;
#[cfg(feature = "commit")]
mod fresh;
mod ingest;
mod journal;
mod load;
mod memory;
#[cfg(feature = "commit")]
mod outage;
mod policy;
mod report;
mod sample;
mod sites;
mod virtual_site;

use clap::{Parser, Subcommand, ValueEnum};

use report::Report;

/// Measures, each figure beside its limit or its peer in the same run.
#[derive(Debug, Parser)]
#[command(name = "wattle-bench", version)]
struct Arguments {
    /// Only this one.
    #[arg(long, value_name = "NAME")]
    only: Option<Bench>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Readings from the broker to the edge's disk.
    Ingest,
    /// What an edge takes of memory at most.
    Memory,
    /// Rows appended and synced.
    Journal,
    /// A day without a fog node: bytes, restart, drain; only where this program was built with the lake.
    Outage,
    /// From a meter reading to the setpoint.
    Decide,
    /// One call of a policy, beside the decision that it is a part of.
    Policy,
    /// The same alone, which takes a second; not by default.
    Call,
    /// Decisions with 1,000 chargers on 50 sites.
    Fleet,
    /// The memory that 1,000 sites add.
    Sites,
    /// From sealed segments to the lake; only where this program was built with the lake.
    Commit,
    /// From a measurement to the answer of a query; only where this program was built with the lake.
    Fresh,
    /// A thousand hours of random operation on virtual time.
    Control,
}

/// What a measurement starts as a process of its own.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    Broker(load::broker::Arguments),
    #[command(hide = true)]
    Drain(load::drain::Arguments),
    #[command(hide = true)]
    Publish(load::publish::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Broker(arguments)) => load::broker::run(&arguments),
        Some(Part::Drain(arguments)) => load::drain::run(arguments),
        Some(Part::Publish(arguments)) => load::publish::run(&arguments),
        None => measure(arguments.only),
    }
}

fn measure(only: Option<Bench>) -> anyhow::Result<()> {
    let wanted = |bench| only.is_none_or(|only| only == bench);
    let mut report = Report::default();
    if wanted(Bench::Ingest) {
        ingest::measure(&mut report)?;
    }
    if wanted(Bench::Memory) {
        memory::measure(&mut report)?;
    }
    if wanted(Bench::Journal) {
        journal::measure(&mut report)?;
    }
    #[cfg(feature = "commit")]
    if wanted(Bench::Outage) {
        outage::measure(&mut report)?;
    }
    let mut decided = None;
    if wanted(Bench::Decide) {
        decided = Some(decide::measure(&mut report)?);
    }
    if wanted(Bench::Policy) {
        let medians = decided.map_or_else(decide::p50, Ok)?;
        policy::measure(&mut report, Some(medians))?;
    }
    if only == Some(Bench::Call) {
        policy::measure(&mut report, None)?;
    }
    if wanted(Bench::Fleet) {
        fleet::measure(&mut report)?;
    }
    if wanted(Bench::Sites) {
        sites::measure(&mut report)?;
    }
    #[cfg(feature = "commit")]
    if wanted(Bench::Commit) {
        commit::measure(&mut report)?;
    }
    #[cfg(feature = "commit")]
    if wanted(Bench::Fresh) {
        fresh::measure(&mut report)?;
    }
    if wanted(Bench::Control) {
        control::measure(&mut report)?;
    }
    report.finish()
}
