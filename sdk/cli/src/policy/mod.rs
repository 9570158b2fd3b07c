//! `wattle policy`: write, build, test, measure, sign, run, replay and backtest load policies. What an author does stands in
//! [`wattle_policy_dev`]; what needs an edge node's own code, here.

mod run;

use wattle_policy_dev::{bench, build, inspect, keys, new, test};

/// Write, build, test, measure, sign, run, replay and backtest load policies
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(new::Args),
    Build(build::Args),
    Test(test::Args),
    Bench(bench::Args),
    Inspect(inspect::Args),
    Replay(crate::replay::Args),
    Backtest(crate::backtest::Args),
    Run(run::Args),
    Keygen(keys::KeygenArgs),
    Sign(keys::SignArgs),
    Verify(keys::VerifyArgs),
}

/// Runs the command.
///
/// # Errors
/// When a policy doesn't build, is none, isn't trusted, or gives another plan than is expected.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Replay(args) => crate::replay::run(args).await,
        Command::Backtest(args) => crate::backtest::run(args).await,
        Command::Run(args) => run::run(&args),
        Command::Keygen(args) => keys::keygen(&args),
        Command::Sign(args) => keys::sign(&args),
        Command::Verify(args) => keys::verify(&args),
    }
}
