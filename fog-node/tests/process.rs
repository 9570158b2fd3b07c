//! `wattle-fog` as a process: killed while it receives, stopped, and started with mistakes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::StreamExt as _;
use tonic::transport::Channel;
use wattle_columns::Segment;
use wattle_fog::lake::Lake;
use wattle_testkit::{Process, free_port};
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation};

mod rows;
use rows::{Journal, NOON, edge};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wattle-fog");
const LIMIT: Duration = Duration::from_secs(60);
/// 50 readings, a decision and a step of a session.
const PER_SEGMENT: u64 = 52;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_receives_has_every_row_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::new(7);
    let segments: Vec<_> = (0..30).map(|i| some(&mut journal, NOON + i * 60)).collect();
    let last = journal.last();

    // Each life is killed after it has answered a few segments, in the middle of the next commit.
    let mut reached = None;
    for _ in 0..4 {
        let (mut node, ports) = start(folder.path());
        node.wait_healthy(ports.http, LIMIT).expect("healthy");
        let before = reached;
        reached = send(ports.uplink, &segments, 3).await;
        assert!(reached >= before, "what was answered before the kill is there after it");
        node.kill().expect("killed");
    }
    let (mut node, ports) = start(folder.path());
    node.wait_healthy(ports.http, LIMIT).expect("healthy");
    assert_eq!(send(ports.uplink, &segments, usize::MAX).await, Some(last));
    let ended = node.terminate(LIMIT).expect("drained");
    assert_eq!(ended.code(), Some(0));

    let lake = Lake::open(folder.path().join("lake")).await.expect("the lake");
    assert_eq!(lake.positions(&edge(), Incarnation(7)).await.expect("positions"), Some(last));
    for (table, per_segment) in [("readings_raw", 50), ("decisions", 1), ("events", 1)] {
        let all = count(&lake, &format!("SELECT sequence FROM {table}")).await;
        let distinct = count(&lake, &format!("SELECT DISTINCT sequence FROM {table}")).await;
        assert_eq!((all, distinct), (30 * per_segment, 30 * per_segment), "{table}");
    }
    // What the last life derived on its way down is all that there is to derive.
    assert_eq!(lake.derive().await.expect("derived").intervals, 0);
    assert_eq!(count(&lake, "SELECT start FROM intervals").await, 30);
}

#[test]
fn mistakes_in_the_configuration_are_all_told_and_the_exit_code_is_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fog.toml");
    std::fs::write(&path, "lakes = \"x\"\ncommit_interval_ms = 1\n").expect("a file");
    let output = Command::new(PROGRAM).arg("--config").arg(&path).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("lakes") && text.contains("commit_interval_ms"), "{text}");
    let missing = Command::new(PROGRAM).args(["--config", "/nowhere/fog.toml"]).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fog.toml");
    std::fs::write(&path, format!("uplink = \"{address}\"\n")).expect("a file");
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&path).arg("--lake").arg(folder.path().join("lake"));
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address), "{text}");
}

fn some(journal: &mut Journal, from: i64) -> Segment {
    for second in from..from + 50 {
        journal.reading("cp-1", second, 3680, second - NOON);
    }
    let step = wattle_wire::row::EventKind::Plugged;
    journal.decision(from + 50).step("cp-1", &format!("s-{from}"), step, from + 50, from - NOON).cut()
}

struct Ports {
    uplink: u16,
    http: u16,
}

fn start(folder: &Path) -> (Process, Ports) {
    let [uplink, sql, http] = std::array::from_fn(|_| free_port().expect("a port"));
    let path = folder.join("fog.toml");
    let text = format!(
        "lake = \"{}\"\nuplink = \"127.0.0.1:{uplink}\"\nsql = \"127.0.0.1:{sql}\"\nhttp = \"127.0.0.1:{http}\"\n\
         commit_interval_ms = 10\nderive_interval_ms = 100\n",
        folder.join("lake").display()
    );
    std::fs::write(&path, text).expect("a file");
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&path);
    (Process::start(command).expect("started"), Ports { uplink, http })
}

/// Sends what the node says it lacks, eight segments ahead of the answers; stops after so many answers, with the
/// others still under way. Gives the last position that was answered.
async fn send(port: u16, segments: &[Segment], answers: usize) -> Option<u64> {
    let endpoint = Channel::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let client = FlightServiceClient::new(endpoint.connect().await.expect("a connection"));
    let (out, messages) = tokio::sync::mpsc::channel(4);
    let hello = Hello { edge: edge(), incarnation: Incarnation(7) };
    let first = FlightData::new()
        .with_descriptor(FlightDescriptor::new_path(FLIGHT_PATH.map(String::from).to_vec()))
        .with_app_metadata(postcard::to_allocvec(&hello).expect("bytes"));
    out.send(first).await.expect("room");
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut stream =
        client.max_decoding_message_size(1 << 20).do_exchange(messages).await.expect("a stream").into_inner();
    let mut reached = committed(stream.next().await).sequence;
    let lacking: Vec<_> =
        segments.iter().filter(|segment| reached.is_none_or(|r| segment.header.to > r)).cloned().collect();
    let expected = lacking.len().min(answers);
    let sending = tokio::spawn(async move {
        for segment in lacking {
            let metadata = postcard::to_allocvec(&segment.header).expect("bytes");
            let message = FlightData::new()
                .with_app_metadata(metadata)
                .with_data_body(segment.encode().expect("bytes"));
            if out.send(message).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..expected {
        let answer = committed(stream.next().await);
        assert_eq!(answer.refused, "");
        assert!(answer.sequence >= reached, "positions never go back");
        reached = answer.sequence;
    }
    sending.abort();
    assert!(reached.is_none_or(|r| r % PER_SEGMENT == 0));
    reached
}

fn committed(message: Option<Result<FlightData, tonic::Status>>) -> Committed {
    let message = message.expect("an answer").expect("no error");
    postcard::from_bytes(&message.app_metadata).expect("an answer's bytes")
}

async fn count(lake: &Lake, sql: &str) -> usize {
    let context = lake.session_context().await.expect("a context");
    context.sql(sql).await.expect("a plan").count().await.expect("a count")
}
