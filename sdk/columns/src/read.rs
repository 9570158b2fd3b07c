//! Columns back to records: what an edge journaled, read from a segment or from the raw tables of a lake.
//!
//! Columns are found by their names, and others are passed over, so a lake's tables can be read too. What columns don't hold is not there
//! again: how many phases a device speaks of beyond its last value, and numbers beyond 63 bits.

use std::collections::BTreeMap;
use std::str::FromStr;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{
    Cause, DecidedCharger, DecidedCircuit, Decision, Event, EventKind, Reading, Record, Row,
};
use wattle_wire::{Micros, Milliamps, Millivolts, SessionId, SiteId, WattHours, Watts};

use crate::Segment;
use crate::gap::gap;

/// Why columns are not those of a raw table.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A column that isn't there, or has another type.
    #[error("column {0} is missing, or not of its type")]
    Column(&'static str),
    /// A value that no edge writes.
    #[error("row {row}: {column} can't be {value:?}; a newer program may have written it")]
    Value {
        /// Where.
        column: &'static str,
        /// Which row of the batch.
        row: usize,
        /// What stands there.
        value: String,
    },
}

impl ReadError {
    pub(crate) fn value(column: &'static str, row: usize, value: &str) -> Self {
        Self::Value { column, row, value: value.chars().take(100).collect() }
    }
}

impl Segment {
    /// Its records, in order.
    ///
    /// # Errors
    /// When a value is none that an edge of this version writes.
    pub fn records(&self) -> Result<Vec<Record>, ReadError> {
        let mut records = readings(&self.readings)?;
        records.extend(events(&self.events)?);
        records.extend(decisions(&self.decisions)?);
        records.sort_by_key(|record| record.sequence);
        Ok(records)
    }
}

/// The readings of a batch with the columns of [`crate::schema::readings`].
///
/// # Errors
/// When a column is missing, or a value is none that an edge writes.
pub fn readings(batch: &RecordBatch) -> Result<Vec<Record>, ReadError> {
    let columns = Columns(batch);
    let [sequence, boot, seq] = columns.longs(["sequence", "boot", "seq"])?;
    let [setpoint, register_wh] = columns.longs(["setpoint", "register_wh"])?;
    let [site, device, state, session] = columns.texts(["site", "device", "state", "session"])?;
    let [measured, arrived] = columns.moments(["measured_at", "arrived_at"])?;
    let current = columns.ints(["current_1_ma", "current_2_ma", "current_3_ma"])?;
    let voltage = columns.ints(["voltage_1_mv", "voltage_2_mv", "voltage_3_mv"])?;
    let [power, soc, temperature] = columns.ints(["power_w", "soc_percent", "temperature_mc"])?;
    let [humidity, signal] = columns.ints(["humidity_percent", "signal_dbm"])?;
    let record = |row: usize| -> Result<Record, ReadError> {
        let values = Values {
            current_ma: phases(&current, row, Milliamps),
            voltage_mv: phases(&voltage, row, Millivolts),
            power_w: power.get(row).map(Watts),
            register_wh: register_wh.get(row).map(WattHours),
            soc_percent: soc.get(row),
            temperature_mc: temperature.get(row),
            humidity_percent: humidity.get(row),
            signal_dbm: signal.get(row),
        };
        let reading = Reading {
            site: site.required(row)?,
            device: device.required(row)?,
            number: number(boot.get(row), seq.get(row)),
            measured_us: measured.get(row).map(Micros),
            state: state.get(row).map(|text| charger_state(text, row)).transpose()?,
            setpoint: setpoint.get(row).map(i64::unsigned_abs),
            session: session.optional(row)?,
            values,
        };
        Ok(Record {
            sequence: sequence.required(row)?.unsigned_abs(),
            at_us: Micros(arrived.required(row)?),
            row: Row::Reading(reading),
        })
    };
    (0..batch.num_rows()).map(record).collect()
}

/// The events and gaps of a batch with the columns of [`crate::schema::events`].
///
/// # Errors
/// As [`readings`].
pub fn events(batch: &RecordBatch) -> Result<Vec<Record>, ReadError> {
    let columns = Columns(batch);
    let [sequence, boot, seq] = columns.longs(["sequence", "boot", "seq"])?;
    let [register_wh, requested_wh, setpoint] = columns.longs(["register_wh", "requested_wh", "setpoint"])?;
    let [site, device, kind, session] = columns.texts(["site", "device", "kind", "session"])?;
    let [user, detail] = columns.texts(["user", "detail"])?;
    let [measured, arrived, departure] = columns.moments(["measured_at", "arrived_at", "departure_at"])?;
    let record = |row: usize| -> Result<Record, ReadError> {
        let (kind, text) = (kind.get(row).unwrap_or_default(), detail.get(row).unwrap_or_default());
        let event = |kind| -> Result<Row, ReadError> {
            Ok(Row::Event(Event {
                site: site.required::<SiteId>(row)?,
                device: device.optional(row)?,
                kind,
                number: number(boot.get(row), seq.get(row)),
                measured_us: measured.get(row).map(Micros),
                session: session.optional::<SessionId>(row)?,
                user: user.optional(row)?,
                register_wh: register_wh.get(row).map(WattHours),
                requested_wh: requested_wh.get(row).map(WattHours),
                departure_us: departure.get(row).map(Micros),
                setpoint: setpoint.get(row).map(i64::unsigned_abs),
                detail: text.to_owned(),
            }))
        };
        let known = EventKind::ALL.iter().find(|known| known.as_str() == kind);
        let row_ = match (known, kind) {
            (Some(kind), _) => event(*kind)?,
            (None, "gap") => Row::Gap(gap(text).ok_or_else(|| bad("detail", row, text))?),
            _ => return Err(bad("kind", row, kind)),
        };
        let (sequence, at) = (sequence.required(row)?, arrived.required(row)?);
        Ok(Record { sequence: sequence.unsigned_abs(), at_us: Micros(at), row: row_ })
    };
    (0..batch.num_rows()).map(record).collect()
}

/// The decisions of a batch with the columns of [`crate::schema::decisions`], which holds all rows of each. The
/// chargers of a decision stand in the order of their rows.
///
/// # Errors
/// As [`readings`].
pub fn decisions(batch: &RecordBatch) -> Result<Vec<Record>, ReadError> {
    let columns = Columns(batch);
    let [sequence, fuel, numbers] = columns.longs(["sequence", "fuel", "number"])?;
    let [site, cause, policy, policy_digest] = columns.texts(["site", "cause", "policy", "policy_digest"])?;
    let [settings_digest, charger, reason] = columns.texts(["settings_digest", "charger", "reason"])?;
    let [circuits] = columns.texts(["circuits"])?;
    let [proposed, setpoint] = columns.ints(["proposed_ma", "setpoint_ma"])?;
    let [decided] = columns.moments(["decided_at"])?;
    let state = columns.column("state", &DataType::Binary)?;
    let state = state.as_binary::<i32>();
    let mut found: BTreeMap<u64, (Micros, Decision)> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let sequence = sequence.required(row)?.unsigned_abs();
        if let std::collections::btree_map::Entry::Vacant(place) = found.entry(sequence) {
            let decision = Decision {
                site: site.required(row)?,
                cause: self::cause(cause.get(row).unwrap_or_default(), row)?,
                policy: policy.get(row).unwrap_or_default().to_owned(),
                policy_digest: digest(&policy_digest, row)?,
                settings_digest: digest(&settings_digest, row)?,
                fuel: fuel.required(row)?.unsigned_abs(),
                circuits: Vec::new(),
                chargers: Vec::new(),
                state: Vec::new(),
            };
            place.insert((Micros(decided.required(row)?), decision));
        }
        let Some((_, decision)) = found.get_mut(&sequence) else { continue };
        if let Some(text) = circuits.get(row) {
            let read = serde_json::from_str::<Vec<DecidedCircuit>>(text);
            decision.circuits = read.map_err(|_| bad("circuits", row, text))?;
        }
        if state.is_valid(row) {
            decision.state = state.value(row).to_vec();
        }
        let Some(charger) = charger.optional(row)? else { continue };
        decision.chargers.push(DecidedCharger {
            charger,
            proposed_ma: Milliamps(proposed.required(row)?),
            setpoint_ma: Milliamps(setpoint.required(row)?),
            number: numbers.required(row)?.unsigned_abs(),
            reason: reason.get(row).unwrap_or_default().to_owned(),
        });
    }
    let record = |(sequence, (at_us, decision))| Record { sequence, at_us, row: Row::Decision(decision) };
    Ok(found.into_iter().map(record).collect())
}

fn bad(column: &'static str, row: usize, value: &str) -> ReadError {
    ReadError::value(column, row, value)
}

fn number(boot: Option<i64>, seq: Option<i64>) -> Option<Number> {
    Some(Number { boot: u32::try_from(boot?).ok()?, seq: seq?.unsigned_abs() })
}

fn phases<T: Copy>(
    columns: &[Numbers<Int32Type>; 3],
    row: usize,
    make: impl Fn(i32) -> T,
) -> Option<Phases<T>> {
    Phases::of([0, 1, 2].map(|phase| columns[phase].get(row).map(&make)))
}

fn charger_state(text: &str, row: usize) -> Result<ChargerState, ReadError> {
    let all = [
        ChargerState::Available,
        ChargerState::Plugged,
        ChargerState::Waiting,
        ChargerState::Charging,
        ChargerState::Finished,
        ChargerState::Faulted,
    ];
    all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| bad("state", row, text))
}

fn cause(text: &str, row: usize) -> Result<Cause, ReadError> {
    let all = [Cause::Interval, Cause::Breach, Cause::Request, Cause::Shadow];
    all.into_iter().find(|cause| cause.as_str() == text).ok_or_else(|| bad("cause", row, text))
}

fn digest(texts: &Texts, row: usize) -> Result<u64, ReadError> {
    let text = texts.get(row).unwrap_or_default();
    u64::from_str_radix(text, 16).map_err(|_| bad(texts.name, row, text))
}

struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn column(&self, name: &'static str, kind: &DataType) -> Result<ArrayRef, ReadError> {
        let column = self.0.column_by_name(name).ok_or(ReadError::Column(name))?;
        if column.data_type() == kind {
            return Ok(column.clone());
        }
        cast(column, kind).map_err(|_| ReadError::Column(name))
    }

    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        &self,
        names: [&'static str; N],
        kind: &DataType,
    ) -> Result<[Numbers<T>; N], ReadError> {
        let columns: Vec<_> = names.iter().map(|name| self.column(name, kind)).collect::<Result<_, _>>()?;
        Ok(std::array::from_fn(|i| Numbers {
            name: names[i],
            values: columns[i].as_primitive::<T>().clone(),
        }))
    }

    fn longs<const N: usize>(&self, names: [&'static str; N]) -> Result<[Numbers<Int64Type>; N], ReadError> {
        self.numbers(names, &DataType::Int64)
    }

    fn ints<const N: usize>(&self, names: [&'static str; N]) -> Result<[Numbers<Int32Type>; N], ReadError> {
        self.numbers(names, &DataType::Int32)
    }

    fn moments<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<[Numbers<TimestampMicrosecondType>; N], ReadError> {
        self.numbers(names, &crate::schema::timestamp())
    }

    fn texts<const N: usize>(&self, names: [&'static str; N]) -> Result<[Texts; N], ReadError> {
        let columns: Vec<_> =
            names.iter().map(|name| self.column(name, &DataType::Utf8)).collect::<Result<_, _>>()?;
        Ok(std::array::from_fn(|i| Texts { name: names[i], values: columns[i].as_string::<i32>().clone() }))
    }
}

struct Numbers<T: ArrowPrimitiveType> {
    name: &'static str,
    values: arrow::array::PrimitiveArray<T>,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    fn get(&self, row: usize) -> Option<T::Native> {
        self.values.is_valid(row).then(|| self.values.value(row))
    }

    fn required(&self, row: usize) -> Result<T::Native, ReadError> {
        self.get(row).ok_or_else(|| bad(self.name, row, "null"))
    }
}

struct Texts {
    name: &'static str,
    values: arrow::array::StringArray,
}

impl Texts {
    fn get(&self, row: usize) -> Option<&str> {
        self.values.is_valid(row).then(|| self.values.value(row))
    }

    fn optional<I: FromStr>(&self, row: usize) -> Result<Option<I>, ReadError> {
        let read = |text: &str| text.parse().map_err(|_| bad(self.name, row, text));
        self.get(row).map(read).transpose()
    }

    fn required<I: FromStr>(&self, row: usize) -> Result<I, ReadError> {
        self.optional(row)?.ok_or_else(|| bad(self.name, row, "null"))
    }
}
