//! Answers SQL over Arrow Flight SQL: any client that speaks it (`wattle sql`, ADBC, JDBC) may ask.
//!
//! - Nothing can be written: data definition, data manipulation, `COPY` and `SET` are refused by name.
//! - Every request sees the newest state of the lake: a [`ContextSource`] gives a context of its own to each.
//!   Nothing is kept between requests; a ticket or a prepared statement is the text of its query.
//! - Rows are streamed as they are made; a slow reader slows its query and nothing else.
//! - At most [`MAX_QUERIES`] run at once and a text has at most [`MAX_SQL_BYTES`]; what is beyond is refused
//!   with a text that says so.
//! - On SIGTERM running queries are finished and new ones turned away.
//!
//! Prepared statements take no parameters. Whoever reaches the port may ask: it listens on 127.0.0.1 unless
//! the configuration says otherwise.

mod catalog;
mod service;
mod statement;

use std::future::Future;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use datafusion::prelude::SessionContext;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use statement::{QueryError, Statement};

use crate::lake::Lake;
use service::QueryService;

/// The most queries that run at once.
pub const MAX_QUERIES: usize = 16;

/// The longest query that is read, in bytes.
pub const MAX_SQL_BYTES: usize = 64 * 1024;

/// The largest message that a client may send, in bytes.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Where a query finds its tables.
#[tonic::async_trait]
pub trait ContextSource: Send + Sync + 'static {
    /// A context with every table and view as of now.
    ///
    /// # Errors
    /// When the tables can't be opened.
    async fn session_context(&self) -> Result<SessionContext, QueryError>;
}

#[tonic::async_trait]
impl ContextSource for Lake {
    async fn session_context(&self) -> Result<SessionContext, QueryError> {
        Lake::session_context(self).await.map_err(|error| QueryError::Failed(error.to_string()))
    }
}

/// Answers queries on `listener` until `shutdown` is ready and the queries that run then are done.
///
/// # Errors
/// When the listener fails.
pub async fn serve<S: ContextSource>(
    source: Arc<S>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service =
        FlightServiceServer::new(QueryService::new(source)).max_decoding_message_size(MAX_REQUEST_BYTES);
    Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown)
        .await
}

#[cfg(test)]
mod tests;
