//! `wattle-edge`: the edge node as a process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wattle_edge::{broker, command, files, heap, node};

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

/// What it does beside running a node.
#[derive(Debug, Subcommand)]
enum Command {
    /// Looks into a node's journal, or mends it.
    #[command(subcommand)]
    Journal(command::journal::Command),
    /// Tells for the last recorded decision, or the last one at or before a time, why each charger got what it got.
    ///
    /// It replays the journal up to that decision; a node may be running on it. `wattle explain` does the same for a lake.
    Explain(command::explain::Explain),
}

fn main() -> ExitCode {
    heap::give_back();
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Journal(command)) => return command::journal::run(command),
        Some(Command::Explain(explain)) => return command::explain::run(&explain),
        None => {}
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
        if let Some(note) = files.config.documents_note() {
            println!("{note}");
        }
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
