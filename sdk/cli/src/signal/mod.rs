//! `wattle signal`: tells a site limits, prices, surplus and currents by hand, as a system of its site file.
//!
//! It speaks MQTT like any other system (`docs/mqtt.md`): publishes on `signal` and waits for the `answer`.

mod say;

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, Subcommand};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::json;
use wattle_policy_dev::progress::Waiting;
use wattle_wire::signal::{CircuitLimit, Course, ManualCurrent, OneOrThree, Signal};
use wattle_wire::{CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, SiteId, Watts};

use crate::Usage;
use say::Login;

/// Tell a site a limit, prices, a surplus, or a current by hand
///
/// The login stands in the site file under `[[systems]]`, with what it may signal, and in the edge's passwords file.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wattle signal --site depot --as people limit --circuit grid --amps 20 --for 15m
  wattle signal --site depot --as people limit --circuit grid --clear
  wattle signal --site depot --as people manual --charger cp-1 --amps 10 --for 2h
  wattle signal --site depot --as people price --start 2026-11-26T00:00:00Z --step 1h 0.31 0.29 0.24 -0.02
  wattle signal --site depot --as people surplus --step 10m 3100

Exit codes: 0 the edge has taken it, and it is on its disk; 1 it was refused, or there was no answer; 2 a command line that
can't be used.")]
pub struct Args {
    /// The site
    #[arg(long)]
    site: SiteId,
    /// The login, a system of the site file
    #[arg(long = "as", value_name = "SYSTEM")]
    system: DeviceId,
    /// A file with a line SYSTEM:PASSWORD
    #[arg(long, value_name = "FILE", default_value = "wattle-edge-data/passwords")]
    passwords: std::path::PathBuf,
    /// The broker, host:port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    broker: String,
    /// JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a circuit may carry for a time
    #[command(
        after_help = "Example:\n  wattle signal --site depot --as people limit --circuit grid --amps 20 --for 15m\n\nExit codes: 0 taken and on the edge's disk, 1 refused or no answer, 2 a command line that can't be used."
    )]
    Limit(LimitArgs),
    /// What the whole site may draw from the grid, in W, as a series
    #[command(
        after_help = "Example:\n  wattle signal --site depot --as people grid-limit --step 1h 11000 4200\n\nExit codes: 0 taken and on the edge's disk, 1 refused or no answer, 2 a command line that can't be used."
    )]
    GridLimit(CourseArgs),
    /// Prices per kWh, as a series: 0.31
    #[command(
        after_help = "Example:\n  wattle signal --site depot --as people price --start 2026-11-26T00:00:00Z --step 1h 0.31 0.29 0.24 -0.02\n\nExit codes: 0 taken and on the edge's disk, 1 refused or no answer, 2 a command line that can't be used."
    )]
    Price(CourseArgs),
    /// The surplus of the site's own generation in W, as a series
    #[command(
        after_help = "Example:\n  wattle signal --site depot --as people surplus --step 10m 3100\n\nExit codes: 0 taken and on the edge's disk, 1 refused or no answer, 2 a command line that can't be used."
    )]
    Surplus(CourseArgs),
    /// What a charger gets whatever the policy says, as far as it fits
    #[command(
        after_help = "Example:\n  wattle signal --site depot --as people manual --charger cp-1 --amps 10 --for 2h\n\nExit codes: 0 taken and on the edge's disk, 1 refused or no answer, 2 a command line that can't be used."
    )]
    Manual(ManualArgs),
}

#[derive(Debug, ClapArgs)]
struct LimitArgs {
    /// Which circuit
    #[arg(long)]
    circuit: CircuitId,
    /// A on each phase: one number, or three with commas
    #[arg(long, value_delimiter = ',', conflicts_with = "watts")]
    amps: Vec<Decimal>,
    /// W on all phases together
    #[arg(long, value_name = "W")]
    watts: Option<i32>,
    /// For how long: 90s, 15m, 2h
    #[arg(long = "for", value_name = "TIME")]
    length: Option<SignedDuration>,
    /// Takes the limit of this login back
    #[arg(long, conflicts_with_all = ["amps", "watts", "length"])]
    clear: bool,
}

#[derive(Debug, ClapArgs)]
struct CourseArgs {
    /// When the first value begins to hold; by default now
    #[arg(long, value_name = "TIME")]
    start: Option<Timestamp>,
    /// How long each value holds: 15m, 1h
    #[arg(long, value_name = "TIME", default_value = "1h")]
    step: SignedDuration,
    /// Nothing is known any more
    #[arg(long, conflicts_with_all = ["start", "values"])]
    clear: bool,
    /// The values, one after the other
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    values: Vec<Decimal>,
}

#[derive(Debug, ClapArgs)]
struct ManualArgs {
    /// Which charger
    #[arg(long)]
    charger: DeviceId,
    /// A on each of its phases; 0 for standby
    #[arg(long)]
    amps: Option<Decimal>,
    /// For how long: 90s, 15m, 2h; by default until it is taken back
    #[arg(long = "for", value_name = "TIME", requires = "amps")]
    length: Option<SignedDuration>,
    /// Gives the charger back to what the site file and the policy say
    #[arg(long, conflicts_with_all = ["amps", "length"])]
    clear: bool,
}

/// Runs the command.
///
/// # Errors
/// When the signal is refused, nobody answers, or the command line can't be used.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let signal = signal(&args.what)?;
    let password = say::password(&args.passwords, &args.system)?;
    let login = Login { broker: args.broker, site: args.site, system: args.system, password };
    let waiting = Waiting::on("waiting for the edge", !args.json);
    let answer = say::say(&login, signal).await?;
    drop(waiting);
    if args.json {
        println!("{}", json!({ "taken": answer.refused.is_none(), "refused": answer.refused }));
    }
    match answer.refused {
        None if args.json => {}
        None => println!("taken"),
        Some(reason) => bail!("the edge refuses it: {reason}"),
    }
    Ok(())
}

fn usage(text: &str) -> anyhow::Error {
    Usage(text.into()).into()
}

fn signal(what: &What) -> anyhow::Result<Signal> {
    let one = Signal::default();
    Ok(match what {
        What::Limit(args) => Signal { limit: Some(limit(args)?), ..one },
        What::GridLimit(args) => Signal { grid_limit_w: Some(course(args, 1)?), ..one },
        What::Price(args) => Signal { price: Some(course(args, 1_000_000)?), ..one },
        What::Surplus(args) => Signal { surplus_w: Some(course(args, 1)?), ..one },
        What::Manual(args) => Signal { manual: Some(manual(args)?), ..one },
    })
}

fn limit(args: &LimitArgs) -> anyhow::Result<CircuitLimit> {
    let currents = args.amps.iter().map(|amps| milliamps(*amps)).collect::<anyhow::Result<Vec<_>>>()?;
    let limit_ma = match currents[..] {
        [] => None,
        [one] => Some(OneOrThree::One(one)),
        [a, b, c] => Some(OneOrThree::Three(PerPhase([a, b, c]))),
        _ => return Err(usage("give --amps one number, or three with commas")),
    };
    if !args.clear && (limit_ma.is_some() || args.watts.is_some()) != args.length.is_some() {
        return Err(usage("give --amps or --watts together with --for, or --clear"));
    }
    if !args.clear && args.length.is_none() {
        return Err(usage("give --amps or --watts with --for, or --clear"));
    }
    let circuit = args.circuit.clone();
    Ok(CircuitLimit {
        circuit,
        limit_ma,
        limit_w: args.watts.map(Watts),
        for_ms: millis(args.length),
        until_us: None,
    })
}

fn manual(args: &ManualArgs) -> anyhow::Result<ManualCurrent> {
    if args.amps.is_some() == args.clear {
        return Err(usage("give --amps, or --clear"));
    }
    let current_ma = args.amps.map(milliamps).transpose()?;
    Ok(ManualCurrent {
        charger: args.charger.clone(),
        current_ma,
        for_ms: millis(args.length),
        until_us: None,
    })
}

/// Values in units of which so many make one that people write.
fn course(args: &CourseArgs, scale: i64) -> anyhow::Result<Course> {
    if args.values.is_empty() != args.clear {
        return Err(usage("give at least one value, or --clear"));
    }
    let value = |value: &Decimal| whole(*value, scale).with_context(|| format!("the value {value}"));
    let values = args.values.iter().map(value).collect::<anyhow::Result<_>>()?;
    let start_us = args.start.map(|start| Micros(start.as_microsecond()));
    Ok(Course { start_us, step_ms: millis(Some(args.step)).unwrap_or_default(), values })
}

fn milliamps(amps: Decimal) -> anyhow::Result<Milliamps> {
    let whole = whole(amps, 1_000)?;
    Ok(Milliamps(i32::try_from(whole).map_err(|_| usage(&format!("{amps} A is no such current")))?))
}

fn whole(value: Decimal, scale: i64) -> anyhow::Result<i64> {
    let scaled = value.checked_mul(Decimal::from(scale)).filter(Decimal::is_integer);
    scaled
        .and_then(|scaled| scaled.to_i64())
        .ok_or_else(|| usage(&format!("{value} is too fine, or too large")))
}

fn millis(length: Option<SignedDuration>) -> Option<Millis> {
    length.map(|length| Millis(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> anyhow::Result<Signal> {
        let words = ["signal", "--site", "depot", "--as", "ems"].into_iter().chain(line.split(' '));
        signal(&Line::try_parse_from(words)?.args.what)
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(serde_json::to_string(&read(line).expect(line)).expect("plain"), expected);
    }

    #[test]
    fn what_is_typed_becomes_a_signal() {
        check(
            "limit --circuit grid --amps 20.5 --for 15m",
            r#"{"limit":{"circuit":"grid","limit_ma":20500,"for_ms":900000}}"#,
        );
        check(
            "limit --circuit grid --amps 20,16,0 --for 90s",
            r#"{"limit":{"circuit":"grid","limit_ma":[20000,16000,0],"for_ms":90000}}"#,
        );
        check(
            "limit --circuit grid --watts 4200 --for 2h",
            r#"{"limit":{"circuit":"grid","limit_w":4200,"for_ms":7200000}}"#,
        );
        check("limit --circuit grid --clear", r#"{"limit":{"circuit":"grid"}}"#);
        check("manual --charger cp-1 --amps 0", r#"{"manual":{"charger":"cp-1","current_ma":0}}"#);
        check("manual --charger cp-1 --clear", r#"{"manual":{"charger":"cp-1"}}"#);
        check(
            "price --start 2026-11-26T00:00:00Z 0.31 -0.02",
            r#"{"price":{"start_us":1795651200000000,"step_ms":3600000,"values":[310000,-20000]}}"#,
        );
        check("surplus --step 10m 3100", r#"{"surplus_w":{"step_ms":600000,"values":[3100]}}"#);
        check("grid-limit --clear", r#"{"grid_limit_w":{"step_ms":3600000,"values":[]}}"#);
    }

    #[test]
    fn what_makes_no_sense_is_no_signal() {
        for line in [
            "limit --circuit grid",
            "limit --circuit grid --amps 20",
            "limit --circuit grid --for 2h",
            "limit --circuit grid --amps 20,16 --for 2h",
            "limit --circuit grid --amps 20 --watts 5 --for 2h",
            "limit --circuit grid --amps 0.00001 --for 2h",
            "limit --circuit grid --amps 99999999999 --for 2h",
            "limit --circuit grid --amps 20 --for soon",
            "manual --charger cp-1",
            "manual --charger cp-1 --amps 5 --clear",
            "price",
            "price --clear 0.3",
            "price 0.0000001",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
