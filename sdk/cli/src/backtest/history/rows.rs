//! Every row of a site's history, in order of its moment.
//!
//! Rows are asked for in parts of about [`PART_ROWS`], so that memory stays bounded however long the history is.

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use wattle_columns::read;
use wattle_wire::row::{EventKind, Record, Row};
use wattle_wire::{DeviceId, Micros};

use super::History;
use super::columns::{OTHER_VERSION, numbers, precise};

/// Readings and decisions that are in memory at once, about.
const PART_ROWS: i64 = 300_000;
/// How far a row may arrive behind its moment and still be in order.
const LATE: Micros = Micros::from_secs(60);

/// Entries that the lake doesn't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// When that was noted.
    pub at: Micros,
    /// From, to, and why.
    pub what: String,
}

impl History<'_> {
    /// Gives `take` every row of a time that a backtest needs, in order of its moment; `aside` are devices that don't matter. What of
    /// the lake is missing is returned. `progress` is told the time now and then.
    ///
    /// # Errors
    /// When the lake can't be asked, or has what no edge of this version writes.
    pub async fn each(
        &mut self,
        (from, until): (Micros, Micros),
        aside: &[DeviceId],
        mut take: impl FnMut(Micros, &Row),
        mut progress: impl FnMut(Micros),
    ) -> anyhow::Result<Vec<Missing>> {
        let length = self.part_length(from, until).await?;
        let mut missing = Vec::new();
        let mut waiting: Vec<(Micros, Record)> = Vec::new();
        let mut begin = from;
        while begin <= until {
            let end = (begin + length).min(until + Micros(1));
            let records = self.part(begin, end, aside).await?;
            waiting.extend(records.into_iter().map(|record| (moment(&record), record)));
            waiting.sort_by_key(|(moment, record)| (*moment, record.sequence));
            // Rows of this part may stand behind those that arrive in the next one.
            let settled = if end > until { Micros::MAX } else { end - LATE };
            let ready = waiting.partition_point(|(moment, _)| *moment < settled);
            for (_, record) in waiting.drain(..ready) {
                match &record.row {
                    Row::Gap(gap) => missing.push(Missing {
                        at: record.at_us,
                        what: format!("{} to {}, {}", gap.from, gap.to, gap.reason.as_str()),
                    }),
                    row => take(record.at_us, row),
                }
            }
            progress(end);
            begin = end;
        }
        Ok(missing)
    }

    async fn part_length(&mut self, from: Micros, until: Micros) -> anyhow::Result<Micros> {
        let span = (until - from).0.max(1);
        let count = |table: &str, column: &str| {
            let within = format!("{column} >= '{}' AND {column} <= '{}'", precise(from), precise(until));
            format!("SELECT count(*) AS n FROM {table} WHERE site = '{}' AND {within}", self.site)
        };
        let sql = format!(
            "SELECT CAST(sum(n) AS BIGINT) AS n FROM ({} UNION ALL {})",
            count("readings_raw", "arrived_at"),
            count("decisions", "decided_at")
        );
        let batches = self.lake.collect(&sql).await?;
        let rows = batches.first().map(|batch| numbers(batch, 0)).transpose()?.and_then(|rows| rows[0]);
        let parts = rows.unwrap_or(0) / PART_ROWS + 1;
        Ok(Micros((span / parts).max(10 * LATE.0)))
    }

    async fn part(&mut self, from: Micros, end: Micros, aside: &[DeviceId]) -> anyhow::Result<Vec<Record>> {
        let site = &self.site;
        let within =
            |column: &str| format!("{column} >= '{}' AND {column} < '{}'", precise(from), precise(end));
        let names: Vec<_> = aside.iter().map(|device| format!(" AND device <> '{device}'")).collect();
        let mut records = Vec::new();
        let sql = format!(
            "SELECT * FROM readings_raw WHERE site = '{site}' AND verdict = 'good' AND {}{}",
            within("arrived_at"),
            names.concat()
        );
        for batch in self.lake.collect(&sql).await? {
            records.extend(read::readings(&batch).context(OTHER_VERSION)?);
        }
        // Gaps have no site: those of the edges that have it count.
        let sql = format!(
            "SELECT * FROM events WHERE {} AND ((site = '{site}' AND kind IN ('plugged', 'started', 'ended', 'unplugged', \
             'signalled', 'over_limit')) OR (kind = 'gap' AND edge IN (SELECT edge FROM sites WHERE site = '{site}')))",
            within("arrived_at")
        );
        for batch in self.lake.collect(&sql).await? {
            records.extend(read::events(&batch).context(OTHER_VERSION)?);
        }
        let sql = format!(
            "SELECT * FROM decisions WHERE site = '{site}' AND cause <> 'shadow' AND {}",
            within("decided_at")
        );
        let batches: Vec<RecordBatch> = self.lake.collect(&sql).await?;
        if let Some(first) = batches.first() {
            let batch = concat_batches(&first.schema(), &batches)?;
            records.extend(read::decisions(&batch).context(OTHER_VERSION)?);
        }
        Ok(records)
    }
}

/// When what a row tells was so.
fn moment(record: &Record) -> Micros {
    let measured = match &record.row {
        Row::Reading(reading) => reading.measured_us,
        Row::Event(event) if event.kind != EventKind::Signalled => event.measured_us,
        _ => None,
    };
    measured.unwrap_or(record.at_us)
}
