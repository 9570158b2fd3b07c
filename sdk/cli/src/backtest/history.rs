//! The history of a site, out of a lake: what it was, who came, and every row in order of time.
//!
//! Rows are asked for in parts of about [`PART_ROWS`], so that memory stays bounded however long the history is.

use anyhow::Context as _;
use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use wattle_columns::read;
use wattle_edge::replay;
use wattle_edge_core::replay::Keyframe;
use wattle_wire::row::{Event, EventKind, Record, Row};
use wattle_wire::{DeviceId, Micros, SiteId, WattHours};

use super::demand::Past;
use crate::Usage;
use crate::replay::entries::shown;
use crate::source::Source;

/// Readings and decisions that are in memory at once, about.
const PART_ROWS: i64 = 300_000;
/// How far a row may arrive behind its moment and still be in order.
const LATE: Micros = Micros::from_secs(60);

/// A lake, asked about one site.
pub struct History<'a> {
    lake: &'a mut Source,
    site: SiteId,
}

/// A configuration that a site had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// From when on.
    pub at: Micros,
    /// The text of the site file.
    pub text: String,
}

/// A policy that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Name and version.
    pub policy: String,
    /// The first eight bytes of its SHA-256; 0 for the built-in share.
    pub policy_digest: u64,
    /// The same of its settings.
    pub settings_digest: u64,
    /// How many recorded decisions are its.
    pub decisions: u64,
}

/// Entries that the lake doesn't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// When that was noted.
    pub at: Micros,
    /// From, to, and why.
    pub what: String,
}

/// What tables must have for this program.
const COLUMNS: [(&str, &[&str]); 4] = [
    (
        "readings_raw",
        &[
            "measured_at",
            "arrived_at",
            "state",
            "session",
            "current_1_ma",
            "power_w",
            "register_wh",
            "verdict",
        ],
    ),
    ("events", &["kind", "measured_at", "arrived_at", "session", "register_wh", "detail"]),
    (
        "decisions",
        &["decided_at", "cause", "policy_digest", "settings_digest", "charger", "setpoint_ma", "circuits"],
    ),
    (
        "sessions",
        &[
            "plugged_at",
            "started_at",
            "ended_at",
            "unplugged_at",
            "energy_wh",
            "requested_wh",
            "departure_at",
        ],
    ),
];

impl<'a> History<'a> {
    /// The history of a site of a lake.
    ///
    /// # Errors
    /// [`Usage`] if the lake is of another version, or doesn't know the site.
    pub async fn open(lake: &'a mut Source, site: SiteId) -> anyhow::Result<Self> {
        for (table, columns) in COLUMNS {
            let answer = lake.query(&format!("SELECT * FROM {table} LIMIT 0")).await;
            let answer = answer.with_context(|| foreign(table, "can't be read"))?;
            let lacks = columns.iter().find(|name| answer.schema.column_with_name(name).is_none());
            if let Some(name) = lacks {
                return Err(Usage(foreign(table, &format!("has no column {name}"))).into());
            }
        }
        let batches = lake.collect("SELECT DISTINCT site FROM sites ORDER BY site").await?;
        let mut sites = Vec::new();
        for batch in &batches {
            sites.extend(texts(batch, 0)?.into_iter().flatten());
        }
        if sites.iter().any(|known| known == site.as_str()) {
            return Ok(Self { lake, site });
        }
        let known = if sites.is_empty() { "none".to_owned() } else { sites.join(", ") };
        Err(Usage(format!("the lake knows no site {site}; it knows {known}")).into())
    }

    /// The configurations of the site, in order.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn configurations(&mut self) -> anyhow::Result<Vec<Configured>> {
        let sql = format!(
            "SELECT CAST(configured_at AS BIGINT) AS at, text FROM sites WHERE site = '{}' ORDER BY configured_at, version",
            self.site
        );
        let mut all: Vec<Configured> = Vec::new();
        for batch in self.lake.collect(&sql).await? {
            for (at, text) in numbers(&batch, 0)?.into_iter().zip(texts(&batch, 1)?) {
                let (at, text) = (Micros(at.unwrap_or_default()), text.unwrap_or_default());
                if all.last().is_none_or(|last| last.text != text) {
                    all.push(Configured { at, text });
                }
            }
        }
        Ok(all)
    }

    /// The first and the last moment of which the lake has rows; none if it has none.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn span(&mut self) -> anyhow::Result<Option<(Micros, Micros)>> {
        let sql = format!(
            "SELECT CAST(min(at) AS BIGINT) AS first, CAST(max(at) AS BIGINT) AS last FROM (\
             SELECT arrived_at AS at FROM events WHERE site = '{0}' \
             UNION ALL SELECT arrived_at AS at FROM readings_raw WHERE site = '{0}')",
            self.site
        );
        let batches = self.lake.collect(&sql).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
        let (first, last) = (numbers(batch, 0)?[0], numbers(batch, 1)?[0]);
        Ok(first.zip(last).map(|(first, last)| (Micros(first), Micros(last))))
    }

    /// The stays of vehicles whose charge was started, in order of arrival; `last` is the end of those that are still there. And how many
    /// are left out, because no register tells what they drew.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn stays(&mut self, last: Micros) -> anyhow::Result<(Vec<Past>, u64)> {
        let moments = ["plugged_at", "started_at", "ended_at", "unplugged_at", "departure_at"];
        let moments = moments.map(|name| format!("CAST({name} AS BIGINT) AS {name}_us")).join(", ");
        let sql = format!(
            "SELECT device, session, \"user\", {moments}, energy_wh, requested_wh, state FROM sessions \
             WHERE site = '{}' AND started_at IS NOT NULL ORDER BY started_at, device, session",
            self.site
        );
        let (mut stays, mut left_out) = (Vec::new(), 0);
        for batch in self.lake.collect(&sql).await? {
            let [devices, sessions, users, states] =
                [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?, texts(&batch, 10)?];
            let [plugged, started, ended, unplugged, departure, energy, requested] =
                [3, 4, 5, 6, 7, 8, 9].map(|column| numbers(&batch, column));
            let (plugged, started, ended, unplugged) = (plugged?, started?, ended?, unplugged?);
            let (departure, energy, requested) = (departure?, energy?, requested?);
            for row in 0..batch.num_rows() {
                let is_open = states[row].as_deref() == Some("open");
                if energy[row].is_none() && !is_open {
                    left_out += 1;
                    continue;
                }
                let start = started[row].unwrap_or_default();
                let left = unplugged[row].or(ended[row].filter(|_| !is_open)).unwrap_or(last.0);
                stays.push(Past {
                    station: named(&devices[row])?,
                    session: named(&sessions[row])?,
                    user: users[row].as_ref().map(|user| user.parse()).transpose()?,
                    arrival: Micros(plugged[row].unwrap_or(start).min(start)),
                    start: Micros(start),
                    departure: Micros(left),
                    ended_by_itself: ended[row].is_some_and(|ended| Some(ended) != unplugged[row]),
                    drawn: energy[row].map(WattHours),
                    requested: requested[row].map(WattHours),
                    estimated_departure: departure[row].map(Micros),
                });
            }
        }
        Ok((in_order(stays), left_out))
    }

    /// Who decided from `from` up to `until`, the most recorded decisions first.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn policies(&mut self, from: Micros, until: Micros) -> anyhow::Result<Vec<Decided>> {
        let sql = format!(
            "SELECT policy, policy_digest, settings_digest, count(DISTINCT decided_at) AS n FROM decisions \
             WHERE site = '{}' AND cause <> 'shadow' AND decided_at >= '{}' AND decided_at <= '{}' \
             GROUP BY 1, 2, 3 ORDER BY n DESC, 1",
            self.site,
            precise(from),
            precise(until)
        );
        let mut all = Vec::new();
        for batch in self.lake.collect(&sql).await? {
            let [names, digests, settings] = [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?];
            let counts = numbers(&batch, 3)?;
            let digest = |text: &Option<String>| u64::from_str_radix(text.as_deref().unwrap_or_default(), 16);
            for row in 0..batch.num_rows() {
                all.push(Decided {
                    policy: names[row].clone().unwrap_or_default(),
                    policy_digest: digest(&digests[row]).context("a digest of the lake")?,
                    settings_digest: digest(&settings[row]).context("a digest of the lake")?,
                    decisions: counts[row].unwrap_or_default().unsigned_abs(),
                });
            }
        }
        Ok(all)
    }

    /// The program that wrote the site's first keyframe in a time, if there is one; or why it can't be read.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn program(&mut self, until: Micros) -> anyhow::Result<Option<Result<String, String>>> {
        let sql = format!(
            "SELECT detail FROM events WHERE site = '{}' AND kind = 'keyframe' AND arrived_at <= '{}' \
             ORDER BY arrived_at DESC LIMIT 1",
            self.site,
            precise(until)
        );
        for batch in self.lake.collect(&sql).await? {
            if let Some(Some(detail)) = texts(&batch, 0)?.into_iter().next() {
                let event = Event { detail, ..Event::new(self.site.clone(), None, EventKind::Keyframe, "") };
                let read = replay::bytes(&event).and_then(|bytes| Keyframe::decode(&bytes));
                return Ok(Some(read.map(|keyframe| keyframe.program).map_err(|error| error.to_string())));
            }
        }
        Ok(None)
    }

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

const OTHER_VERSION: &str = "the lake is of another version than this program";

fn foreign(table: &str, what: &str) -> String {
    format!("{OTHER_VERSION}: {table} {what}; use the program that goes with the fog node that wrote it")
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

/// In order of arrival; who is still there when the next one comes to its charger leaves then.
fn in_order(mut stays: Vec<Past>) -> Vec<Past> {
    stays.sort_by(|a, b| (a.arrival, &a.station).cmp(&(b.arrival, &b.station)));
    let mut next = std::collections::BTreeMap::new();
    for stay in stays.iter_mut().rev() {
        if let Some(next) = next.insert(stay.station.clone(), stay.arrival) {
            stay.departure = stay.departure.min(next);
        }
    }
    stays.retain(|stay| stay.departure > stay.arrival);
    stays
}

fn named<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &Option<String>,
) -> anyhow::Result<T> {
    text.as_deref().unwrap_or_default().parse().context("a name of the lake")
}

/// A moment in SQL, to the microsecond.
fn precise(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| shown(at), |at| format!("{at:.6}"))
}

fn texts(batch: &RecordBatch, column: usize) -> anyhow::Result<Vec<Option<String>>> {
    let column: ArrayRef = cast(batch.column(column), &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

fn numbers(batch: &RecordBatch, column: usize) -> anyhow::Result<Vec<Option<i64>>> {
    let column: ArrayRef = cast(batch.column(column), &DataType::Int64)?;
    let values = column.as_primitive::<Int64Type>();
    Ok((0..values.len()).map(|row| values.is_valid(row).then(|| values.value(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(station: &str, session: &str, arrival: i64, departure: i64) -> Past {
        Past {
            station: station.parse().expect("name"),
            session: session.parse().expect("name"),
            user: None,
            arrival: Micros(arrival),
            start: Micros(arrival),
            departure: Micros(departure),
            ended_by_itself: true,
            drawn: None,
            requested: None,
            estimated_departure: None,
        }
    }

    #[test]
    fn of_two_stays_at_one_charger_the_first_ends_when_the_second_begins() {
        let stays = vec![
            past("B", "3", 15, 25),
            past("A", "1", 10, 99),
            past("A", "2", 20, 30),
            past("A", "0", 10, 12),
        ];
        let stays: Vec<_> =
            in_order(stays).into_iter().map(|s| (s.session.to_string(), s.departure.0)).collect();
        let expected = [("0", 12), ("3", 25), ("2", 30)];
        let last: Vec<_> = expected.map(|(name, at)| (name.to_owned(), at)).into();
        // Of two that come at the same moment one was never there.
        assert_eq!(stays.len(), 3, "{stays:?}");
        assert_eq!(&stays[1..], &last[1..]);
    }

    #[test]
    fn a_moment_in_sql_has_all_its_digits() {
        assert_eq!(precise(Micros(1_774_850_400_000_001)), "2026-03-30T06:00:00.000001Z");
    }
}
