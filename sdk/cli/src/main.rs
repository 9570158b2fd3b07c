//! `wattle`: see the library for what each subcommand does.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wattle::{bill, demo, exit, policy, receipt, replay, signal, simulate, sql, status};

/// Share a site's power among its chargers: ask the lake, write bills, look after nodes.
///
/// Exit codes: 0 done, 1 failed, 2 a command line or configuration that can't be used.
#[derive(Parser)]
#[command(name = "wattle", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sql(sql::Args),
    Bill(bill::Args),
    Demo(demo::Args),
    Explain(replay::explain::Args),
    Policy(policy::Args),
    Receipt(receipt::Args),
    Signal(signal::Args),
    Simulate(simulate::Args),
    Status(status::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    exit::code_of(match Cli::parse().command {
        Command::Sql(args) => sql::run(args).await,
        Command::Bill(args) => bill::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Explain(args) => replay::explain::run(args).await,
        Command::Policy(args) => policy::run(args).await,
        Command::Receipt(args) => receipt::run(args).await,
        Command::Signal(args) => signal::run(args).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Status(args) => status::run(args).await,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_fits_together() {
        Cli::command().debug_assert();
    }
}
