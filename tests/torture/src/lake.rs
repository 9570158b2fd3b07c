//! What the lake has, row by row, read from its folder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt as _;
use wattle_fog::lake::Lake;
use wattle_fog::query::Statement;
use wattle_wire::EdgeId;
use wattle_wire::uplink::Incarnation;

use crate::book::Name;

const READINGS: &str = "SELECT edge, incarnation, sequence, device, boot, seq, CAST(measured_at AS BIGINT), state, setpoint, \
    current_1_ma, current_2_ma, current_3_ma, voltage_1_mv, voltage_2_mv, voltage_3_mv, power_w, register_wh, \
    soc_percent, temperature_mc, humidity_percent, signal_dbm FROM readings_raw";
/// Only `start` carries who charges; in the other steps' rows the edge adds it.
const EVENTS: &str = "SELECT edge, incarnation, sequence, device, boot, seq, kind, CAST(measured_at AS BIGINT), register_wh, \
    CASE WHEN kind = 'started' THEN \"user\" END, requested_wh, CAST(departure_at AS BIGINT), detail FROM events";
/// A decision is one entry with a row per charger.
const DECISIONS: &str = "SELECT edge, incarnation, sequence, count(*), count(DISTINCT coalesce(charger, '')) FROM decisions \
    GROUP BY edge, incarnation, sequence";

/// A row of a message that had a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The message.
    pub name: Name,
    /// Its values, in the words of the book.
    pub content: String,
    /// Where it stands.
    pub table: &'static str,
}

/// Numbers of a journal that the lake has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The first.
    pub from: u64,
    /// The last; above the first for a gap only.
    pub to: u64,
    /// Where it stands.
    pub table: &'static str,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Rows of numbered messages, readings and steps of stays.
    pub numbered: Vec<Row>,
    /// What each journal has, by `<edge>/<incarnation>`.
    pub entries: BTreeMap<String, Vec<Entry>>,
    /// How many rows `readings_raw` has.
    pub readings: usize,
    /// How many entries are in gaps.
    pub in_gaps: u64,
}

/// Reads everything.
///
/// # Errors
/// When the lake can't be opened or read.
pub async fn read(folder: &Path) -> Result<Rows> {
    let lake = Lake::open(folder).await.with_context(|| format!("lake {}", folder.display()))?;
    let mut rows = Rows::default();
    for row in query(&lake, READINGS).await? {
        rows.readings += 1;
        rows.entry(&row, "readings_raw", None)?;
        rows.numbered(&row, row[6..].join(";"), "readings_raw")?;
    }
    for row in query(&lake, EVENTS).await? {
        let gap = (row[6] == "gap").then(|| gap(&row[12])).transpose()?;
        rows.entry(&row, "events", gap)?;
        rows.numbered(&row, row[6..12].join(";"), "events")?;
    }
    for row in query(&lake, DECISIONS).await? {
        for _ in 0..if row[3] == row[4] { 1 } else { 2 } {
            rows.entry(&row, "decisions", None)?;
        }
    }
    Ok(rows)
}

/// How far the lake is in a journal; 0 for nothing.
///
/// # Errors
/// When the lake can't be read.
pub async fn position(folder: &Path, edge: &EdgeId, incarnation: Incarnation) -> Result<u64> {
    let lake = Lake::open(folder).await?;
    Ok(lake.positions(edge, incarnation).await?.unwrap_or(0))
}

impl Rows {
    fn entry(&mut self, row: &[String], table: &'static str, gap: Option<(u64, u64)>) -> Result<()> {
        let sequence: u64 = number(&row[2])?;
        let (from, to) = gap.unwrap_or((sequence, sequence));
        if gap.is_some() {
            self.in_gaps += to - from + 1;
        }
        let journal = format!("{}/{}", row[0], row[1]);
        self.entries.entry(journal).or_default().push(Entry { from, to, table });
        Ok(())
    }

    fn numbered(&mut self, row: &[String], content: String, table: &'static str) -> Result<()> {
        let [device, boot, seq] = [&row[3], &row[4], &row[5]];
        if !seq.is_empty() {
            let name = Name { device: device.clone(), boot: number(boot)?, seq: number(seq)? };
            self.numbered.push(Row { name, content, table });
        }
        Ok(())
    }
}

/// `<from>..=<to>: <reason>`
fn gap(detail: &str) -> Result<(u64, u64)> {
    let range = detail.split_once(": ").and_then(|(range, _)| range.split_once("..="));
    let (from, to) = range.with_context(|| format!("a gap says {detail:?}"))?;
    Ok((number(from)?, number(to)?))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().ok().with_context(|| format!("{text:?} is no number"))
}

/// The answer as texts; null is the empty one.
async fn query(lake: &Lake, sql: &str) -> Result<Vec<Vec<String>>> {
    let statement = Statement::plan(lake.session_context().await?, sql).await?;
    let batches: Vec<RecordBatch> = statement.run().await?.try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        let options = FormatOptions::default().with_null("");
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        let columns = columns?;
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()),
        );
    }
    Ok(rows)
}
