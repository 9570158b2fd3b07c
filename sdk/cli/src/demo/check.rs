//! What the lake must have, compared with what the devices say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::stdout;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use wattle_fog::billing::{rate, rows, text};
use wattle_wire::{SessionId, SiteId};

use super::cast::Cast;
use super::script::{METER, STEPS};
use super::truth::{End, Truth};
use crate::bill;
use crate::format::{self, Format};
use crate::source::{Source, SourceArgs};

/// The control interval of the demo's site, µs.
const INTERVAL_US: i64 = 200_000;

/// How long the lake may take to have everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The decisions that changed something, for people.
const DECISIONS: &str = "SELECT decided_at, cause, charger, proposed_ma / 1000 AS proposed_a, setpoint_ma / 1000 AS \
    setpoint_a, reason FROM decisions WHERE number > 0 ORDER BY sequence, charger LIMIT 40";

/// One check.
#[derive(serde::Serialize)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// What was checked, with figures.
    pub text: String,
}

fn verdict(holds: bool, text: impl Into<String>) -> Verdict {
    Verdict { holds, text: text.into() }
}

/// Checks everything; before that, decisions and receipts are shown to who wants to see them.
pub async fn all(
    cast: &Cast,
    truth: &Truth,
    reached: &[[i32; 3]],
    is_shown: bool,
) -> anyhow::Result<Vec<Verdict>> {
    let mut lake = SourceArgs { at: Some(cast.sql_url()), lake: None }.open().await?;
    let ends = truth.ends();
    let registers = wait_for_sessions(&mut lake, &ends).await?;
    if is_shown {
        println!("\nDecisions, by SQL:\n");
        format::write(lake.query(DECISIONS).await?, Format::Table, &mut stdout()).await?;
        print_receipts(&mut lake).await?;
    }
    let mut verdicts = vec![setpoints(reached), policy(&mut lake).await?, limit(truth)];
    for (device, end) in &ends {
        verdicts.push(match end {
            Some(end) => once(&mut lake, device, *end).await?,
            None => verdict(false, format!("{device} has not said how it ended")),
        });
    }
    verdicts.push(energy(&ends, &registers));
    Ok(verdicts)
}

fn setpoints(reached: &[[i32; 3]]) -> Verdict {
    let mut wrong = String::new();
    for (step, reached) in STEPS.iter().zip(reached) {
        let expected = step.setpoints_a.map(|amps| amps * 1000);
        if *reached != expected {
            let _ = write!(wrong, "; step {}: {reached:?} mA instead of {expected:?}", step.name);
        }
    }
    verdict(wrong.is_empty(), format!("the last setpoints of {} steps are as published{wrong}", STEPS.len()))
}

/// The envelope decides alone when the policy can't: that would give the same setpoints, and would not be the demo.
async fn policy(lake: &mut Source) -> anyhow::Result<Verdict> {
    const SQL: &str = "SELECT count(DISTINCT sequence), count(DISTINCT CASE WHEN policy LIKE 'equal-share %' THEN \
        sequence END), (SELECT count(*) FROM events WHERE kind = 'policy_failed') FROM decisions";
    let [decisions, by_policy, failures] = numbers(lake, SQL).await?;
    let text = format!(
        "{by_policy} of {decisions} recorded decisions by the WebAssembly policy, {failures} failures of it"
    );
    Ok(verdict(decisions > 0 && by_policy == decisions && failures == 0, text))
}

fn limit(truth: &Truth) -> Verdict {
    let excesses = truth.excesses();
    let longest = excesses.iter().map(|excess| excess.lasted_us).max().unwrap_or(0);
    let holds = excesses.iter().all(|excess| excess.after_rise && excess.lasted_us <= INTERVAL_US);
    let text = format!(
        "what may be drawn stayed within the limit at each of {} measurements, but {} times after a rise of the home's \
         load, for {} ms at most (allowed: {} ms)",
        truth.told(),
        excesses.len(),
        longest / 1000,
        INTERVAL_US / 1000
    );
    verdict(holds, text)
}

/// Every number from 1 to the last that the device gave is in the lake once, and all were acknowledged.
async fn once(lake: &mut Source, device: &str, end: End) -> anyhow::Result<Verdict> {
    let sql = format!(
        "SELECT count(*), count(DISTINCT seq), coalesce(min(seq), 0), coalesce(max(seq), 0) FROM \
         (SELECT seq FROM readings_raw WHERE device = '{device}' AND seq IS NOT NULL \
         UNION ALL SELECT seq FROM events WHERE device = '{device}' AND seq IS NOT NULL) AS numbered"
    );
    let [rows, distinct, least, most] = numbers(lake, &sql).await?;
    let given = i64::try_from(end.numbered)?;
    let holds = end.unacknowledged == 0 && rows == given && distinct == given && most - least + 1 == given;
    let text = format!(
        "{device}: {given} messages numbered, {} unacknowledged, {rows} rows in the lake, {} missing, {} twice",
        end.unacknowledged,
        given - distinct,
        rows - distinct
    );
    Ok(verdict(holds, text))
}

fn energy(ends: &BTreeMap<&str, Option<End>>, lake: &BTreeMap<String, i64>) -> Verdict {
    let mut told = String::new();
    let mut holds = true;
    for (device, end) in ends.iter().filter(|(device, _)| **device != METER) {
        let register = end.map_or(0, |end| end.register_wh);
        let energy = lake.get(*device).copied().unwrap_or(0);
        holds &= register == energy;
        let _ = write!(told, "; {device}: register {register} Wh, sessions {energy} Wh");
    }
    verdict(holds, format!("energy in the lake equals the devices' registers{told}"))
}

/// Waits until the sessions of the lake are all closed and give what the registers say; gives their energy per device.
async fn wait_for_sessions(
    lake: &mut Source,
    ends: &BTreeMap<&str, Option<End>>,
) -> anyhow::Result<BTreeMap<String, i64>> {
    const SQL: &str = "SELECT device, sum(energy_wh) AS wh FROM sessions GROUP BY device";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut energies = BTreeMap::new();
        for batch in lake.collect(SQL).await? {
            let (devices, wh) =
                (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            energies.extend((0..batch.num_rows()).map(|row| (devices.value(row).to_string(), wh.value(row))));
        }
        if energy(ends, &energies).holds || Instant::now() >= deadline {
            return Ok(energies);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn numbers<const N: usize>(lake: &mut Source, sql: &str) -> anyhow::Result<[i64; N]> {
    let batches = lake.collect(sql).await?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).context("an aggregate has a row")?;
    Ok(std::array::from_fn(|column| batch.column(column).as_primitive::<Int64Type>().value(0)))
}

async fn print_receipts(lake: &mut Source) -> anyhow::Result<()> {
    let terms = bill::terms(lake, &SiteId::new("demo")?).await?;
    for batch in lake.collect("SELECT session FROM sessions ORDER BY plugged_at, device").await? {
        let names = batch.column(0).as_string::<i32>();
        for name in names.iter().flatten() {
            let found = lake.collect(&rows::session_named(&SessionId::new(name)?)).await?;
            for (site, session) in rows::read_sessions(&found)? {
                match rate::rate(&session, &terms) {
                    Ok(charge) => println!("\n{}", text::receipt(&site, &charge)),
                    Err(reason) => println!("\nSession {name} is not billed: {reason}"),
                }
            }
        }
    }
    Ok(())
}
