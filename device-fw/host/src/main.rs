//! `wattle-device`: a charger or a meter on this machine. See the library for what it is made of.

use std::process::exit;

use clap::Parser;
use wattle_device::args::Cli;
use wattle_device::fleet::Plan;
use wattle_process::{EXIT_USAGE, init_tracing};

fn main() {
    init_tracing();
    let plan = Plan::read(Cli::parse().kind).unwrap_or_else(|e| fail(&e, EXIT_USAGE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(&e.into(), 1));
    let ended = tokio::task::LocalSet::new().block_on(&runtime, plan.run());
    if let Err(e) = ended {
        fail(&e, 1);
    }
}

fn fail(error: &anyhow::Error, code: i32) -> ! {
    eprintln!("wattle-device: {error:#}");
    exit(code)
}
