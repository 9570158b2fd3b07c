//! Reads a trace: one charging session per line, as CSV, plain or gzip.
//!
//! - The header names the columns, in any order; [`COLUMNS`] has to be there, `user_id` may be, others are passed
//!   over. A header without all of them is an error; nothing after it is.
//! - A line is a row; rows are numbered from 1 after the header, empty lines aside. A field has no line break.
//! - A row that makes no sense is refused with a code and a text, never an error: [`super::row`] has the codes of a
//!   row by itself; this module those of a row among others: `duplicate_session`, `overlap`.
//! - Bounds: [`MAX_LINE_BYTES`] a line (what is longer is skipped and refused), [`MAX_ROWS`] rows (more is an error).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;
use wattle_wire::{DeviceId, Micros, SessionId, UserId, WattHours};

use super::row::{self, Fields};
use crate::Usage;

/// The columns that a trace must have.
pub const COLUMNS: [&str; 8] = [
    "arrival",
    "departure",
    "requested_energy (kWh)",
    "delivered_energy (kWh)",
    "station_id",
    "session_id",
    "estimated_departure",
    "claimed",
];
/// The column that it may have.
const USER: &str = "user_id";

/// The longest line that is read, bytes.
pub const MAX_LINE_BYTES: usize = 8 << 10;
/// The most rows of a trace.
pub const MAX_ROWS: u64 = 5_000_000;

/// A session of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// The number of its row.
    pub row: u64,
    /// When the vehicle came.
    pub arrival: Micros,
    /// When it left; after `arrival`.
    pub departure: Micros,
    /// What its user asked for.
    pub requested: Option<WattHours>,
    /// What it was given, rounded to the watt-hour.
    pub delivered: WattHours,
    /// Where it stood.
    pub station: DeviceId,
    /// Its name: that of the trace with `_` for each space.
    pub session: SessionId,
    /// When its user meant to leave.
    pub estimated_departure: Option<Micros>,
    /// Who charged, where the trace says so.
    pub user: Option<UserId>,
}

/// Why a row is not a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The number of the row.
    pub row: u64,
    /// A word for the reason.
    pub code: &'static str,
    /// The reason, for people.
    pub text: String,
}

/// A whole trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// How many rows it has.
    pub rows: u64,
    /// Those that make sense, in order of arrival.
    pub stays: Vec<Stay>,
    /// The others, in order of their rows.
    pub refused: Vec<Refused>,
}

/// Reads a trace from a file; `known` says of a station whether the site has it.
///
/// # Errors
/// [`Usage`] when the file can't be opened or its header is broken; others when it can't be read to its end.
pub fn read(path: &Path, known: impl Fn(&DeviceId) -> bool) -> anyhow::Result<Trace> {
    let name = path.display().to_string();
    let unusable = |why: &dyn std::fmt::Display| Usage(format!("{name}: {why}"));
    let file = File::open(path).map_err(|error| unusable(&error))?;
    let mut input: Box<dyn BufRead> = Box::new(BufReader::new(file));
    if input.fill_buf().map_err(|error| unusable(&error))?.starts_with(&[0x1f, 0x8b]) {
        input = Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input)));
    }
    parse(input, &name, known)
}

fn parse(mut input: impl BufRead, name: &str, known: impl Fn(&DeviceId) -> bool) -> anyhow::Result<Trace> {
    let mut line = Vec::new();
    let unreadable = || format!("{name} can't be read to its end");
    let whole = next_line(&mut input, &mut line).with_context(unreadable)?.unwrap_or(true);
    let header = header(&line, whole).map_err(|why| Usage(format!("{name}: {why}")))?;
    let mut trace = Trace::default();
    while let Some(whole) = next_line(&mut input, &mut line).with_context(unreadable)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        trace.rows += 1;
        anyhow::ensure!(trace.rows <= MAX_ROWS, "{name} has more than {MAX_ROWS} rows; cut it into parts");
        match row(&line, whole, &header, trace.rows, &known) {
            Ok(stay) => trace.stays.push(stay),
            Err((code, text)) => trace.refused.push(Refused { row: trace.rows, code, text }),
        }
    }
    trace.refuse_among_others();
    Ok(trace)
}

/// The next line without its end, or nothing at the end of the file; false when it was too long and was cut.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let most = MAX_LINE_BYTES as u64 + 2;
    if input.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let is_cut = line.len() as u64 == most && line.last() != Some(&b'\n');
    if is_cut {
        skip_line(input)?;
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(Some(!is_cut && line.len() <= MAX_LINE_BYTES))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(used);
        if ended {
            return Ok(());
        }
    }
}

/// Where each column stands.
struct Header {
    places: [usize; COLUMNS.len()],
    user: Option<usize>,
    count: usize,
}

fn header(line: &[u8], whole: bool) -> Result<Header, String> {
    let wanted = || format!("give a first line with {}", COLUMNS.join(", "));
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let names =
        fields(line).filter(|_| whole).ok_or_else(|| format!("the header can't be read; {}", wanted()))?;
    let names: Vec<&str> = names.iter().map(str::trim).collect();
    let place = |name: &str| names.iter().position(|found| *found == name);
    let missing: Vec<_> = COLUMNS.into_iter().filter(|name| place(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(format!("the header lacks {}; {}", missing.join(", "), wanted()));
    }
    let twice = |name: &&str| names.iter().filter(|found| *found == name).count() > 1;
    if let Some(name) = COLUMNS.into_iter().chain([USER]).find(twice) {
        return Err(format!("the header has {name} twice; name each column once"));
    }
    let places = COLUMNS.map(|name| place(name).unwrap_or_default());
    Ok(Header { places, user: place(USER), count: names.len() })
}

/// The fields of a line, if it is text.
fn fields(line: &[u8]) -> Option<csv::StringRecord> {
    let mut record = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
    reader.read_record(&mut record).ok().map(|_| record)
}

fn row(
    line: &[u8],
    whole: bool,
    header: &Header,
    number: u64,
    known: &impl Fn(&DeviceId) -> bool,
) -> Result<Stay, (&'static str, String)> {
    if !whole {
        return Err(("line_too_long", format!("more than {MAX_LINE_BYTES} bytes")));
    }
    let Some(record) = fields(line) else {
        return Err(("not_text", "the line is not UTF-8".into()));
    };
    if record.len() != header.count {
        return Err((
            "wrong_columns",
            format!("{} fields where the header has {}", record.len(), header.count),
        ));
    }
    let field = |place: usize| record.get(place).unwrap_or_default().trim();
    let [arrival, departure, requested, delivered, station, session, estimated_departure, _] =
        header.places.map(field);
    let user = header.user.map_or("", field);
    let fields =
        Fields { arrival, departure, requested, delivered, station, session, estimated_departure, user };
    let stay = row::stay(number, &fields)?;
    if !known(&stay.station) {
        return Err(("unknown_station", format!("the site has no charger {}", stay.station)));
    }
    Ok(stay)
}

impl Trace {
    /// Refuses rows that only make no sense beside others, and brings the rest into the order of arrival: of two
    /// rows with one session the first row counts, of two stays at once at one station the first to come.
    fn refuse_among_others(&mut self) {
        let mut first_row = BTreeMap::new();
        for stay in std::mem::take(&mut self.stays) {
            match first_row.get(&stay.session) {
                Some(first) => {
                    self.refuse(
                        &stay,
                        "duplicate_session",
                        format!("session {} is row {first}", stay.session),
                    );
                }
                None => {
                    first_row.insert(stay.session.clone(), stay.row);
                    self.stays.push(stay);
                }
            }
        }
        self.stays.sort_by_key(|stay| (stay.arrival, stay.row));
        let mut last: BTreeMap<DeviceId, (Micros, u64)> = BTreeMap::new();
        for stay in std::mem::take(&mut self.stays) {
            match last.get(&stay.station) {
                Some((until, row)) if *until > stay.arrival => {
                    let text = format!("station {} is taken by row {row} when it begins", stay.station);
                    self.refuse(&stay, "overlap", text);
                }
                _ => {
                    last.insert(stay.station.clone(), (stay.departure, stay.row));
                    self.stays.push(stay);
                }
            }
        }
        self.refused.sort_by_key(|refused| refused.row);
    }

    fn refuse(&mut self, stay: &Stay, code: &'static str, text: String) {
        self.refused.push(Refused { row: stay.row, code, text });
    }

    /// The stations, in order of name.
    pub fn stations(&self) -> BTreeSet<DeviceId> {
        self.stays.iter().map(|stay| stay.station.clone()).collect()
    }

    /// How many rows were refused, by code.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for refused in &self.refused {
            *counts.entry(refused.code.to_owned()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
