//! What a query sees: the tables at a fresh snapshot, and the views over them.
//!
//! The views are plain SQL over the tables, so that any engine that reads Delta can have the same ones; docs/tables.md
//! repeats them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::error::QueryContext as _;
use super::table::Table;
use super::unreadable::Unreadable;
use super::{Lake, LakeError};

/// The tables, as queries name them. Those whose name ends in `_revisions` are derived.
pub const TABLES: [&str; 5] =
    ["readings_raw", "events", "decisions", "intervals_revisions", "sessions_revisions"];

/// The views: name and definition, in an order in which each can be made.
pub const VIEWS: [(&str, &str); 5] = [
    (
        "readings",
        "SELECT site, device, at, state, setpoint, session, \
         current_1_ma / 1000.0 AS current_1_a, current_2_ma / 1000.0 AS current_2_a, \
         current_3_ma / 1000.0 AS current_3_a, voltage_1_mv / 1000.0 AS voltage_1_v, \
         voltage_2_mv / 1000.0 AS voltage_2_v, voltage_3_mv / 1000.0 AS voltage_3_v, \
         power_w, register_wh, soc_percent, temperature_mc / 1000.0 AS temperature_c, humidity_percent, \
         signal_dbm, measured_at, arrived_at, boot, seq, edge, incarnation, sequence \
         FROM readings_raw WHERE verdict = 'good'",
    ),
    (
        "quarantine",
        "SELECT 'reading' AS source, site, device, at, arrived_at, verdict AS reason, \
         CAST(NULL AS VARCHAR) AS detail, boot, seq, edge, incarnation, sequence \
         FROM readings_raw WHERE verdict <> 'good' \
         UNION ALL \
         SELECT 'event' AS source, site, device, at, arrived_at, split_part(detail, ':', 1) AS reason, \
         detail, boot, seq, edge, incarnation, sequence \
         FROM events WHERE kind IN ('malformed', 'wrong_topic', 'unknown_device', 'conflict')",
    ),
    (
        "intervals",
        "SELECT site, device, start, readings, energy_wh, energy_span_ms, power_mean_w, power_min_w, power_max_w, \
         covered_ms, covered_ms / 60000.0 AS coverage, resets, revision \
         FROM intervals_revisions JOIN (SELECT site, device, start, max(revision) AS revision \
         FROM intervals_revisions GROUP BY site, device, start) AS newest USING (site, device, start, revision)",
    ),
    (
        "sessions",
        "SELECT site, device, session, \"user\", plugged_at, started_at, ended_at, unplugged_at, \
         register_start_wh, register_end_wh, energy_wh, requested_wh, departure_at, state, end_estimated, note, \
         revision \
         FROM sessions_revisions JOIN (SELECT site, device, session, max(revision) AS revision \
         FROM sessions_revisions GROUP BY site, device, session) AS newest USING (site, device, session, revision)",
    ),
    (
        "sites",
        "SELECT site, sequence AS version, arrived_at AS configured_at, detail AS text, edge, incarnation \
         FROM events WHERE kind = 'configured'",
    ),
];

/// A context as the lake's own queries and those of others use it: texts as plain `Utf8`, which every client reads.
pub(crate) fn bare_context() -> SessionContext {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false);
    SessionContext::new_with_config(config)
}

impl Lake {
    /// A context with every table at its newest version and every view. It keeps that version for as long as it
    /// lives: take a new one to see what has come since. A table whose log can't be read fails the queries that need it, and
    /// no other.
    ///
    /// # Errors
    /// When the views can't be made.
    pub async fn session_context(&self) -> Result<SessionContext, LakeError> {
        let context = bare_context();
        for table in self.tables() {
            let provider = provider(&context, table).await.unwrap_or_else(|error| {
                tracing::error!(%error, table = table.name(), "queries go on without a table");
                Arc::new(Unreadable::new(table.schema(), error))
            });
            context.register_table(table.name(), provider).querying("its tables")?;
        }
        for (name, definition) in VIEWS {
            let made = context.sql(&format!("CREATE VIEW {name} AS {definition}")).await;
            made.querying("its views")?;
        }
        Ok(context)
    }
}

async fn provider(context: &SessionContext, table: &Table) -> Result<Arc<dyn TableProvider>, LakeError> {
    let snapshot = table.reload().await?;
    table.provider(&snapshot, Arc::new(context.state())).await
}
