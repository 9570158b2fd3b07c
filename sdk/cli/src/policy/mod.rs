//! `wattle policy`: build, inspect and run load policies, and replay what they have decided.

mod build;
mod inspect;
mod run;

/// Build, inspect, run and replay load policies
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Args),
    Inspect(inspect::Args),
    Replay(crate::replay::Args),
    Run(run::Args),
}

/// Runs the command.
///
/// # Errors
/// When a policy doesn't build, is none, or gives no plan.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Replay(args) => crate::replay::run(args).await,
        Command::Run(args) => run::run(&args),
    }
}
