//! The columns of the lake's tables: those of `wattle-columns` and what the fog node adds.
//!
//! `docs/tables.md` is their public description. A released column never changes its meaning or type; new ones
//! are added at the end and may be null.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use wattle_columns::schema::{self as columns, timestamp};

fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn with(base: &SchemaRef, added: impl IntoIterator<Item = Field>) -> SchemaRef {
    let mut fields: Vec<_> = base.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(added);
    Arc::new(Schema::new(fields))
}

static READINGS_RAW: LazyLock<SchemaRef> = LazyLock::new(|| {
    let added = [
        required("at", timestamp()),
        required("verdict", DataType::Utf8),
        required("rule_version", DataType::Int32),
    ];
    with(&columns::readings(), added)
});

static EVENTS: LazyLock<SchemaRef> =
    LazyLock::new(|| with(&columns::events(), [required("at", timestamp())]));

static INTERVALS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        required("site", DataType::Utf8),
        required("device", DataType::Utf8),
        required("start", timestamp()),
        required("readings", DataType::Int64),
        optional("energy_wh", DataType::Int64),
        required("energy_span_ms", DataType::Int64),
        optional("power_mean_w", DataType::Int32),
        optional("power_min_w", DataType::Int32),
        optional("power_max_w", DataType::Int32),
        required("covered_ms", DataType::Int64),
        required("resets", DataType::Int64),
        required("revision", DataType::Int64),
    ]))
});

static SESSIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        required("site", DataType::Utf8),
        required("device", DataType::Utf8),
        required("session", DataType::Utf8),
        optional("user", DataType::Utf8),
        optional("plugged_at", timestamp()),
        optional("started_at", timestamp()),
        optional("ended_at", timestamp()),
        optional("unplugged_at", timestamp()),
        optional("register_start_wh", DataType::Int64),
        optional("register_end_wh", DataType::Int64),
        optional("energy_wh", DataType::Int64),
        optional("requested_wh", DataType::Int64),
        optional("departure_at", timestamp()),
        required("state", DataType::Utf8),
        required("end_estimated", DataType::Boolean),
        optional("note", DataType::Utf8),
        required("revision", DataType::Int64),
    ]))
});

/// `readings_raw`: a reading as it was sent, the moment that counts for it, and the verdict on it.
pub fn readings_raw() -> SchemaRef {
    READINGS_RAW.clone()
}

/// `events`: an event as it was journaled, and the moment that counts for it.
pub fn events() -> SchemaRef {
    EVENTS.clone()
}

/// `decisions`: as `wattle-columns` has it.
pub fn decisions() -> SchemaRef {
    columns::decisions()
}

/// `intervals_revisions`: one row for each value that a minute of a device has had.
pub fn intervals() -> SchemaRef {
    INTERVALS.clone()
}

/// `sessions_revisions`: one row for each value that a session has had.
pub fn sessions() -> SchemaRef {
    SESSIONS.clone()
}
