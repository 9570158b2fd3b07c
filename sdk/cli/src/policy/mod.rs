//! `wattle policy`: build and inspect load policies.

mod build;
mod inspect;

/// Build and inspect load policies
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Args),
    Inspect(inspect::Args),
}

/// Runs the command.
///
/// # Errors
/// When a policy doesn't build, or is none.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    }
}
