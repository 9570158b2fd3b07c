//! A client against a server over tables in memory.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use arrow_flight::{FlightInfo, Ticket};
use datafusion::prelude::SessionConfig;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use wattle_client::{Client, ClientError};

use super::*;

/// A lake in memory, with one more reading at each look.
#[derive(Default)]
struct Memory {
    looks: AtomicI64,
}

#[tonic::async_trait]
impl ContextSource for Memory {
    async fn session_context(&self) -> Result<SessionContext, QueryError> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let columns: [(_, ArrayRef, _); 3] = [
            ("device", Arc::new(StringArray::from(vec!["cp-1", "cp-2"])), false),
            ("energy_wh", Arc::new(Int64Array::from(vec![Some(1500), None])), true),
            ("look", Arc::new(Int64Array::from(vec![look, look])), false),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
        context.register_batch("sessions", batch)?;
        Ok(context)
    }
}

struct Broken;

#[tonic::async_trait]
impl ContextSource for Broken {
    async fn session_context(&self) -> Result<SessionContext, QueryError> {
        Err(QueryError::Failed("the disk is gone".into()))
    }
}

#[tokio::test]
async fn a_query_comes_back_with_its_columns_and_rows() {
    let mut client = client(Memory::default()).await;
    let rows =
        client.query("SELECT device, energy_wh FROM sessions ORDER BY device").await.expect("answered");
    let schema = rows.schema();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["device", "energy_wh"]);
    let batches = rows.collect().await.expect("all rows");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(batches[0].schema(), schema);
}

#[tokio::test]
async fn an_empty_answer_still_has_its_columns() {
    let mut client = client(Memory::default()).await;
    let rows = client.query("SELECT device FROM sessions WHERE device = 'none'").await.expect("answered");
    assert_eq!(rows.schema().fields().len(), 1);
    assert_eq!(rows.collect().await.expect("no rows").iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn each_query_sees_the_newest_state() {
    let mut client = client(Memory::default()).await;
    let first = one_number(&mut client, "SELECT max(look) FROM sessions").await;
    assert!(one_number(&mut client, "SELECT max(look) FROM sessions").await > first);
}

#[tokio::test]
async fn an_answer_larger_than_a_message_comes_in_parts() {
    let mut client = client(Memory::default()).await;
    let sql = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 200000)";
    let mut rows = client.query(sql).await.expect("answered");
    let (mut count, mut parts) = (0, 0);
    while let Some(batch) = rows.next().await {
        count += batch.expect("a part").num_rows();
        parts += 1;
    }
    assert_eq!(count, 200_000);
    assert!(parts > 4, "{parts} parts");
}

#[tokio::test]
async fn whatever_would_write_is_refused_by_name() {
    let mut client = client(Memory::default()).await;
    for (sql, what) in [
        ("DROP TABLE sessions", "DropTable"),
        ("CREATE TABLE copied AS SELECT * FROM sessions", "CreateMemoryTable"),
        ("CREATE VIEW v AS SELECT 1", "CreateView"),
        ("CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION '/tmp/t'", "CreateExternalTable"),
        ("INSERT INTO sessions VALUES ('cp-3', 1, 1)", "Insert Into"),
        ("COPY sessions TO '/tmp/sessions.csv'", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SetVariable"),
    ] {
        let error = refusal(&mut client, sql).await;
        assert!(error.starts_with("the lake is only read here: ") && error.contains(what), "{sql}: {error}");
    }
}

#[tokio::test]
async fn files_of_the_machine_are_no_tables() {
    let mut client = client(Memory::default()).await;
    let error = refusal(&mut client, "SELECT * FROM '/etc/passwd'").await;
    assert!(error.contains("not found"), "{error}");
}

#[tokio::test]
async fn a_wrong_query_is_answered_with_what_is_wrong() {
    let mut client = client(Memory::default()).await;
    let error = refusal(&mut client, "SELECT * FROM sesions").await;
    assert_eq!(error, "table 'datafusion.public.sesions' not found. There are: sessions");
    for (sql, part) in [
        ("SELECT energy FROM sessions", "energy"),
        ("SELEC 1", "SELEC"),
        ("SELECT 1; SELECT 2", "single"),
        ("", "No SQL"),
    ] {
        let error = refusal(&mut client, sql).await;
        assert!(error.contains(part) && !error.contains("tonic"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_query_that_breaks_off_while_it_runs_says_why() {
    let mut client = client(Memory::default()).await;
    let sql = "SELECT CAST(repeat('x', energy_wh) AS BIGINT) FROM sessions";
    let error = match client.query(sql).await {
        Ok(rows) => rows.collect().await.expect_err("no number"),
        Err(error) => error,
    };
    assert!(error.to_string().starts_with("the query failed: "), "{error}");
}

#[tokio::test]
async fn a_giant_query_is_refused_before_it_is_parsed() {
    let mut client = client(Memory::default()).await;
    let sql = format!("SELECT '{}'", "x".repeat(MAX_SQL_BYTES));
    let error = refusal(&mut client, &sql).await;
    assert!(error.ends_with("at most 65536 are read"), "{error}");
}

#[tokio::test]
async fn a_lake_that_can_not_be_opened_is_an_error_and_the_server_stays() {
    let mut client = client(Broken).await;
    for _ in 0..2 {
        let error = refusal(&mut client, "SELECT 1").await;
        assert_eq!(error, "the query failed: the disk is gone");
    }
}

#[tokio::test]
async fn one_query_too_many_is_turned_away_until_another_is_done() {
    let (address, _stop) = start(Memory::default()).await;
    let url = format!("http://{address}");
    let endless =
        "SELECT b.value, repeat('x', 1000) FROM generate_series(1, 1000) a, generate_series(1, 1000000) b";
    let mut running = Vec::new();
    for _ in 0..MAX_QUERIES {
        // Each on a connection of its own: what one doesn't read must not hold up the others.
        let mut client = Client::connect(&url).await.expect("connected");
        let rows = client.query(endless).await.expect("answered");
        running.push((client, rows));
    }
    let mut client = Client::connect(&url).await.expect("connected");
    let error = refusal(&mut client, "SELECT 1").await;
    assert_eq!(error, "16 queries are running; ask again when one is done");
    drop(running.pop());
    let answered = async {
        while client.query("SELECT 1").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let deadline = std::time::Duration::from_secs(20);
    tokio::time::timeout(deadline, answered).await.expect("the place of the dropped query is free");
}

#[tokio::test]
async fn a_client_of_another_make_can_look_around_and_prepare() {
    let (address, _stop) = start(Memory::default()).await;
    let mut flight = flight_sql(address).await;
    let info = flight.get_catalogs().await.expect("catalogs");
    assert!(fetch(&mut flight, info).await.contains("datafusion"));
    let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = flight.get_db_schemas(schemas).await.expect("schemas");
    assert!(fetch(&mut flight, info).await.contains("public"));
    let tables = CommandGetTables { table_name_filter_pattern: Some("sess%".into()), ..Default::default() };
    let info = flight.get_tables(tables).await.expect("tables");
    assert!(fetch(&mut flight, info).await.contains("sessions"));
    let info = flight.get_table_types().await.expect("types");
    assert!(fetch(&mut flight, info).await.contains("VIEW"));
    let info = flight.get_sql_info(vec![]).await.expect("facts");
    assert!(fetch(&mut flight, info).await.contains("Wattle"));
    let mut prepared =
        flight.prepare("SELECT count(*) AS n FROM sessions".into(), None).await.expect("prepared");
    assert_eq!(prepared.dataset_schema().expect("columns").field(0).name(), "n");
    let info = prepared.execute().await.expect("executed");
    assert!(fetch(&mut flight, info).await.contains('2'));
    prepared.close().await.expect("closed");
}

#[tokio::test]
async fn a_prepared_statement_that_would_write_is_refused() {
    let (address, _stop) = start(Memory::default()).await;
    let mut flight = flight_sql(address).await;
    let error = flight.prepare("DROP TABLE sessions".into(), None).await.expect_err("refused");
    assert!(error.to_string().contains("only read here"), "{error}");
    flight.execute_update("DROP TABLE sessions".into(), None).await.expect_err("refused");
}

#[tokio::test]
async fn a_ticket_that_is_not_ours_is_refused() {
    let (address, _stop) = start(Memory::default()).await;
    let mut flight = flight_sql(address).await;
    flight.do_get(Ticket::new("nonsense")).await.expect_err("refused");
}

#[tokio::test]
async fn the_server_stops_when_it_is_told_to() {
    let (address, stop) = start(Memory::default()).await;
    let mut client = Client::connect(&format!("http://{address}")).await.expect("connected");
    client.query("SELECT 1").await.expect("answered").collect().await.expect("rows");
    let Stop { sender, server } = stop;
    sender.send(()).expect("it listens");
    server.await.expect("no panic").expect("a clean end");
    Client::connect(&format!("http://{address}")).await.expect_err("nobody listens");
}

struct Stop {
    sender: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn start(source: impl ContextSource) -> (SocketAddr, Stop) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(Arc::new(source), listener, async {
        _ = stopped.await;
    }));
    (address, Stop { sender, server })
}

async fn client(source: impl ContextSource) -> Client {
    let (address, stop) = start(source).await;
    // The server of a test lives as long as the test's runtime.
    std::mem::forget(stop.sender);
    Client::connect(&format!("http://{address}")).await.expect("connected")
}

async fn flight_sql(address: SocketAddr) -> FlightSqlServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    FlightSqlServiceClient::new(endpoint.connect().await.expect("connected"))
}

async fn refusal(client: &mut Client, sql: &str) -> String {
    match client.query(sql).await {
        Err(ClientError::Refused(text)) => text,
        other => panic!("{sql}: {:?}", other.map(|_| "rows")),
    }
}

async fn one_number(client: &mut Client, sql: &str) -> i64 {
    let batches = client.query(sql).await.expect("answered").collect().await.expect("rows");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn fetch(flight: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> String {
    let announced = info.clone().try_decode_schema().expect("columns");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let batches: Vec<RecordBatch> =
        flight.do_get(ticket).await.expect("answered").try_collect().await.expect("rows");
    for batch in &batches {
        assert_eq!(*batch.schema(), announced);
    }
    arrow::util::pretty::pretty_format_batches(&batches).expect("printable").to_string()
}
