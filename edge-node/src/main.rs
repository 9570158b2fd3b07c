//! `wattle-edge`: the edge node as a process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wattle_edge::{broker, files, node, policy, replay};
use wattle_wire::{DeviceId, Micros, SiteId};

/// Takes what chargers and meters send, keeps each site within its limits, and sends every row up.
#[derive(Debug, Parser)]
#[command(name = "wattle-edge", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The node's own configuration; without it every key has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only reads the files and names every mistake.
    #[arg(long)]
    check: bool,
    /// Is the process of the embedded broker, which the node starts; see [`wattle_edge::broker`].
    #[arg(long, hide = true)]
    embedded_broker: bool,
    /// The sites that this node controls.
    #[arg(value_name = "SITE.toml")]
    sites: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells for the last recorded decision, or the last one at or before a time, why each charger got what it got.
    ///
    /// It replays the journal up to that decision; a node may be running on it. `wattle explain` does the same for a lake.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The node's data folder
    #[arg(long, value_name = "DIR", default_value = "wattle-edge-data")]
    data: PathBuf,
    /// The site; may be left out where there is only one
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    /// The time, UTC, as 2026-05-01T18:00:00; the last decision if it is left out
    #[arg(long, value_name = "TIME", value_parser = replay::explain::moment)]
    at: Option<Micros>,
    /// Only this charger
    #[arg(long, value_name = "CHARGER")]
    charger: Option<DeviceId>,
    /// The folder with the components that decided; else as docs/edge.md says
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

fn explain(arguments: &Explain) -> ExitCode {
    let Explain { data, site, at, charger, policies } = arguments;
    let policies = policy::folder(policies.as_deref());
    let journal = data.join("journal");
    match replay::explain::from_journal(&journal, site.as_ref(), *at, &policies, charger.as_ref()) {
        Ok(explained) => {
            print!("{explained}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wattle-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Explain(arguments)) = &arguments.command {
        return explain(arguments);
    }
    if arguments.embedded_broker {
        wattle_process::init_tracing();
        return broker::child::run();
    }
    let read = if arguments.check { files::check } else { files::read };
    let files = match read(arguments.config.as_deref(), &arguments.sites) {
        Ok(files) => files,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(wattle_process::EXIT_USAGE as u8);
        }
    };
    if arguments.check {
        println!("{} right", if files.sites.len() == 1 { "the site is" } else { "all sites are" });
        return ExitCode::SUCCESS;
    }
    wattle_process::init_tracing();
    match actix::System::new().block_on(node::run(files, wattle_process::shutdown_signal())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattle-edge: {error:#}");
            ExitCode::FAILURE
        }
    }
}
