//! `wattle bill`: what the sessions of a month cost, per user.

use std::io::Write as _;

use anyhow::bail;
use wattle_fog::billing::rate::{Month, Terms};
use wattle_fog::billing::{json, rate, rows, text};
use wattle_policy_dev::progress::Waiting;
use wattle_wire::SiteId;

use crate::output::Output;
use crate::source::{Source, SourceArgs};

/// Bill the sessions of a month, per user
///
/// A session's energy is the difference of its registers (Wh); its cost is the start fee plus kWh x price of the
/// tariff that held when it started, rounded once, half up, to the currency's smallest unit. It belongs to the month
/// in which it ended by the clocks of the site. Sessions that have not ended or whose end is estimated are listed
/// apart and not billed. The same rows give the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle bill --site depot --month 2026-03
  wattle bill --site depot --month 2026-03 --lake ./lake --json

Exit codes: 0 done, 1 no answer, or nothing is known of the site, 2 a command line or a lake that can't be used.")]
pub struct Args {
    /// The site
    #[arg(long, value_name = "SITE")]
    site: SiteId,
    /// The month
    #[arg(long, value_name = "YYYY-MM")]
    month: Month,
    #[command(flatten)]
    source: SourceArgs,
    /// JSON instead of text: energy in Wh, money as exact text, times in UTC
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the lake can't be asked, or knows no configuration of the site.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let waiting = Waiting::on("asking", !args.json);
    let mut source = args.source.open().await?;
    let bill = bill(&mut source, &args.site, args.month).await?;
    drop(waiting);
    let mut output = Output::open(None)?;
    output.write_all(if args.json { json::bill(&bill) } else { text::bill(&bill) }.as_bytes())?;
    output.finish()
}

/// Bills a month of a site.
///
/// # Errors
/// When the lake can't be asked, or knows no configuration of the site.
pub async fn bill(source: &mut Source, site: &SiteId, month: Month) -> anyhow::Result<rate::Bill> {
    let terms = terms(source, site).await?;
    let batches = source.collect(&rows::sessions_of_month(site, month)).await?;
    let sessions = rows::read_sessions(&batches)?.into_iter().map(|(_, session)| session).collect();
    Ok(rate::bill(site.as_str(), month, sessions, &terms))
}

/// Everything that has held at a site, in order of time; at least one.
///
/// # Errors
/// When the lake can't be asked, or knows no configuration of the site.
pub(crate) async fn terms(source: &mut Source, site: &SiteId) -> anyhow::Result<Vec<Terms>> {
    let terms = rows::read_terms(site, &source.collect(&rows::configurations(site)).await?)?;
    if terms.is_empty() {
        let sites = rows::read_sites(&source.collect(rows::SITES).await?)?;
        let known = if sites.is_empty() { "none".to_string() } else { sites.join(", ") };
        bail!("the lake has no configuration of site {site}, so no tariff; sites that it knows: {known}");
    }
    Ok(terms)
}
