//! Edges dial in: what is answered, and what is then in the lake.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use wattle_columns::Segment;
use wattle_fog::documents::Store;
use wattle_fog::lake::Lake;
use wattle_fog::sources::{LakeWriter, WriterLimits, direct};
use wattle_process::Health;
use wattle_wire::document::{self, Document, Head, Piece};
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation, MAX_MESSAGE_BYTES};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

mod rows;
use rows::{Journal, NOON, edge};

#[tokio::test]
async fn a_segment_is_answered_with_the_position_after_its_commit() {
    let fog = Fog::start().await;
    let mut journal = Journal::new(7);
    let mut stream = fog.dial(7).await;
    assert_eq!(stream.answer().await, answered(7, None));
    stream.send(&some(&mut journal, NOON)).await;
    assert_eq!(stream.answer().await, answered(7, Some(11)));
    stream.send(&some(&mut journal, NOON + 20)).await;
    assert_eq!(stream.answer().await, answered(7, Some(22)));
    drop(stream);
    assert_eq!(fog.dial(7).await.answer().await, answered(7, Some(22)));
    assert_eq!(fog.dial(8).await.answer().await, answered(8, None));
    assert_eq!(fog.readings().await, 20);
    fog.stop().await;
}

#[tokio::test]
async fn a_bad_segment_is_refused_with_a_text_and_the_stream_goes_on() {
    let fog = Fog::start().await;
    let mut journal = Journal::new(7);
    let mut stream = fog.dial(7).await;
    stream.answer().await;
    let good = some(&mut journal, NOON);
    let beyond_a_hole = some(&mut Journal::starting_at(7, 500), NOON);
    let foreign = some(&mut Journal::new(8), NOON);

    let mut bytes = good.encode().expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    stream.send_bytes(&good, bytes).await;
    stream.refused("checksum").await;
    stream.send_bytes(&good, b"nonsense".to_vec()).await;
    stream.refused("no Wattle segment").await;
    stream.send_message(b"nonsense".to_vec(), good.encode().expect("bytes")).await;
    stream.refused("header").await;
    stream.send(&beyond_a_hole).await;
    stream.refused("needs 1 next").await;
    stream.send(&foreign).await;
    stream.refused("another journal").await;

    stream.send(&good).await;
    assert_eq!(stream.answer().await, answered(7, Some(11)));
    assert_eq!(fog.readings().await, 10);
    fog.stop().await;
}

#[tokio::test]
async fn a_stream_that_begins_otherwise_is_turned_away() {
    let fog = Fog::start().await;
    let wrong_path = FlightData::new().with_descriptor(FlightDescriptor::new_path(vec![
        "wattle".into(),
        "segments".into(),
        "v2".into(),
    ]));
    let no_hello = FlightData::new().with_descriptor(path());
    let hello = Hello { edge: edge(), incarnation: Incarnation(1) };
    let long_hello = no_hello.clone().with_app_metadata(postcard::to_allocvec(&hello).expect("bytes"));
    let long_hello = long_hello.with_data_body(vec![0; 64 << 10]);
    for first in [wrong_path, no_hello, long_hello] {
        let mut client = fog.client().await;
        let answer = client.do_exchange(futures::stream::iter([first])).await;
        assert!(answer.is_err());
    }
    let mut client = fog.client().await;
    let error = client.do_action(arrow_flight::Action::new("x", "")).await.expect_err("an error");
    assert!(error.message().contains("Flight SQL port"), "{error}");
    fog.stop().await;
}

#[tokio::test]
async fn what_an_edge_has_dealt_with_holds_no_room_for_messages_once_it_is_read() {
    let fog = Fog::start().await;
    // Each list is of many frames; one of each edge and a segment come to more than may be received at once.
    let has = |edge: usize| {
        let text = format!(r#"{{"edge":"edge-{edge}","has":[]}}{}"#, " ".repeat(4_000_000));
        FlightData::new().with_descriptor(documents_path()).with_app_metadata(text)
    };
    let mut open = Vec::new();
    for edge in 0..16 {
        let (said, messages) = mpsc::channel(1);
        said.send(has(edge)).await.expect("room");
        let call = fog.client().await;
        let mut client = call.max_encoding_message_size(MAX_MESSAGE_BYTES);
        let answers = client.do_exchange(ReceiverStream::new(messages));
        let answers = tokio::time::timeout(DEADLINE, answers).await.expect("in time").expect("a stream");
        said.send(has(edge)).await.expect("room");
        // Once there is room for the next one this one is on its way.
        said.send(has(edge)).await.expect("room");
        open.push((said, answers));
    }
    let mut journal = Journal::new(1);
    let mut dialled = fog.dial(1).await;
    dialled.answer().await;
    let mut bytes = some(&mut journal, 1).encode().expect("bytes");
    bytes.resize(8 << 20, 0);
    dialled.send_message(Vec::new(), bytes).await;
    tokio::time::timeout(DEADLINE, dialled.refused("header")).await.expect("it was received");
    drop(open);
    fog.stop().await;
}

#[tokio::test]
async fn a_document_comes_down_in_pieces_and_the_next_one_once_it_is_dealt_with() {
    let fog = Fog::start().await;
    let sent: Vec<u8> = (0..700_000_u32).map(|byte| (byte % 251) as u8).collect();
    let kept = fog.documents.keep(document(&sent), "anna").expect("kept").head;
    let (said, messages) = mpsc::channel(1);
    let has = |version: u64| {
        let has =
            format!(r#"{{"edge":"edge-1","has":[{{"site":"depot","kind":"policy","version":{version}}}]}}"#);
        FlightData::new().with_descriptor(documents_path()).with_app_metadata(has)
    };
    said.send(has(0)).await.expect("room");
    let call = fog.client().await.do_exchange(ReceiverStream::new(messages)).await;
    let mut down = call.expect("a stream").into_inner();
    let mut bytes = Vec::new();
    loop {
        let message = down.next().await.expect("a piece").expect("no error");
        let piece: Piece = serde_json::from_slice(&message.app_metadata).expect("a piece");
        assert_eq!(piece.from, bytes.len() as u64);
        bytes.extend_from_slice(&message.data_body);
        if bytes.len() as u64 == piece.total {
            break;
        }
    }
    assert_eq!(Document::decode(&bytes).expect("whole"), Document { head: kept.clone(), body: sent });
    // A person has sent a newer one to the edge itself before it took this one.
    said.send(has(kept.version + 1_000_000_000)).await.expect("room");
    let message = down.next().await.expect("a piece").expect("no error");
    let again = message.data_body.split(|byte| *byte == b'\n').next().expect("a head");
    let again: Head = serde_json::from_slice(again).expect("a head");
    assert_eq!((again.was, again.version > kept.version + 1_000_000_000), (Some(kept.version), true));
    fog.stop().await;
}

#[tokio::test]
async fn what_was_offered_before_the_stop_is_committed() {
    let fog = Fog::start().await;
    let mut journal = Journal::new(7);
    let mut stream = fog.dial(7).await;
    stream.answer().await;
    for round in 0..4 {
        stream.send(&some(&mut journal, NOON + round * 20)).await;
    }
    let first = stream.answer().await;
    assert!(first.refused.is_empty() && first.sequence >= Some(11), "{first:?}");
    let lake = fog.lake.clone();
    let _folder = fog.stop().await;
    let position = lake.positions(&edge(), Incarnation(7)).await.expect("positions");
    let context = lake.session_context().await.expect("a context");
    let rows = context.table("readings_raw").await.expect("a table").count().await.expect("a count");
    assert_eq!(rows as u64, position.expect("a position") / 11 * 10, "whole segments, each once");
}

#[tokio::test]
async fn a_lake_that_can_not_be_written_is_told_to_the_edge_and_to_whoever_watches() {
    let fog = Fog::start().await;
    let mut journal = Journal::new(7);
    let segment = some(&mut journal, NOON);
    let mut stream = fog.dial(7).await;
    stream.answer().await;
    let (table, away) = (fog.folder.path().join("events"), fog.folder.path().join("away"));
    std::fs::rename(&table, &away).expect("moved");
    std::fs::write(&table, "a file where a folder should be").expect("written");
    stream.send(&segment).await;
    stream.refused("events").await;
    assert_eq!(fog.health.faults().len(), 1);

    std::fs::remove_file(&table).expect("removed");
    std::fs::rename(&away, &table).expect("moved");
    stream.send(&segment).await;
    assert_eq!(stream.answer().await, answered(7, Some(11)));
    assert!(fog.health.faults().is_empty());
    assert_eq!(fog.readings().await, 10, "what was half committed before is there once");
    fog.stop().await;
}

fn some(journal: &mut Journal, from: i64) -> Segment {
    for second in from..from + 10 {
        journal.reading("cp-1", second, 3680, second - NOON);
    }
    journal.decision(from + 10).cut()
}

fn answered(incarnation: u128, sequence: Option<u64>) -> Committed {
    Committed { incarnation: Incarnation(incarnation), sequence, refused: String::new() }
}

/// A document for the site `depot` of the edge.
fn document(body: &[u8]) -> Document {
    let head = json!({
        "document": 1, "kind": "policy", "edge": "edge-1", "site": "depot", "sha256": "", "policy": { "action": "trial" },
    });
    Document::decode(&[head.to_string().as_bytes(), b"\n", body].concat()).expect("a document")
}

fn documents_path() -> FlightDescriptor {
    FlightDescriptor::new_path(document::FLIGHT_PATH.map(String::from).to_vec())
}

fn path() -> FlightDescriptor {
    FlightDescriptor::new_path(FLIGHT_PATH.map(String::from).to_vec())
}

/// A lake of its own behind a port of its own.
struct Fog {
    folder: TempDir,
    lake: Arc<Lake>,
    documents: Arc<Store>,
    health: Health,
    address: String,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Fog {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Arc::new(Lake::open(folder.path()).await.expect("a lake"));
        let health = Health::new();
        let limits = WriterLimits { interval: Duration::from_millis(5), ..WriterLimits::default() };
        let (writer, writing) = LakeWriter::start(lake.clone(), limits, health.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = watch::channel(false);
        let documents = Arc::new(Store::open(&folder.path().join("documents")).expect("a folder"));
        let served = direct::serve(lake.clone(), writer, documents.clone(), listener, None, stopped);
        let serving = tokio::spawn(async move {
            served.await.expect("the server");
            writing.await.expect("the writer");
        });
        Self { folder, lake, documents, health, address, stop, serving }
    }

    async fn client(&self) -> FlightServiceClient<Channel> {
        let endpoint = Channel::from_shared(self.address.clone()).expect("an address");
        let client = FlightServiceClient::new(endpoint.connect().await.expect("a connection"));
        client.max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn dial(&self, incarnation: u128) -> Dialled {
        let (out, messages) = mpsc::channel(4);
        let hello = Hello { edge: edge(), incarnation: Incarnation(incarnation) };
        let metadata = postcard::to_allocvec(&hello).expect("bytes");
        let first = FlightData::new().with_descriptor(path()).with_app_metadata(metadata);
        out.send(first).await.expect("room");
        let answers = self.client().await.do_exchange(ReceiverStream::new(messages)).await.expect("a stream");
        Dialled { out, answers: answers.into_inner() }
    }

    async fn readings(&self) -> usize {
        let context = self.lake.session_context().await.expect("a context");
        context.table("readings_raw").await.expect("a table").count().await.expect("a count")
    }

    /// Gives the folder back, for whoever looks at the lake afterwards.
    async fn stop(self) -> TempDir {
        self.stop.send_replace(true);
        self.serving.await.expect("a whole stop");
        self.folder
    }
}

struct Dialled {
    out: mpsc::Sender<FlightData>,
    answers: tonic::Streaming<FlightData>,
}

impl Dialled {
    async fn send(&mut self, segment: &Segment) {
        self.send_bytes(segment, segment.encode().expect("bytes")).await;
    }

    async fn send_bytes(&mut self, segment: &Segment, bytes: Vec<u8>) {
        self.send_message(postcard::to_allocvec(&segment.header).expect("bytes"), bytes).await;
    }

    async fn send_message(&mut self, metadata: Vec<u8>, bytes: Vec<u8>) {
        let message = FlightData::new().with_app_metadata(metadata).with_data_body(bytes);
        self.out.send(message).await.expect("room");
    }

    async fn answer(&mut self) -> Committed {
        let message = self.answers.next().await.expect("an answer").expect("no error");
        postcard::from_bytes(&message.app_metadata).expect("an answer's bytes")
    }

    async fn refused(&mut self, why: &str) {
        let answer = self.answer().await;
        assert!(answer.refused.contains(why), "{:?}", answer.refused);
    }
}
