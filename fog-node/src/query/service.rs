//! The verbs of Flight SQL that a client needs to ask and to look around; all others are refused by name.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandStatementQuery,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::{ContextSource, MAX_QUERIES, QueryError, Statement, catalog};

type Answer = Response<BoxStream<'static, Result<FlightData, Status>>>;

/// One server over one lake.
pub(super) struct QueryService<S> {
    source: Arc<S>,
    running: Arc<Semaphore>,
}

impl<S: ContextSource> QueryService<S> {
    pub(super) fn new(source: Arc<S>) -> Self {
        Self { source, running: Arc::new(Semaphore::new(MAX_QUERIES)) }
    }

    async fn context(&self) -> Result<SessionContext, Status> {
        self.source.session_context().await.map_err(status)
    }

    async fn statement(&self, sql: &[u8]) -> Result<Statement, Status> {
        let sql = std::str::from_utf8(sql)
            .map_err(|_| Status::invalid_argument("the query is not text in UTF-8"))?;
        Statement::plan(self.context().await?, sql).await.map_err(status)
    }

    /// A place among the running queries; it is given back when the answer has been read or dropped.
    fn admit(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.running.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{MAX_QUERIES} queries are running; ask again when one is done");
            Status::resource_exhausted(text)
        })
    }

    async fn answer(&self, sql: &[u8]) -> Result<Answer, Status> {
        let permit = self.admit()?;
        let statement = self.statement(sql).await?;
        let schema = statement.schema();
        let batches = statement.run().await.map_err(status)?.map_err(|e| status(e.into()));
        Ok(encode(schema, batches.inspect(move |_| _ = &permit)))
    }

    async fn information(
        &self,
        sql: &[u8],
        ticket: impl ProstMessageExt,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = self.statement(sql).await?.schema();
        information(&schema, ticket, request)
    }
}

#[tonic::async_trait]
impl<S: ContextSource> FlightSqlService for QueryService<S> {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let sql = Bytes::from(query.query);
        self.information(&sql, TicketStatementQuery { statement_handle: sql.clone() }, request).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        self.answer(&ticket.statement_handle).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let schema = self.statement(query.query.as_bytes()).await?.schema();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: query.query.into(),
            dataset_schema: schema_bytes(&schema)?,
            parameter_schema: schema_bytes(&Schema::empty())?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let sql = query.prepared_statement_handle.clone();
        self.information(&sql, query, request).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        self.answer(&query.prepared_statement_handle).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        information(&query.into_builder().schema(), query, request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        catalog::catalogs(&self.context().await?, query).map(encode_one)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        information(&query.clone().into_builder().schema(), query, request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        catalog::schemas(&self.context().await?, query).map(encode_one)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        information(&query.clone().into_builder().schema(), query, request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        catalog::tables(&self.context().await?, query).await.map(encode_one)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        information(&query.into_builder().schema(), query, request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        catalog::table_types(query).map(encode_one)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        information(&query.clone().into_builder(&catalog::SERVER).schema(), query, request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Answer, Status> {
        query.into_builder(&catalog::SERVER).build().map(encode_one).map_err(unwritable)
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

/// The same words on the wire: the code tells a client whose fault it was.
pub(super) fn status(error: QueryError) -> Status {
    match error {
        QueryError::Refused(_) => Status::invalid_argument(error.to_string()),
        QueryError::Failed(_) => Status::internal(error.to_string()),
    }
}

/// Where and with which columns an answer is to be had: here, against `ticket`.
fn information(
    schema: &Schema,
    ticket: impl ProstMessageExt,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(unwritable)?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(request.into_inner());
    Ok(Response::new(info))
}

fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(unwritable)?;
    Ok(bytes)
}

fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> Answer {
    let frames = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(batches.map_err(|status| FlightError::Tonic(Box::new(status))))
        .map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            other => unwritable(other),
        });
    Response::new(frames.boxed())
}

fn encode_one(batch: RecordBatch) -> Answer {
    encode(batch.schema(), stream::iter([Ok(batch)]))
}

fn unwritable(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("the answer can't be written: {error}"))
}
