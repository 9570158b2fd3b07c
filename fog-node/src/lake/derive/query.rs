//! The questions that derivations ask of tables.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, SortExpr};
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;
use deltalake::DeltaTable;
use wattle_wire::Micros;

use crate::lake::LakeError;
use crate::lake::error::QueryContext as _;
use crate::lake::table::Table;
use crate::lake::views::bare_context;

/// A table's rows at a snapshot.
pub(super) async fn rows(table: &Table, at: &DeltaTable) -> Result<DataFrame, LakeError> {
    let context = bare_context();
    let provider = table.provider(at, Arc::new(context.state())).await?;
    context.read_table(provider).querying(table.name())
}

/// A moment as queries compare it.
pub(super) fn moment(at: Micros) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(at.0), Some("UTC".into())))
}

/// Whether a column is one of the given texts.
pub(super) fn is_any<'a>(column: &str, texts: impl IntoIterator<Item = &'a str>) -> Expr {
    col(column).in_list(texts.into_iter().map(lit).collect(), false)
}

/// The order in which a device's rows count: by their moment, then as the device numbered them, then as the edge
/// journaled them.
pub(super) fn by_device_and_time() -> Vec<SortExpr> {
    ["site", "device", "at", "boot", "seq", "edge", "incarnation", "sequence"]
        .map(|column| col(column).sort(true, true))
        .to_vec()
}

/// All rows at once; for what is small.
pub(super) async fn collect(frame: DataFrame, what: &'static str) -> Result<Vec<RecordBatch>, LakeError> {
    frame.collect().await.querying(what)
}

/// Rows batch by batch; for what may be large.
pub(super) async fn stream(
    frame: DataFrame,
    what: &'static str,
) -> Result<SendableRecordBatchStream, LakeError> {
    frame.execute_stream().await.querying(what)
}
