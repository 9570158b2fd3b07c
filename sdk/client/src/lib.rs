//! Asks a fog node over Arrow Flight SQL, and gets record batches.
//!
//! ```no_run
//! # async fn ask() -> Result<(), wattle_client::ClientError> {
//! let mut client = wattle_client::Client::connect("http://127.0.0.1:7401").await?;
//! let rows = client.query("SELECT device, sum(energy_wh) FROM sessions GROUP BY device").await?;
//! println!("{} columns", rows.schema().fields().len());
//! let batches = rows.collect().await?;
//! # Ok(()) }
//! ```
//!
//! Batches come as the server makes them: what isn't read yet waits there, not here. Nothing is tried again;
//! a caller who wants that knows better when. A query takes the time that it takes; a server that doesn't answer a ping of the connection
//! meanwhile is given up.

mod error;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightClient, FlightDescriptor};
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::transport::{Channel, Endpoint};

pub use error::ClientError;

/// Where a fog node answers unless its configuration says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7401";

/// The largest message that is taken from a server, in bytes; servers send far smaller ones.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is silent before the server is asked for a sign of life, and how long that may take. A server that works on a
/// query answers all the same.
const SILENCE: Patience = Patience { before: Duration::from_secs(10), answer: Duration::from_secs(20) };

#[derive(Clone, Copy)]
struct Patience {
    before: Duration,
    answer: Duration,
}

/// A connection to one fog node.
#[derive(Debug)]
pub struct Client {
    flight: FlightClient,
    url: String,
    /// Whether a query was answered or refused.
    is_heard: bool,
}

impl Client {
    /// Connects to `http://HOST:PORT`; `HOST:PORT` and `grpc://HOST:PORT` mean the same.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] for another text, [`ClientError::Unreachable`] when nobody answers within 5 s.
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        Self::connect_with(url, SILENCE).await
    }

    async fn connect_with(url: &str, silence: Patience) -> Result<Self, ClientError> {
        let endpoint = endpoint(url)?.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let endpoint = endpoint.http2_keep_alive_interval(silence.before).keep_alive_timeout(silence.answer);
        let channel = endpoint.connect().await.map_err(|error| ClientError::Unreachable {
            url: url.to_string(),
            reason: error::innermost(&error),
        })?;
        let flight = FlightServiceClient::<Channel>::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Self { flight: FlightClient::new_from_inner(flight), url: url.to_string(), is_heard: false })
    }

    /// Asks one query. Read or drop its answer before the next: rows that wait unread hold up the connection.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server can't or won't answer it, [`ClientError::Broken`] when the
    /// connection fails or the server gives no sign of life, [`ClientError::Unheard`] when that is so at the first query.
    pub async fn query(&mut self, sql: &str) -> Result<Rows, ClientError> {
        let command = CommandStatementQuery { query: sql.to_string(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let broken = |error| ClientError::from_flight(&self.url, error);
        let info = self.flight.get_flight_info(descriptor).await;
        let info = info.map_err(|error| match broken(error) {
            ClientError::Broken { url, reason } if !self.is_heard => ClientError::Unheard { url, reason },
            error => error,
        })?;
        self.is_heard = true;
        let ticket = info.endpoint.first().and_then(|e| e.ticket.clone());
        let ticket = ticket.ok_or_else(|| ClientError::NotFlightSql(self.url.clone()))?;
        let schema: Schema = info.try_decode_schema().map_err(|e| broken(e.into()))?;
        let batches = self.flight.do_get(ticket).await.map_err(broken)?;
        Ok(Rows { schema: schema.into(), batches, url: self.url.clone() })
    }
}

/// The answer to a query: its columns at once, its rows as they come.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    batches: FlightRecordBatchStream,
    url: String,
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Waits for all rows and keeps them in memory.
    ///
    /// # Errors
    /// When the query or the connection fails on the way.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, ClientError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.batches.poll_next_unpin(context);
        polled.map(|item| item.map(|batch| batch.map_err(|e| ClientError::from_flight(&self.url, e))))
    }
}

fn endpoint(url: &str) -> Result<Endpoint, ClientError> {
    let bad = || ClientError::BadUrl(url.to_string());
    let rest = url.strip_prefix("grpc://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_scheme() {
        for url in
            ["http://127.0.0.1:7401", "127.0.0.1:7401", "grpc://fog.example:7401/", "http://[::1]:7401"]
        {
            assert!(endpoint(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn an_address_without_a_port_or_with_another_scheme_is_refused() {
        for url in ["", "localhost", "http://localhost", "https://h:1", "localhost:99999", ":7401", "a b:1"] {
            let error = endpoint(url).expect_err(url);
            let expected = format!(
                "{url:?} is no address of a fog node; give http://HOST:PORT, for example http://127.0.0.1:7401"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_reported_with_advice() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let error = Client::connect(&url).await.expect_err("nobody listens").to_string();
        assert!(error.starts_with(&format!("no fog node answers at {url}: ")), "{error}");
        assert!(error.ends_with("; is wattle-fog running there?"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_is_reported() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    .await;
            }
        });
        let error = match Client::connect(&url).await {
            Ok(mut client) => client.query("SELECT 1").await.expect_err("no Flight SQL there"),
            Err(error) => error,
        };
        let error = error.to_string();
        assert!(
            error.contains(&url) && error.contains("is it the query port of wattle-fog (7401)?"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                taken.push(stream);
            }
        });
        let soon = Duration::from_millis(200);
        let asked = async {
            let mut client = Client::connect_with(&url, Patience { before: soon, answer: soon }).await?;
            client.query("SELECT 1").await
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it has an end");
        let error = answer.expect_err("no answer").to_string();
        let told = format!("{url} doesn't answer as a fog node does: operation timed out; ");
        assert!(error.starts_with(&told) && error.contains("(7401)"), "{error}");
    }
}
