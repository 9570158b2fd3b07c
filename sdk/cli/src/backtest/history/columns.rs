//! The columns of a lake that a backtest reads, and their values.

use anyhow::Context as _;
use arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use wattle_wire::Micros;

use crate::replay::entries::shown;

/// What tables must have for this program.
pub(super) const COLUMNS: [(&str, &[&str]); 4] = [
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

pub(super) const OTHER_VERSION: &str = "the lake is of another version than this program";

pub(super) fn foreign(table: &str, what: &str) -> String {
    format!("{OTHER_VERSION}: {table} {what}; use the program that goes with the fog node that wrote it")
}

pub(super) fn named<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &Option<String>,
) -> anyhow::Result<T> {
    text.as_deref().unwrap_or_default().parse().context("a name of the lake")
}

/// A moment in SQL, to the microsecond.
pub(super) fn precise(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| shown(at), |at| format!("{at:.6}"))
}

pub(super) fn texts(batch: &RecordBatch, column: usize) -> anyhow::Result<Vec<Option<String>>> {
    let column: ArrayRef = cast(batch.column(column), &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

pub(super) fn numbers(batch: &RecordBatch, column: usize) -> anyhow::Result<Vec<Option<i64>>> {
    let column: ArrayRef = cast(batch.column(column), &DataType::Int64)?;
    let values = column.as_primitive::<Int64Type>();
    Ok((0..values.len()).map(|row| values.is_valid(row).then(|| values.value(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_sql_has_all_its_digits() {
        assert_eq!(precise(Micros(1_774_850_400_000_001)), "2026-03-30T06:00:00.000001Z");
    }
}
