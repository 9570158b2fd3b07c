//! `wattle-edge explain`: why each charger got what it got.

use std::path::PathBuf;
use std::process::ExitCode;

use wattle_wire::{DeviceId, Micros, SiteId};

use crate::{policy, replay};

/// What to explain.
#[derive(Debug, clap::Args)]
pub struct Explain {
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
    /// The folder with the components that decided; else as docs/edge.md says. Those that the node keeps are found too
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

/// Prints the explanation, or why there is none.
pub fn run(arguments: &Explain) -> ExitCode {
    let Explain { data, site, at, charger, policies } = arguments;
    let folders = replay::folders(&policy::folder(policies.as_deref()), Some(data));
    let journal = data.join("journal");
    match replay::explain::from_journal(&journal, site.as_ref(), *at, &folders, charger.as_ref()) {
        Ok(explained) => {
            print!("{explained}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wattle-edge: {}", super::words(&error));
            ExitCode::FAILURE
        }
    }
}
