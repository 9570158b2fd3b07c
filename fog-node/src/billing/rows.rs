//! The rows that a bill is a function of: which SQL asks for them, and how they are read.
//!
//! Whoever bills runs the texts from [`sessions_of_month`], [`session_named`] and [`configurations`] on a lake,
//! directly or over Flight SQL, and hands the batches to [`read_sessions`] and [`read_terms`].

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use wattle_site::SiteFile;
use wattle_wire::{SessionId, SiteId};

use super::rate::{Month, Session, Terms};

/// Why rows can't be billed.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The lake is of another version.
    #[error("the answer has no usable column {0:?}: {1}; is the lake of another version of Wattle?")]
    Column(&'static str, String),
    /// A configuration can't be read any more.
    #[error("the configuration of {at} can't be read, so its tariff is unknown: {problems}")]
    Configuration {
        /// From when on it held.
        at: Timestamp,
        /// What is wrong with it.
        problems: String,
    },
}

const SESSION_COLUMNS: &str = "site, session, device, \"user\", plugged_at, started_at, ended_at, unplugged_at, \
     register_start_wh, register_end_wh, end_estimated";

/// Asks for the sessions of a site that may fall into a month by any clocks.
pub fn sessions_of_month(site: &SiteId, month: Month) -> String {
    let (from, to) = month.around();
    let moment = "coalesce(ended_at, unplugged_at, started_at, plugged_at)";
    format!(
        "SELECT {SESSION_COLUMNS} FROM sessions WHERE site = '{site}' \
         AND {moment} >= TIMESTAMP '{from}' AND {moment} < TIMESTAMP '{to}'"
    )
}

/// Asks for one session.
pub fn session_named(session: &SessionId) -> String {
    format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE session = '{session}'")
}

/// Asks for the sites of which there is a configuration.
pub const SITES: &str = "SELECT DISTINCT site FROM sites ORDER BY site";

/// Asks for every configuration that a site has had, in order of time.
pub fn configurations(site: &SiteId) -> String {
    format!(
        "SELECT configured_at, text FROM sites WHERE site = '{site}' \
         ORDER BY configured_at, edge, incarnation, version"
    )
}

/// Reads what [`sessions_of_month`] and [`session_named`] ask for: each session with its site.
///
/// # Errors
/// When a column is missing or of another kind.
pub fn read_sessions(batches: &[RecordBatch]) -> Result<Vec<(String, Session)>, RowsError> {
    let mut sessions = Vec::new();
    for batch in batches {
        let columns = SessionColumns::of(batch)?;
        sessions.extend((0..batch.num_rows()).map(|row| columns.read(row)));
    }
    Ok(sessions)
}

/// Reads what [`SITES`] asks for.
///
/// # Errors
/// When the column is missing or of another kind.
pub fn read_sites(batches: &[RecordBatch]) -> Result<Vec<String>, RowsError> {
    let mut sites = Vec::new();
    for batch in batches {
        let names = strings(batch, "site")?;
        sites.extend((0..batch.num_rows()).filter_map(|row| string(&names, row)));
    }
    Ok(sites)
}

/// Reads what [`configurations`] asks for. `site` is named in what is wrong with one.
///
/// # Errors
/// When a column is missing or of another kind, or a configuration can't be read any more.
pub fn read_terms(site: &SiteId, batches: &[RecordBatch]) -> Result<Vec<Terms>, RowsError> {
    let mut terms = Vec::new();
    for batch in batches {
        let (times, texts) = (moments(batch, "configured_at")?, strings(batch, "text")?);
        for row in 0..batch.num_rows() {
            let (Some(from), Some(text)) = (moment(&times, row), string(&texts, row)) else { continue };
            terms.push(terms_of(site, from, &text)?);
        }
    }
    Ok(terms)
}

fn terms_of(site: &SiteId, from: Timestamp, text: &str) -> Result<Terms, RowsError> {
    let unreadable = |problems: String| RowsError::Configuration { at: from, problems };
    let file = SiteFile::recorded(&format!("{site}.toml"), text).map_err(|p| unreadable(p.to_string()))?;
    let names: BTreeMap<_, _> = file.users.into_iter().map(|user| (user.id.into(), user.name)).collect();
    Ok(Terms {
        from,
        time_zone: TimeZone::get(&file.time_zone).map_err(|e| unreadable(e.to_string()))?,
        tariff_version: file.tariff.version,
        currency: file.tariff.currency,
        start_fee: file.tariff.start_fee,
        price_per_kwh: file.tariff.price_per_kwh,
        names,
    })
}

struct SessionColumns {
    texts: [ArrayRef; 4],
    times: [ArrayRef; 4],
    registers: [ArrayRef; 2],
    estimated: ArrayRef,
}

impl SessionColumns {
    fn of(batch: &RecordBatch) -> Result<Self, RowsError> {
        Ok(Self {
            texts: [
                strings(batch, "site")?,
                strings(batch, "session")?,
                strings(batch, "device")?,
                strings(batch, "user")?,
            ],
            times: [
                moments(batch, "plugged_at")?,
                moments(batch, "started_at")?,
                moments(batch, "ended_at")?,
                moments(batch, "unplugged_at")?,
            ],
            registers: [
                column(batch, "register_start_wh", &DataType::Int64)?,
                column(batch, "register_end_wh", &DataType::Int64)?,
            ],
            estimated: column(batch, "end_estimated", &DataType::Boolean)?,
        })
    }

    fn read(&self, row: usize) -> (String, Session) {
        let [site, id, device, user] = self.texts.each_ref().map(|column| string(column, row));
        let [plugged_at, started_at, ended_at, unplugged_at] =
            self.times.each_ref().map(|column| moment(column, row));
        let [register_start_wh, register_end_wh] = self.registers.each_ref().map(|column| whole(column, row));
        let estimated = self.estimated.as_boolean();
        let session = Session {
            id: id.unwrap_or_default(),
            device: device.unwrap_or_default(),
            user,
            plugged_at,
            started_at,
            ended_at,
            unplugged_at,
            register_start_wh,
            register_end_wh,
            end_estimated: estimated.is_valid(row) && estimated.value(row),
        };
        (site.unwrap_or_default(), session)
    }
}

/// A column by its name, whatever kind of text or number the engine chose for it.
fn column(batch: &RecordBatch, name: &'static str, kind: &DataType) -> Result<ArrayRef, RowsError> {
    let column =
        batch.column_by_name(name).ok_or_else(|| RowsError::Column(name, "it is missing".to_string()))?;
    cast(column, kind).map_err(|e| RowsError::Column(name, e.to_string()))
}

fn strings(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, RowsError> {
    column(batch, name, &DataType::Utf8)
}

fn moments(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, RowsError> {
    column(batch, name, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
}

fn string(column: &ArrayRef, row: usize) -> Option<String> {
    let texts = column.as_string::<i32>();
    texts.is_valid(row).then(|| texts.value(row).to_string())
}

fn whole(column: &ArrayRef, row: usize) -> Option<i64> {
    let numbers = column.as_primitive::<Int64Type>();
    numbers.is_valid(row).then(|| numbers.value(row))
}

fn moment(column: &ArrayRef, row: usize) -> Option<Timestamp> {
    let times = column.as_primitive::<TimestampMicrosecondType>();
    times.is_valid(row).then(|| times.value(row)).and_then(|us| Timestamp::from_microsecond(us).ok())
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
