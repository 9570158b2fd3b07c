//! `wattle receipt`: what one session costs.

use std::io::Write as _;

use anyhow::bail;
use wattle_fog::billing::{json, rate, rows, text};
use wattle_policy_dev::progress::Waiting;
use wattle_wire::{SessionId, SiteId};

use crate::bill;
use crate::output::Output;
use crate::source::SourceArgs;

/// Print the receipt for one session
///
/// By the same rules as `wattle bill`. Fails with the reason when the session can't be billed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle sql \"SELECT session, \\\"user\\\", ended_at FROM sessions\"
  wattle receipt --session cp-1-7-42

Exit codes: 0 done, 1 no answer, no such session, or one that isn't billed, 2 a command line or a lake that can't be used.")]
pub struct Args {
    /// The session
    #[arg(long, value_name = "SESSION")]
    session: SessionId,
    /// Its site, where several sites have a session of that name
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    #[command(flatten)]
    source: SourceArgs,
    /// JSON instead of text: energy in Wh, money as exact text, times in UTC
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the lake can't be asked, has no such session, or the session can't be billed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let waiting = Waiting::on("asking", !args.json);
    let mut source = args.source.open().await?;
    let batches = source.collect(&rows::session_named(&args.session)).await?;
    let mut found = rows::read_sessions(&batches)?;
    found.retain(|(site, _)| args.site.as_ref().is_none_or(|wanted| wanted.as_str() == site));
    let (site, session) = match found.as_slice() {
        [one] => one,
        [] => bail!("the lake has no session {}", args.session),
        several => {
            let sites: Vec<_> = several.iter().map(|(site, _)| site.as_str()).collect();
            bail!("several sites have a session {}: {}; give --site", args.session, sites.join(", "));
        }
    };
    let terms = bill::terms(&mut source, &SiteId::new(site.as_str())?).await?;
    let charge = match rate::rate(session, &terms) {
        Ok(charge) => charge,
        Err(reason) => bail!("session {} is not billed: {reason}", args.session),
    };
    drop(waiting);
    let mut output = Output::open(None)?;
    output.write_all(
        if args.json { json::receipt(&charge) } else { text::receipt(site, &charge) }.as_bytes(),
    )?;
    output.finish()
}
