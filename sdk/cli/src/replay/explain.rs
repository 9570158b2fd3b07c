//! `wattle explain`: why each charger got what it got.

use std::io::Write as _;

use serde_json::{Value, json};
use wattle_edge::replay::explain::{Explained, Explainer, REACH};
use wattle_edge_core::{ExplainedCharger, ExplainedCircuit};
use wattle_policy_dev::progress::Waiting;
use wattle_wire::{DeviceId, Micros};

use super::entries::{EntriesArgs, moment, shown};
use crate::output::{Output, plain};

/// Tell for a recorded decision why each charger got what it got
///
/// Replays up to the last recorded decision at or before --at, or the last one of all, and tells from the state of that moment what there
/// was to share and what was done to each proposal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle explain --lake ./lake --site depot --at 2026-05-01T18:00:00Z
  wattle explain --journal /var/lib/wattle-edge --charger cp-2

docs/control.md says what the words mean. Currents are mA; times are UTC unless they say otherwise.
Exit codes: 0 told, 1 there is no such decision, or it can't be replayed, 2 a command line that can't be used.")]
pub struct Args {
    #[command(flatten)]
    entries: EntriesArgs,
    /// The time; the last decision if it is left out
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Micros>,
    /// Only this charger
    #[arg(long, value_name = "CHARGER")]
    charger: Option<DeviceId>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no such decision, or it can't be replayed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folders = args.entries.folders();
    let waiting = Waiting::on("looking for keyframes", !args.json);
    let (mut entries, lives) = args.entries.open().await?;
    drop(waiting);
    let until = args.at.unwrap_or(Micros::MAX);
    let from =
        until.min(lives.iter().filter_map(super::entries::Life::last).max().unwrap_or_default()) - REACH;
    let mut found: Option<anyhow::Result<Explained>> = None;
    // The life that has lasted longest is asked first.
    let mut lives = lives;
    lives.sort_by_key(|life| std::cmp::Reverse(life.last_before(until)));
    for life in lives {
        let range = (from, until);
        let (tally, explainer) =
            super::play(&mut entries, &life, range, &folders, Explainer::new(until), !args.json).await?;
        let explained = explainer.found(&tally, args.charger.as_ref());
        let is_found = explained.is_ok();
        found = Some(explained);
        if is_found {
            break;
        }
    }
    let explained = found.unwrap_or_else(|| Err(anyhow::anyhow!("there is no decision")))?;
    let mut output = Output::open(None)?;
    if args.json {
        writeln!(output, "{}", json(&explained))?;
    } else {
        output.write_all(plain(&explained.to_string()).as_bytes())?;
    }
    output.finish()
}

fn json(explained: &Explained) -> Value {
    let why = &explained.why;
    let circuit = |circuit: &ExplainedCircuit| {
        let limits = circuit.limits.iter().map(|(what, limit)| json!({"what": what, "limit_ma": limit}));
        json!({
            "circuit": circuit.circuit,
            "limits": limits.collect::<Vec<_>>(),
            "margin_ma": circuit.margin_ma,
            "uncontrolled_ma": circuit.uncontrolled_ma,
            "silent": circuit.silent.iter().map(|(circuit, phases)| json!({"circuit": circuit, "phases": phases})).collect::<Vec<_>>(),
            "budget_ma": circuit.budget_ma,
            "for_raises_ma": circuit.for_raises_ma,
            "set_aside_ma": circuit.set_aside_ma,
            "reserved_ma": circuit.reserved_ma,
        })
    };
    let charger = |charger: &ExplainedCharger| {
        json!({
            "charger": charger.charger,
            "known": charger.known,
            "proposed_ma": charger.proposed_ma,
            "reason": charger.reason,
            "steps": charger.steps,
            "setpoint_ma": charger.setpoint_ma,
            "number": charger.number,
        })
    };
    json!({
        "site": why.site,
        "at": shown(why.at),
        "sequence": explained.sequence,
        "same_as_recorded": explained.is_same,
        "cause": why.cause.as_str(),
        "policy": why.policy,
        "failure": why.failure,
        "circuits": why.circuits.iter().map(circuit).collect::<Vec<_>>(),
        "chargers": why.chargers.iter().map(charger).collect::<Vec<_>>(),
    })
}
