//! `wattle policy backtest`: the history of a site, run again under another policy.
//!
//! ```text
//! lake -> history -> what was recorded ----------------------> books -> column `recorded`
//!            |                                                               |
//!            '-> facts, demand -> vehicles, load, signals                    v
//!                                      '-> world, policy -> rows -> books -> columns of the runs -> report, chart
//! ```
//!
//! The world is that of [`crate::simulate`]: the same device machines, edge machines and clock. What differs is where demand comes from: there a
//! trace, here a history. Recorded rows and those of a run go through the same [`books`], so that every figure of a column means the same.
//!
//! - [`range`] says which stays are counted and where a run begins; [`history`] asks the lake.
//! - [`facts`] and [`demand`] say what vehicles would have taken; what is assumed is told.
//! - [`play`] runs a policy; [`setpoints`] tells how many recorded setpoints come out again.
//! - [`report`], [`table`] and [`chart`] show what came out.

pub mod books;
pub mod chart;
pub mod course;
pub mod demand;
pub mod facts;
pub mod history;
pub mod play;
pub mod range;
pub mod report;
pub mod setpoints;
mod stage;
pub mod table;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use wattle_wire::{Micros, SiteId};

use crate::Usage;
use crate::output::Output;
use crate::replay::entries::moment;
use crate::source::{Source, SourceArgs};
use demand::Assumed;

/// Run the recorded history of a site again under another policy, and compare what comes out
///
/// Vehicles come and leave as they did, other consumers draw what they drew, and the policy decides on virtual time. Beside it stands what was
/// recorded, and the policy that decided then, run again in the same way: how far that one agrees with what was recorded says how far the
/// rest is to be trusted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy backtest --lake ./lake --site depot --policy first-come
  wattle policy backtest --lake ./lake --site depot --policy ./mine.wasm --from 2026-05-01 --to 2026-06-01 --svg may.svg
  wattle policy backtest --lake http://fog.example:7401 --site depot --policy cost-aware --prices prices.csv --json

docs/policies/backtest.md says what is assumed and what each row means.
Exit codes: 0 done, 1 it failed or a run passed a limit, 2 something that can't be used.")]
pub struct Args {
    /// A lake folder, or the address of a fog node
    #[arg(long, value_name = "DIR|URL")]
    lake: String,
    /// The site
    #[arg(long, value_name = "SITE")]
    site: SiteId,
    /// The policy to try: a name in the folder of policies, or a path that ends in .wasm
    #[arg(long, value_name = "NAME|WASM")]
    policy: String,
    /// Its settings, JSON; else those of the site's configuration if that names this policy, else none
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// What to compare it with; the policy that decided unless given
    #[arg(long, value_name = "NAME|WASM")]
    against: Option<String>,
    /// The settings of --against, JSON
    #[arg(long, value_name = "FILE", requires = "against")]
    against_settings: Option<PathBuf>,
    /// Count stays that begin at this time or later; a day by itself begins in the site's time zone
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Count stays that begin before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    assumed: Assumed,
    /// What energy costs, CSV: `from,price_per_kwh`; told to the policies unless the site was told prices then
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// What the site has to spare for its chargers, CSV: `from,surplus_w`; told as prices are
    #[arg(long, value_name = "FILE")]
    surplus: Option<PathBuf>,
    /// The folder of policies, with the component that decided then; else as docs/edge.md says
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Draw a chart into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for what can't be used, and a site or a time without history; another when the lake can't be read or a run has passed a limit.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut lake = open(&args.lake).await?;
    let report = stage::report(&args, &mut lake).await?;
    let mut output = Output::open(None)?;
    if args.json {
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(output, "{report}")?;
    }
    output.finish()?;
    // What was long in coming is shown first, whatever becomes of the chart.
    if let Some(path) = &args.svg {
        let mut output = Output::open(Some(path))?;
        output.write_all(chart::svg(&report).as_bytes())?;
        output.finish()?;
    }
    if report.has_breaches() {
        bail!(
            "a run has passed a limit, which must never be: the envelope has a fault, or the configuration is another than it was"
        );
    }
    Ok(())
}

async fn open(lake: &str) -> anyhow::Result<Source> {
    let args = if lake.contains("://") {
        SourceArgs { at: Some(lake.to_owned()), lake: None }
    } else {
        SourceArgs { at: None, lake: Some(lake.into()) }
    };
    args.open().await
}

fn settings(file: &std::path::Path) -> anyhow::Result<toml::Table> {
    let unusable = |why: &dyn std::fmt::Display| Usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    serde_json::from_str(&text).map_err(|error| unusable(&format!("{error}; give a JSON object")).into())
}

/// A moment of the command line: a time, or a day, which begins by the clocks of the site.
fn moment_or_day(text: &str, zone: &str) -> anyhow::Result<Micros> {
    let Ok(day) = text.parse::<jiff::civil::Date>().map_err(drop).and_then(|day| match text.len() {
        10 => Ok(day),
        _ => Err(()),
    }) else {
        return moment(text).map_err(|why| Usage(format!("{why}, or a day such as 2026-05-01")).into());
    };
    let begin = day.in_tz(zone).with_context(|| format!("time zone {zone}"))?;
    Ok(Micros(begin.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_by_the_clocks_of_the_site_and_a_time_says_where() {
        let check = |text: &str, expected: &str| {
            let at = moment_or_day(text, "Europe/Berlin").expect("a moment");
            assert_eq!(crate::replay::entries::shown(at), expected, "{text}");
        };
        check("2026-05-01", "2026-04-30T22:00:00.000Z");
        check("2026-05-01T06:00:00Z", "2026-05-01T06:00:00.000Z");
        check("2026-05-01T06:00:00+02:00", "2026-05-01T04:00:00.000Z");
        let error = moment_or_day("may", "UTC").expect_err("no moment");
        assert!(error.is::<Usage>() && error.to_string().contains("or a day such as"), "{error}");
    }

    #[tokio::test]
    async fn a_lake_is_a_folder_or_an_address() {
        let error = open("/nowhere").await.err().expect("no lake");
        assert!(error.is::<Usage>() && error.to_string().contains("is no lake folder"), "{error}");
        let error = open("ftp://nowhere").await.err().expect("no address");
        assert!(error.is::<Usage>(), "{error}");
    }
}
