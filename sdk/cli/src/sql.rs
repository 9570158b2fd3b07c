//! `wattle sql`: asks a query and prints the answer.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use wattle_policy_dev::progress::Waiting;

use crate::Usage;
use crate::format::{self, Format};
use crate::output::Output;
use crate::source::SourceArgs;

/// Ask the lake in SQL
///
/// Tables and views: readings, quarantine, intervals, sessions, sites, events, decisions, readings_raw.
/// Times are UTC; energy Wh; power W; current A in readings, mA in readings_raw and decisions.
/// Only questions: whatever would change the lake is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle sql \"SHOW TABLES\"
  wattle sql \"SELECT device, sum(energy_wh) / 1000.0 AS kwh FROM sessions GROUP BY device ORDER BY device\"
  wattle sql --lake ./lake \"SELECT * FROM quarantine\" --format csv -o quarantine.csv
  wattle sql --at http://fog.example:7401 \"SELECT * FROM readings\" --format parquet -o readings.parquet

Exit codes: 0 answered; 1 no answer, a query that is refused or fails, or nowhere to put what comes; 2 a command line, an
address or a lake that can't be used.")]
pub struct Args {
    /// The query
    pub sql: String,
    #[command(flatten)]
    source: SourceArgs,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "table", conflicts_with = "json")]
    format: Format,
    /// The same as --format json: one list of objects
    #[arg(long)]
    json: bool,
    /// A file to write to instead of standard output; it appears when it is whole
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for what can't be asked so; others when there is no answer or nowhere to put it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.format == Format::Parquet && args.output.is_none() && stdout().is_terminal() {
        return Err(Usage("a terminal can't show Parquet; give -o FILE".into()).into());
    }
    let format = if args.json { Format::Json } else { args.format };
    let waiting = Waiting::on("asking", format != Format::Json);
    let answer = args.source.open().await?.query(&args.sql).await?;
    drop(waiting);
    let mut output = Output::open(args.output.as_deref())?;
    format::write(answer, format, &mut output).await?;
    output.finish()
}
