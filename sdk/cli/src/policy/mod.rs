//! `wattle policy`: build, inspect and run load policies.

mod build;
mod inspect;
mod run;

/// Build, inspect and run load policies
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Args),
    Inspect(inspect::Args),
    Run(run::Args),
}

/// Runs the command.
///
/// # Errors
/// When a policy doesn't build, is none, or gives no plan.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Run(args) => run::run(&args),
    }
}
