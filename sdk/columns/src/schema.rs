//! The columns of the raw tables on their way up. The fog node adds its verdict to `readings`.
//!
//! Times are UTC microseconds. Phases are numbered as the device counts them: 1, 2, 3.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The type of every moment.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

/// Whose entry it is and where it stands in which journal: the first three columns of every raw table.
fn position() -> [Field; 3] {
    [
        required("edge", DataType::Utf8),
        required("incarnation", DataType::Utf8),
        required("sequence", DataType::Int64),
    ]
}

static READINGS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = position().to_vec();
    fields.extend([
        required("site", DataType::Utf8),
        required("device", DataType::Utf8),
        optional("boot", DataType::Int64),
        optional("seq", DataType::Int64),
        optional("measured_at", timestamp()),
        required("arrived_at", timestamp()),
        optional("state", DataType::Utf8),
        optional("setpoint", DataType::Int64),
        optional("session", DataType::Utf8),
    ]);
    for name in
        ["current_1_ma", "current_2_ma", "current_3_ma", "voltage_1_mv", "voltage_2_mv", "voltage_3_mv"]
    {
        fields.push(optional(name, DataType::Int32));
    }
    fields.extend([
        optional("power_w", DataType::Int32),
        optional("register_wh", DataType::Int64),
        optional("soc_percent", DataType::Int32),
        optional("temperature_mc", DataType::Int32),
        optional("humidity_percent", DataType::Int32),
        optional("signal_dbm", DataType::Int32),
    ]);
    Arc::new(Schema::new(fields))
});

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = position().to_vec();
    fields.extend([
        required("site", DataType::Utf8),
        optional("device", DataType::Utf8),
        required("kind", DataType::Utf8),
        optional("boot", DataType::Int64),
        optional("seq", DataType::Int64),
        optional("measured_at", timestamp()),
        required("arrived_at", timestamp()),
        optional("session", DataType::Utf8),
        optional("user", DataType::Utf8),
        optional("register_wh", DataType::Int64),
        optional("requested_wh", DataType::Int64),
        optional("departure_at", timestamp()),
        optional("setpoint", DataType::Int64),
        required("detail", DataType::Utf8),
    ]);
    Arc::new(Schema::new(fields))
});

static DECISIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = position().to_vec();
    fields.extend([
        required("site", DataType::Utf8),
        required("decided_at", timestamp()),
        required("cause", DataType::Utf8),
        required("policy", DataType::Utf8),
        required("policy_digest", DataType::Utf8),
        required("settings_digest", DataType::Utf8),
        required("fuel", DataType::Int64),
        optional("charger", DataType::Utf8),
        optional("proposed_ma", DataType::Int32),
        optional("setpoint_ma", DataType::Int32),
        optional("number", DataType::Int64),
        optional("reason", DataType::Utf8),
        optional("circuits", DataType::Utf8),
        optional("state", DataType::Binary),
    ]);
    Arc::new(Schema::new(fields))
});

/// `readings`: one row per measurement.
pub fn readings() -> SchemaRef {
    READINGS.clone()
}

/// `events`: one row per event; a gap in the journal is an event of kind `gap`.
pub fn events() -> SchemaRef {
    EVENTS.clone()
}

/// `decisions`: one row per charger and decision, or one without a charger where the site has none. The first
/// row of a decision also has `circuits` (JSON) and the policy's `state`.
pub fn decisions() -> SchemaRef {
    DECISIONS.clone()
}
