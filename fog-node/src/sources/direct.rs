//! Edges that dial in: Arrow Flight, `DoExchange` only.
//!
//! ```text
//! edge                                                 fog node
//! descriptor wattle/segments/v1, metadata Hello   ->
//!                                                  <-  metadata Committed (how far the lake is)
//! metadata SegmentHeader, body segment            ->
//! metadata SegmentHeader, body segment            ->
//!                                                  <-  metadata Committed (after the commit, or why not)
//! ```
//!
//! Answers come in the order of the segments. A segment that is damaged, untrue or beyond a hole is refused with
//! a text, and the stream goes on. At most [`PIPELINE`] segments of a stream are unanswered; then it isn't read on, and
//! HTTP/2 makes the edge wait. Messages have at most [`MAX_MESSAGE_BYTES`], and those that are being received by all streams
//! come to a bounded size: [`super::receiving`]. A connection whose edge is gone is closed: [`super::listening`]. At shutdown every stream ends after
//! the answers that it still owes.
//!
//! On the same port, under the path `wattle/documents/v1`, an edge fetches what is to go down to it: [`crate::documents`].
//!
//! With TLS, an edge shows a certificate of the configured authority, and the name in its hello has to stand in it: nobody
//! writes another edge's rows.

use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::ServerTlsConfig;
use tonic::{Request, Response, Status, Streaming};
use wattle_columns::Segment;
use wattle_wire::document::{self, Has};
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation, MAX_MESSAGE_BYTES, SegmentHeader};

use super::receiving::{Held, RECEIVING_BYTES, Receiving};
use super::{LakeWriter, Outcome, listening};
use crate::documents::{Store, serve};
use crate::lake::Lake;

/// What a stream owes for one segment.
type Owed = oneshot::Receiver<Committed>;

/// The most segments of one stream that are unanswered.
pub const PIPELINE: usize = 8;

/// The longest greeting.
const MAX_HELLO_BYTES: usize = 16 << 10;

/// Serves edges on `listener` until `stop` is set and every stream has given the answers that it owes.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    lake: Arc<Lake>,
    writer: LakeWriter,
    documents: Arc<Store>,
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let known = tls.is_some();
    let service = FlightServiceServer::new(Direct { lake, writer, documents, known, stop: stop.clone() })
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let service = Receiving::new(service, RECEIVING_BYTES);
    let stopped = async move {
        // A sender that is gone means the same.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let incoming = listening::incoming(listener, listening::ALIVE);
    let mut server = listening::server(tls, listening::ALIVE)?;
    server.add_service(service).serve_with_incoming_shutdown(incoming, stopped).await
}

struct Direct {
    lake: Arc<Lake>,
    writer: LakeWriter,
    documents: Arc<Store>,
    /// Whether an edge's certificate says who it is.
    known: bool,
    stop: watch::Receiver<bool>,
}

impl Direct {
    /// Hands an edge its documents.
    async fn documents(
        &self,
        has: Has,
        said: (Streaming<FlightData>, Held),
    ) -> Result<Response<Answers<FlightData>>, Status> {
        tracing::info!(edge = %has.edge, "edge asks for its documents");
        let edge = has.edge.clone();
        serve::hears(&self.documents, has).await?;
        let (down, messages) = mpsc::channel(1);
        let (store, stop) = (self.documents.clone(), self.stop.clone());
        tokio::spawn(serve::hand_down(store, edge, said, down, stop));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FlightService for Direct {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let certificates = request.peer_certs();
        let held = request.extensions().get::<Held>().cloned().unwrap_or_default();
        let mut segments = request.into_inner();
        let first =
            segments.message().await?.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        let certificates = certificates.as_deref().map(Vec::as_slice);
        if path_of(&first) == document::FLIGHT_PATH {
            let has = serve::has_of(&first)?;
            drop(first);
            held.release();
            if self.known {
                super::identity::check(&has.edge, certificates)?;
            }
            return self.documents(has, (segments, held)).await;
        }
        let hello = hello_of(&first)?;
        drop(first);
        held.release();
        if self.known {
            super::identity::check(&hello.edge, certificates)?;
        }
        let position = self.lake.positions(&hello.edge, hello.incarnation).await;
        let position = position.map_err(|error| {
            tracing::error!(%error, edge = %hello.edge, "position could not be read");
            Status::unavailable(error.to_string())
        })?;
        tracing::info!(edge = %hello.edge, incarnation = %hello.incarnation, ?position, "edge connected");
        let welcome =
            Committed { incarnation: hello.incarnation, sequence: position, refused: String::new() };
        let (owed, answers) = mpsc::channel(PIPELINE);
        let reader = Reader { hello, writer: self.writer.clone(), lake: self.lake.clone(), owed, held };
        tokio::spawn(reader.run(segments, self.stop.clone()));
        let later = ReceiverStream::new(answers).filter_map(|answer: Owed| async move { answer.await.ok() });
        let stream = stream::iter([welcome]).chain(later).map(|committed| Ok(message(&committed)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(not_here())
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(not_here())
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(not_here())
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(not_here())
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(not_here())
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(not_here())
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(not_here())
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(not_here())
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(not_here())
    }
}

fn not_here() -> Status {
    Status::unimplemented(
        "this port takes segments from edges (DoExchange); queries go to the Flight SQL port",
    )
}

fn path_of(first: &FlightData) -> &[String] {
    first.flight_descriptor.as_ref().map(|descriptor| descriptor.path.as_slice()).unwrap_or_default()
}

fn hello_of(first: &FlightData) -> Result<Hello, Status> {
    let path = path_of(first);
    if path != FLIGHT_PATH {
        let known = FLIGHT_PATH.join("/");
        return Err(Status::not_found(format!("no stream {}; this version knows {known}", path.join("/"))));
    }
    if first.app_metadata.len() + first.data_body.len() > MAX_HELLO_BYTES {
        return Err(Status::invalid_argument(format!(
            "the first message's hello is longer than {MAX_HELLO_BYTES} bytes"
        )));
    }
    postcard::from_bytes(&first.app_metadata).map_err(|error| {
        Status::invalid_argument(format!("the first message's hello can't be read: {error}"))
    })
}

fn message(committed: &Committed) -> FlightData {
    let metadata = postcard::to_allocvec(committed).expect("an answer fits in memory");
    FlightData::new().with_app_metadata(metadata)
}

/// The reading half of a stream.
struct Reader {
    hello: Hello,
    writer: LakeWriter,
    lake: Arc<Lake>,
    owed: mpsc::Sender<Owed>,
    held: Held,
}

impl Reader {
    async fn run(self, mut segments: Streaming<FlightData>, mut stop: watch::Receiver<bool>) {
        let ending = loop {
            let next = tokio::select! {
                next = segments.message() => next,
                _ = stop.wait_for(|stop| *stop) => break "this node stops".to_owned(),
            };
            let answer = match next {
                Ok(Some(data)) => self.take(data).await,
                Ok(None) => break "the edge has closed the stream".to_owned(),
                Err(status) => break status.message().to_owned(),
            };
            // It stands in the queue, or was refused.
            self.held.release();
            if self.owed.send(answer).await.is_err() {
                break "the edge is gone".to_owned();
            }
        };
        tracing::info!(edge = %self.hello.edge, why = ending, "edge disconnected");
    }

    async fn take(&self, data: FlightData) -> Owed {
        let Some(room) = self.writer.reserve(&data.data_body).await else {
            return self.refuse("this node stops".into()).await;
        };
        match decode(&self.hello, data).await {
            Ok(segment) => {
                let (answer, owed) = oneshot::channel();
                let incarnation = self.hello.incarnation;
                // Whoever has gone asks for the position when it comes back.
                let answer = move |outcome| drop(answer.send(committed(incarnation, outcome)));
                room.put(segment, None, Box::new(answer));
                owed
            }
            Err(refused) => {
                drop(room);
                tracing::warn!(edge = %self.hello.edge, why = refused, "segment refused");
                metrics::counter!("wattle_fog_segments_refused_total").increment(1);
                self.refuse(refused).await
            }
        }
    }

    async fn refuse(&self, refused: String) -> Owed {
        let Hello { edge, incarnation } = &self.hello;
        let sequence = self.lake.positions(edge, *incarnation).await.ok().flatten();
        let (answer, receiver) = oneshot::channel();
        // The receiver is still here.
        let _ = answer.send(Committed { incarnation: *incarnation, sequence, refused });
        receiver
    }
}

/// An outcome as the edge is told of it.
pub fn committed(incarnation: Incarnation, outcome: Outcome) -> Committed {
    let (sequence, refused) = match outcome {
        Outcome::Committed(position) => (position, String::new()),
        Outcome::Refused(position, why) => (position, why.to_string()),
        Outcome::Failed(position, why) => (position, why),
        Outcome::Fenced => (None, "another way brings this journal at the same time; send it again".into()),
    };
    Committed { incarnation, sequence, refused }
}

/// Decoding decompresses, which is more than the runtime's threads should do between two other things.
async fn decode(hello: &Hello, data: FlightData) -> Result<Segment, String> {
    let hello = hello.clone();
    let decoding = move || segment_of(&hello, &data.app_metadata, &data.data_body);
    let decoded = tokio::task::spawn_blocking(decoding).await;
    decoded.unwrap_or_else(|_| Err("the segment could not be decoded: the node is stopping".into()))
}

/// The segment of a message, from its metadata and its body.
///
/// # Errors
/// Why it can't be taken, in words for the edge.
pub fn segment_of(hello: &Hello, metadata: &[u8], body: &[u8]) -> Result<Segment, String> {
    let announced: SegmentHeader = postcard::from_bytes(metadata)
        .map_err(|error| format!("the message's segment header can't be read: {error}"))?;
    if announced.edge != hello.edge || announced.incarnation != hello.incarnation {
        return Err(
            "the segment is of another journal than the stream's hello; open a stream for each".into()
        );
    }
    let segment = Segment::decode(body).map_err(|error| error.to_string())?;
    if segment.header != announced {
        return Err("the segment's own header is another than the message's".into());
    }
    Ok(segment)
}
