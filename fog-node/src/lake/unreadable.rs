//! What stands in the place of a table whose log can't be read: queries that don't need it go on.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::LakeError;

/// A table of which nothing is known but its columns, and why.
#[derive(Debug)]
pub(super) struct Unreadable {
    schema: SchemaRef,
    reason: Arc<LakeError>,
}

impl Unreadable {
    pub(super) fn new(schema: SchemaRef, reason: LakeError) -> Self {
        Self { schema, reason: Arc::new(reason) }
    }
}

#[tonic::async_trait]
impl TableProvider for Unreadable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::External(Box::new(self.reason.clone())))
    }
}
