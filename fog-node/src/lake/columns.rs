//! The columns that the fog node adds to rows on their way into the raw tables.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, PrimitiveArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use wattle_fog_core::clean::{self, Limits, Measured, RULE_VERSION};
use wattle_wire::{Micros, Milliamps, Millivolts, WattHours, Watts};

use super::error::Context as _;
use super::{LakeError, schema};

/// Adds `at`, `verdict` and `rule_version` to a batch of readings.
pub(crate) fn judged(batch: &RecordBatch, limits: Limits) -> Result<RecordBatch, LakeError> {
    let rows = Readings::of(batch);
    let measured = (0..batch.num_rows()).map(|row| rows.measured(row));
    let (verdicts, moments): (Vec<_>, Vec<_>) = measured
        .map(|m| (clean::verdict(&m, limits), clean::moment(m.measured_at, m.arrived_at, limits).0))
        .unzip();
    let added: [ArrayRef; 3] = [
        Arc::new(moments_array(moments)),
        Arc::new(StringArray::from(verdicts)),
        Arc::new(Int32Array::from_value(RULE_VERSION, batch.num_rows())),
    ];
    extended(batch, added, schema::readings_raw())
}

/// Adds `at` to a batch of events.
pub(crate) fn dated(batch: &RecordBatch, limits: Limits) -> Result<RecordBatch, LakeError> {
    let measured = timestamps(batch, "measured_at");
    let arrived = timestamps(batch, "arrived_at");
    let moments = (0..batch.num_rows())
        .map(|row| clean::moment(value(measured, row).map(Micros), Micros(arrived.value(row)), limits).0)
        .collect();
    extended(batch, [Arc::new(moments_array(moments)) as ArrayRef], schema::events())
}

fn extended(
    batch: &RecordBatch,
    added: impl IntoIterator<Item = ArrayRef>,
    schema: SchemaRef,
) -> Result<RecordBatch, LakeError> {
    let mut columns = batch.columns().to_vec();
    columns.extend(added);
    RecordBatch::try_new(schema, columns).columns("a segment")
}

fn moments_array(moments: Vec<i64>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from(moments).with_timezone("UTC")
}

/// The columns of a batch of readings that rules look at.
struct Readings<'a> {
    measured_at: &'a TimestampMicrosecondArray,
    arrived_at: &'a TimestampMicrosecondArray,
    current: [&'a Int32Array; 3],
    voltage: [&'a Int32Array; 3],
    power: &'a Int32Array,
    register: &'a PrimitiveArray<Int64Type>,
    soc: &'a Int32Array,
    temperature: &'a Int32Array,
    humidity: &'a Int32Array,
    signal: &'a Int32Array,
}

impl<'a> Readings<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let ints = |name| column::<Int32Type>(batch, name);
        Self {
            measured_at: timestamps(batch, "measured_at"),
            arrived_at: timestamps(batch, "arrived_at"),
            current: ["current_1_ma", "current_2_ma", "current_3_ma"].map(ints),
            voltage: ["voltage_1_mv", "voltage_2_mv", "voltage_3_mv"].map(ints),
            power: ints("power_w"),
            register: column(batch, "register_wh"),
            soc: ints("soc_percent"),
            temperature: ints("temperature_mc"),
            humidity: ints("humidity_percent"),
            signal: ints("signal_dbm"),
        }
    }

    fn measured(&self, row: usize) -> Measured {
        Measured {
            measured_at: value(self.measured_at, row).map(Micros),
            arrived_at: Micros(self.arrived_at.value(row)),
            current: self.current.map(|phase| value(phase, row).map(Milliamps)),
            voltage: self.voltage.map(|phase| value(phase, row).map(Millivolts)),
            power: value(self.power, row).map(Watts),
            register: value(self.register, row).map(WattHours),
            soc_percent: value(self.soc, row),
            temperature_mc: value(self.temperature, row),
            humidity_percent: value(self.humidity, row),
            signal_dbm: value(self.signal, row),
        }
    }
}

/// A column of a batch whose schema was checked when it was read.
pub(crate) fn column<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> &'a PrimitiveArray<T> {
    batch.column_by_name(name).expect("the schema has this column").as_primitive()
}

/// A column of moments.
pub(crate) fn timestamps<'a>(batch: &'a RecordBatch, name: &str) -> &'a TimestampMicrosecondArray {
    column::<TimestampMicrosecondType>(batch, name)
}

/// A column of texts.
pub(crate) fn texts<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).expect("the schema has this column").as_string()
}

/// The value in a row, or none where it is null.
pub(crate) fn value<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

/// The text in a row, or none where it is null.
pub(crate) fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}
