//! What a client may list: catalogs, schemas, tables, and facts about this server.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo,
};
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use tonic::Status;

use super::service::status;

/// What `GetSqlInfo` tells.
pub(super) static SERVER: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "Wattle");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    facts.append(SqlInfo::FlightSqlServerReadOnly, true);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.build().expect("every fact has a type that the format knows")
});

/// What clients of Flight SQL expect the kinds of tables to be called; there are no others.
fn kind(table: TableType) -> &'static str {
    match table {
        TableType::View => "VIEW",
        TableType::Base | TableType::Temporary => "TABLE",
    }
}

pub(super) fn catalogs(context: &SessionContext, query: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for name in context.catalog_names() {
        rows.append(name);
    }
    rows.build().map_err(unlisted)
}

pub(super) fn schemas(context: &SessionContext, query: CommandGetDbSchemas) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for name in context.catalog_names() {
        for schema in context.catalog(&name).map(|c| c.schema_names()).unwrap_or_default() {
            rows.append(&name, schema);
        }
    }
    rows.build().map_err(unlisted)
}

pub(super) async fn tables(context: &SessionContext, query: CommandGetTables) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for catalog_name in context.catalog_names() {
        let Some(catalog) = context.catalog(&catalog_name) else { continue };
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else { continue };
            for name in schema.table_names() {
                if let Some(table) = schema.table(&name).await.map_err(|e| status(e.into()))? {
                    let kind = kind(table.table_type());
                    rows.append(&catalog_name, &schema_name, &name, kind, &table.schema())
                        .map_err(unlisted)?;
                }
            }
        }
    }
    rows.build().map_err(unlisted)
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for table in [TableType::Base, TableType::View] {
        rows.append(kind(table));
    }
    rows.build().map_err(unlisted)
}

fn unlisted(error: FlightError) -> Status {
    Status::internal(format!("the list can't be made: {error}"))
}
