//! `wattle-fog`: the fog node as a process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use wattle_fog::config::FogConfig;
use wattle_fog::node::Node;
use wattle_process::EXIT_USAGE;

/// Receives the journals of edges, keeps the lake, answers queries.
#[derive(Parser)]
#[command(name = "wattle-fog", version)]
struct Arguments {
    /// The configuration file; without it every key has its default.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The folder of the lake, instead of the configured one.
    #[arg(long)]
    lake: Option<PathBuf>,
    /// Only reads the configuration, its certificates, keys and passwords, and names every mistake.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    wattle_process::init_tracing();
    let only_check = arguments.check;
    let config = match configuration(arguments) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_USAGE as u8);
        }
    };
    if only_check {
        println!("the configuration is right");
        return ExitCode::SUCCESS;
    }
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattle-fog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configuration(arguments: Arguments) -> Result<FogConfig, String> {
    let mut config = match arguments.config {
        Some(path) => {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{name}: can't be read: {error}"))?;
            let config = FogConfig::parse(&name, &text).map_err(|problems| problems.to_string())?;
            if arguments.check {
                let mut problems = wattle_site::Problems::default();
                config.check_files(&name, &mut problems);
                problems.or(()).map_err(|problems| problems.to_string())?;
            }
            config
        }
        None => FogConfig::default(),
    };
    if let Some(lake) = arguments.lake {
        config.lake = lake;
    }
    Ok(config)
}

#[tokio::main]
async fn run(config: &FogConfig) -> anyhow::Result<()> {
    let stop = wattle_process::shutdown_signal();
    let mut node = Node::start(config).await?;
    tracing::info!(
        uplink = %node.uplink(), sql = %node.sql(), http = %node.http(), lake = %config.lake.display(),
        "fog node ready"
    );
    tokio::select! {
        stopped = stop => stopped?,
        error = node.failure() => return Err(error),
    }
    tracing::info!("stopping: committing what is queued");
    node.stop().await?;
    tracing::info!("stopped");
    Ok(())
}
