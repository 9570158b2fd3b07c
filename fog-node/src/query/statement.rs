//! A text as a plan that only reads, and the words for what goes wrong.

use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionContext};

use super::MAX_SQL_BYTES;

/// Why a query has no answer, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query itself: too long, no SQL, about what there isn't, or one that would write.
    #[error("{0}")]
    Refused(String),
    /// What the query needed: a table that can't be read, a value that can't be computed.
    #[error("the query failed: {0}")]
    Failed(String),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(words(&error))
    }
}

/// A checked query on the tables of one moment.
pub struct Statement {
    context: SessionContext,
    plan: LogicalPlan,
}

impl Statement {
    /// Plans a text of at most [`MAX_SQL_BYTES`].
    ///
    /// # Errors
    /// [`QueryError::Refused`] when it is too long, no SQL, names what there isn't, or would write.
    pub async fn plan(context: SessionContext, sql: &str) -> Result<Self, QueryError> {
        if sql.len() > MAX_SQL_BYTES {
            let text = format!("the query has {} bytes; at most {MAX_SQL_BYTES} are read", sql.len());
            return Err(QueryError::Refused(text));
        }
        let plan = match context.state().create_logical_plan(sql).await {
            Ok(plan) => plan,
            Err(error) => return Err(cannot_plan(&context, &error)),
        };
        let reads_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads_only.verify_plan(&plan).map_err(|error| would_write(&error))?;
        Ok(Self { context, plan })
    }

    /// The columns of the answer. The same text has the same columns in every answer, so that what is
    /// announced before a query runs is what then comes.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema().inner().clone()
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`QueryError::Failed`] when it can't be started; later failures are items of the stream.
    pub async fn run(self) -> Result<SendableRecordBatchStream, QueryError> {
        Ok(self.context.execute_logical_plan(self.plan).await?.execute_stream().await?)
    }
}

fn cannot_plan(context: &SessionContext, error: &DataFusionError) -> QueryError {
    let mut text = words(error);
    if text.starts_with("table ") && text.ends_with(" not found") {
        text.push_str(&format!(". There are: {}", tables(context).join(", ")));
    }
    QueryError::Refused(text)
}

fn would_write(error: &DataFusionError) -> QueryError {
    let what = words(error);
    QueryError::Refused(format!(
        "the lake is only read here: {what}. Ask with SELECT, SHOW, DESCRIBE or EXPLAIN"
    ))
}

/// An error as a person reads it: without the stack and without the engine's own heading.
fn words(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.trim();
    text.strip_prefix("Error during planning: ").unwrap_or(text).to_string()
}

fn tables(context: &SessionContext) -> Vec<String> {
    let mut names: Vec<String> = context
        .catalog_names()
        .iter()
        .filter_map(|name| context.catalog(name))
        .flat_map(|catalog| {
            let schemas = catalog.schema_names();
            schemas.into_iter().filter(|s| s != "information_schema").filter_map(move |s| catalog.schema(&s))
        })
        .flat_map(|schema| schema.table_names())
        .collect();
    names.sort();
    names
}
