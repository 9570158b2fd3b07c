//! The uplink against a fog node of a few lines, over a real connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request as Call, Response, Status as Refusal, Streaming};
use wattle_wire::EdgeId;
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation, MAX_MESSAGE_BYTES, SegmentHeader};

use super::*;

const LIFE: Incarnation = Incarnation(42);
/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_commit_frees_and_the_next_segments_follow() {
    let mut line = Line::start(Fog::default(), &[(1, 3), (4, 4)]).await;
    line.until(|line| line.freed() == [3, 4]).await;
    line.seal(5, 9);
    line.until(|line| line.freed() == [3, 4, 9]).await;
    assert_eq!(line.fog.received(), [(1, 3), (4, 4), (5, 9)]);
    let status = line.status.borrow().clone();
    assert_eq!((status.connected, status.committed, status.connections), (true, Some(9), 1));
    assert_eq!((status.sent, status.sent_bytes, status.open), (3, 3 * b"segment".len() as u64, 0));
    assert_eq!(status.reason, "");
}

#[tokio::test]
async fn what_the_lake_has_is_freed_and_not_sent_again() {
    let fog = Fog::default();
    fog.set(|state| state.committed = Some(4));
    let mut line = Line::start(fog, &[(1, 3), (4, 4), (5, 9)]).await;
    line.until(|line| line.freed() == [4, 9]).await;
    assert_eq!(line.fog.received(), [(5, 9)]);
}

#[tokio::test]
async fn after_a_cut_connection_it_resumes_at_the_position() {
    let fog = Fog::default();
    fog.set(|state| state.cut_after = Some(1));
    let mut line = Line::start(fog, &[(1, 3), (4, 4), (5, 9)]).await;
    line.until(|line| line.freed().last() == Some(&9)).await;
    assert_eq!(line.fog.received(), [(1, 3), (4, 4), (5, 9)]);
    assert_eq!(line.status.borrow().connections, 2);
}

#[tokio::test]
async fn a_segment_whose_answer_was_lost_is_sent_again() {
    let fog = Fog::default();
    fog.set(|state| state.lose_answer = true);
    let mut line = Line::start(fog, &[(1, 3)]).await;
    line.until(|line| line.freed() == [3]).await;
    assert_eq!(line.fog.received(), [(1, 3), (1, 3)]);
}

#[tokio::test]
async fn a_refused_segment_is_kept_and_offered_again() {
    let fog = Fog::default();
    fog.set(|state| state.refuse = Some("columns are unknown".to_owned()));
    let mut line = Line::start(fog, &[(1, 3)]).await;
    line.until(|line| line.fog.received().len() >= 3 && line.status.borrow().reason.contains("unknown"))
        .await;
    assert!(line.freed().is_empty());
    line.fog.set(|state| state.refuse = None);
    line.until(|line| line.freed() == [3]).await;
}

#[tokio::test]
async fn a_lake_that_lacks_what_was_freed_gets_a_gap_for_it() {
    let mut line = Line::start(Fog::default(), &[(11, 13), (14, 14)]).await;
    line.until(|line| line.freed().last() == Some(&14)).await;
    assert_eq!(line.fog.received(), [(1, 10), (11, 13), (14, 14)]);
}

#[tokio::test]
async fn no_more_is_sent_than_may_be_in_flight() {
    let fog = Fog::default();
    fog.set(|state| state.mute = true);
    let ranges: Vec<_> = (1..=20).map(|n| (n, n)).collect();
    let mut line = Line::start(fog, &ranges).await;
    line.until(|line| line.fog.received().len() == 16).await;
    // The fog node now speaks again, and only then does the seventeenth come.
    assert_eq!(line.asked_after(), Some(16));
    line.fog.set(|state| state.mute = false);
    line.fog.cut();
    line.until(|line| line.freed().last() == Some(&20)).await;
}

#[tokio::test]
async fn an_answer_about_another_journal_frees_nothing() {
    let fog = Fog::default();
    fog.set(|state| state.life = Some(Incarnation(7)));
    let mut line = Line::start(fog, &[(1, 3)]).await;
    line.until(|line| line.status.borrow().reason.contains("journal")).await;
    assert_eq!((line.freed(), line.fog.received()), (vec![], vec![]));
}

#[tokio::test]
async fn it_waits_for_a_fog_node_that_is_not_there_yet_and_stops_when_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut line = Line::dial(Fog::default(), address, &[(1, 3)]);
    line.until(|line| line.status.borrow().reason.contains("no connection")).await;
    line.fog.clone().serve(TcpListener::bind(address).await.expect("the port is free again"));
    line.until(|line| line.freed() == [3]).await;
    line.stop.take().expect("once").send(()).expect("it runs");
    tokio::time::timeout(DEADLINE, line.task).await.expect("it stops").expect("without a panic");
    assert!(!line.status.borrow().connected);
}

#[tokio::test]
async fn it_ends_when_the_journal_has_closed() {
    let mut line = Line::start(Fog::default(), &[]).await;
    line.until(|line| line.status.borrow().connected).await;
    line.journal.close();
    tokio::time::timeout(DEADLINE, line.task).await.expect("it ends").expect("without a panic");
}

#[tokio::test]
async fn what_is_no_address_is_named() {
    let (requests, _owner) = mpsc::channel(1);
    let (_sealed, sealed) = watch::channel(0);
    let mut source = Source::new(EdgeId::new("edge-1").expect("name"), LIFE, requests, sealed);
    let options = Options::new("no address");
    let error = direct::run(&Direct::new("no address"), &options, &mut source, &mut |_| ()).await;
    assert!(error.to_string().contains("http://host:port"), "{error}");
}

/// A journal, an uplink and a fog node.
struct Line {
    fog: Fog,
    journal: FakeJournal,
    status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    async fn start(fog: Fog, ranges: &[(u64, u64)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        fog.clone().serve(listener);
        Self::dial(fog, address, ranges)
    }

    fn dial(fog: Fog, address: SocketAddr, ranges: &[(u64, u64)]) -> Self {
        let (journal, source) = FakeJournal::start(ranges);
        let quick = Duration::from_millis(5);
        let options =
            Options { first_wait: quick, longest_wait: quick, ..Options::new(format!("http://{address}")) };
        let (status_to, status) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or(()) };
        let task = tokio::spawn(run(options, source, status_to, shutdown));
        Self { fog, journal, status, stop: Some(stop), task }
    }

    /// Waits until it is so; it must be within the deadline.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!(
                "freed {:?}, received {:?}, {:?}",
                self.freed(),
                self.fog.received(),
                self.status.borrow()
            );
        }
    }

    fn freed(&self) -> Vec<u64> {
        self.journal.state.lock().expect("sound").freed.clone()
    }

    /// The last position after which the uplink asked and got a segment.
    fn asked_after(&self) -> Option<u64> {
        self.journal.state.lock().expect("sound").given
    }

    fn seal(&self, from: u64, to: u64) {
        self.journal.seal(from, to);
    }
}

#[derive(Default)]
struct JournalState {
    segments: BTreeMap<u64, u64>,
    freed: Vec<u64>,
    given: Option<u64>,
}

struct FakeJournal {
    state: Arc<Mutex<JournalState>>,
    sealed: Option<watch::Sender<u64>>,
    owner: tokio::task::JoinHandle<()>,
}

impl FakeJournal {
    fn start(ranges: &[(u64, u64)]) -> (Self, Source) {
        let (requests, mut inbox) = mpsc::channel(1);
        let (sealed, sealed_to) = watch::channel(0);
        let state = Arc::new(Mutex::new(JournalState::default()));
        let shared = state.clone();
        let owner = tokio::spawn(async move {
            while let Some(request) = inbox.recv().await {
                answer(&mut shared.lock().expect("sound"), request);
            }
        });
        let journal = Self { state, sealed: Some(sealed), owner };
        ranges.iter().for_each(|(from, to)| journal.seal(*from, *to));
        (journal, Source::new(EdgeId::new("edge-1").expect("name"), LIFE, requests, sealed_to))
    }

    fn seal(&self, from: u64, to: u64) {
        self.state.lock().expect("sound").segments.insert(from, to);
        self.sealed.as_ref().expect("open").send_replace(to);
    }

    fn close(&mut self) {
        self.owner.abort();
        self.sealed = None;
    }
}

fn answer(state: &mut JournalState, request: Request) {
    match request {
        Request::Next { after, reply } => {
            let next = state.segments.iter().find(|(_, to)| **to > after.unwrap_or(0));
            let segment = next.map(|(from, to)| (header(*from, *to), Bytes::from_static(b"segment")));
            state.given = segment.as_ref().map(|(header, _)| header.to).or(state.given);
            reply.send(segment).ok();
        }
        Request::Committed { sequence, reply } => {
            state.freed.push(sequence);
            state.segments.retain(|_, to| *to > sequence);
            reply.send(Ok(())).ok();
        }
    }
}

fn header(from: u64, to: u64) -> SegmentHeader {
    SegmentHeader { edge: EdgeId::new("edge-1").expect("name"), incarnation: LIFE, from, to }
}

#[derive(Default)]
struct FogState {
    committed: Option<u64>,
    received: Vec<(u64, u64)>,
    /// Cuts the connection after so many segments, once.
    cut_after: Option<usize>,
    /// Commits a segment and cuts the connection instead of answering, once; and forgets the commit.
    lose_answer: bool,
    /// Refuses every segment.
    refuse: Option<String>,
    /// Answers the greeting only.
    mute: bool,
    /// Answers about this life.
    life: Option<Incarnation>,
}

/// A fog node that takes segments and keeps nothing of them.
#[derive(Clone, Default)]
struct Fog {
    state: Arc<Mutex<FogState>>,
    cut: Arc<tokio::sync::Notify>,
}

impl Fog {
    fn set(&self, change: impl FnOnce(&mut FogState)) {
        change(&mut self.state.lock().expect("sound"));
    }

    fn received(&self) -> Vec<(u64, u64)> {
        self.state.lock().expect("sound").received.clone()
    }

    /// Ends the connection that is there.
    fn cut(&self) {
        self.cut.notify_one();
    }

    fn serve(self, listener: TcpListener) {
        let service = FlightServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    }

    fn committed(&self, refused: String) -> FlightData {
        let state = self.state.lock().expect("sound");
        let answer =
            Committed { incarnation: state.life.unwrap_or(LIFE), sequence: state.committed, refused };
        FlightData::new().with_app_metadata(postcard::to_allocvec(&answer).expect("writable"))
    }

    /// Takes one segment; what to answer, or nothing to cut the connection.
    fn take(&self, header: &SegmentHeader) -> Result<Option<FlightData>, ()> {
        let mut state = self.state.lock().expect("sound");
        state.received.push((header.from, header.to));
        if std::mem::take(&mut state.lose_answer) {
            return Err(());
        }
        if state.mute {
            return Ok(None);
        }
        let refused = state.refuse.clone().unwrap_or_default();
        if refused.is_empty() {
            state.committed = Some(header.to);
        }
        drop(state);
        Ok(Some(self.committed(refused)))
    }

    async fn exchange(self, mut up: Streaming<FlightData>, down: mpsc::Sender<Result<FlightData, Refusal>>) {
        let first = up.message().await.expect("a stream").expect("a greeting");
        assert_eq!(first.flight_descriptor.expect("a path").path, FLIGHT_PATH);
        let hello: Hello = postcard::from_bytes(&first.app_metadata).expect("a greeting");
        assert_eq!(hello, Hello { edge: EdgeId::new("edge-1").expect("name"), incarnation: LIFE });
        down.send(Ok(self.committed(String::new()))).await.ok();
        let mut taken = 0;
        loop {
            let message = tokio::select! {
                message = up.message() => message,
                () = self.cut.notified() => return,
            };
            let Ok(Some(message)) = message else { return };
            let body = &message.data_body;
            assert!(body == &Bytes::from_static(b"segment") || wattle_columns::Segment::decode(body).is_ok());
            let Ok(answer) = self.take(&postcard::from_bytes(&message.app_metadata).expect("a header"))
            else {
                return;
            };
            if let Some(answer) = answer {
                down.send(Ok(answer)).await.ok();
            }
            taken += 1;
            if self.state.lock().expect("sound").cut_after.take_if(|after| *after == taken).is_some() {
                return;
            }
        }
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<Response<T>, Refusal>>;

/// Methods that answer "unimplemented", in the form into which the trait's `async fn` are rewritten.
macro_rules! not_served {
    ($($name:ident($request:ty) -> $response:ty;)*) => {
        $(fn $name<'a, 'b>(&'a self, _: Call<$request>) -> Answer<'b, $response>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Refusal::unimplemented("only segments are taken here")) })
        })*
    };
}

type Down<T> = BoxStream<'static, Result<T, Refusal>>;

#[tonic::async_trait]
impl FlightService for Fog {
    type HandshakeStream = Down<HandshakeResponse>;
    type ListFlightsStream = Down<FlightInfo>;
    type DoGetStream = Down<FlightData>;
    type DoPutStream = Down<PutResult>;
    type DoExchangeStream = Down<FlightData>;
    type DoActionStream = Down<arrow_flight::Result>;
    type ListActionsStream = Down<ActionType>;

    async fn do_exchange(
        &self,
        request: Call<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Refusal> {
        let (down, answers) = mpsc::channel(4);
        tokio::spawn(self.clone().exchange(request.into_inner(), down));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    not_served! {
        handshake(Streaming<HandshakeRequest>) -> Self::HandshakeStream;
        list_flights(Criteria) -> Self::ListFlightsStream;
        get_flight_info(FlightDescriptor) -> FlightInfo;
        poll_flight_info(FlightDescriptor) -> PollInfo;
        get_schema(FlightDescriptor) -> SchemaResult;
        do_get(Ticket) -> Self::DoGetStream;
        do_put(Streaming<FlightData>) -> Self::DoPutStream;
        do_action(Action) -> Self::DoActionStream;
        list_actions(Empty) -> Self::ListActionsStream;
    }
}
