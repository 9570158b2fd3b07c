//! `wattle policy`: write, build, test, measure, sign, run, replay, backtest and deploy load policies. What an author does stands in
//! [`wattle_policy_dev`]; what needs an edge node's own code, here.

mod deploy;
mod run;
mod status;
mod token;

use wattle_policy_dev::{bench, build, inspect, keys, new, test};

/// Write, build, test, measure, sign, run, replay, backtest and deploy load policies
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy new mine && wattle policy test mine && wattle policy bench mine/mine.wasm
  wattle policy deploy mine/mine.wasm --site depot && wattle policy status

docs/policies/guide.md begins with the first and ends with the last of these.
Exit codes: as each of them says.")]
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
    Explain(crate::replay::explain::Args),
    Backtest(crate::backtest::Args),
    Run(run::Args),
    Keygen(keys::KeygenArgs),
    Sign(keys::SignArgs),
    Verify(keys::VerifyArgs),
    Deploy(deploy::Args),
    Status(status::Args),
    Token(token::Args),
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
        Command::Explain(args) => crate::replay::explain::run(args).await,
        Command::Backtest(args) => crate::backtest::run(args).await,
        Command::Run(args) => run::run(&args).await,
        Command::Keygen(args) => keys::keygen(&args),
        Command::Sign(args) => keys::sign(&args),
        Command::Verify(args) => keys::verify(&args),
        Command::Deploy(args) => deploy::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Token(args) => token::run(&args),
    }
}

/// Where a component is that `make policies` builds.
#[cfg(test)]
fn built(name: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("WATTLE_POLICIES").map(std::path::PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into());
    folder.join(name).with_extension("wasm")
}
