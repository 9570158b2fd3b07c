//! One connection to the fog node: segments up, answers down, until one of both ends it.

use std::collections::VecDeque;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation, MAX_MESSAGE_BYTES, SegmentHeader};

use super::source::{Source, SourceError};
use super::{Options, Progress};

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("{0} is no address of a fog node; write it as http://host:port")]
    Address(String),
    /// The fog node can't be reached.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The fog node, or what lies between, has ended the exchange.
    #[error("the fog node has ended the exchange: {0}")]
    Ended(String),
    /// No answer for too long.
    #[error("no answer from the fog node for {} s", .0.as_secs())]
    Silent(Duration),
    /// What came is no answer.
    #[error("the fog node's answer can't be read: {0}")]
    Malformed(String),
    /// The fog node can't take a segment.
    #[error("the fog node refuses the segment after entry {after}: {reason}")]
    Refused {
        /// The last entry that it has taken.
        after: u64,
        /// Why, in its words.
        reason: String,
    },
    /// The journal gave nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What was sent and isn't answered, oldest first.
#[derive(Default)]
struct InFlight {
    segments: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl InFlight {
    fn push(&mut self, to: u64, bytes: usize) {
        self.segments.push_back((to, bytes));
        self.bytes += bytes;
    }

    fn answered(&mut self, sequence: u64) {
        while let Some((_, bytes)) = self.segments.pop_front_if(|(to, _)| *to <= sequence) {
            self.bytes -= bytes;
        }
    }

    /// Whether one more may go: a single one always may, so that a large one isn't stuck.
    fn has_room(&self, options: &Options) -> bool {
        self.segments.is_empty()
            || (self.segments.len() < options.max_in_flight && self.bytes < options.max_in_flight_bytes)
    }
}

/// Connects, greets, and sends until the connection ends; it never ends well. `progress` hears of each step.
pub(super) async fn run(
    options: &Options,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> LinkError {
    match exchange(options, source, progress).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn exchange(
    options: &Options,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> Result<std::convert::Infallible, LinkError> {
    let mut link = Link::open(options, source).await?;
    let mut sent = link.answer(options, source, progress).await?;
    progress(Progress::Connected { committed: sent });
    let mut in_flight = InFlight::default();
    loop {
        let silent = !in_flight.segments.is_empty();
        tokio::select! {
            answer = link.answers.message() => {
                let reached = link.take(answer, source, progress).await?;
                in_flight.answered(reached.unwrap_or(0));
            }
            segment = source.next(sent), if in_flight.has_room(options) => {
                let (header, bytes) = segment?;
                in_flight.push(header.to, bytes.len());
                sent = Some(header.to);
                link.send(segment_message(&header, bytes)).await?;
            }
            () = tokio::time::sleep(options.answer_timeout), if silent => {
                return Err(LinkError::Silent(options.answer_timeout));
            }
        }
    }
}

struct Link {
    messages: mpsc::Sender<FlightData>,
    answers: Streaming<FlightData>,
    incarnation: Incarnation,
    committed: Option<u64>,
}

impl Link {
    async fn open(options: &Options, source: &Source) -> Result<Self, LinkError> {
        let endpoint = Endpoint::from_shared(options.fog.clone())
            .map_err(|_| LinkError::Address(options.fog.clone()))?
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(options.keep_alive)
            .keep_alive_timeout(options.keep_alive)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(|error| LinkError::Unreachable(chain(&error)))?;
        let mut client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (messages, up) = mpsc::channel(1);
        let incarnation = source.incarnation();
        messages.try_send(hello_message(&Hello { edge: source.edge().clone(), incarnation })).ok();
        let call = client.do_exchange(ReceiverStream::new(up));
        let answers = tokio::time::timeout(options.answer_timeout, call)
            .await
            .map_err(|_| LinkError::Silent(options.answer_timeout))?
            .map_err(|status| LinkError::Ended(status.message().to_owned()))?
            .into_inner();
        Ok(Self { messages, answers, incarnation, committed: None })
    }

    /// Waits for the answer to the greeting.
    async fn answer(
        &mut self,
        options: &Options,
        source: &Source,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Option<u64>, LinkError> {
        let answer = tokio::time::timeout(options.answer_timeout, self.answers.message())
            .await
            .map_err(|_| LinkError::Silent(options.answer_timeout))?;
        self.take(answer, source, progress).await
    }

    /// Takes an answer, and tells the journal how far the lake is when that is news.
    async fn take(
        &mut self,
        answer: Result<Option<FlightData>, tonic::Status>,
        source: &Source,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Option<u64>, LinkError> {
        let message = answer
            .map_err(|status| LinkError::Ended(status.message().to_owned()))?
            .ok_or_else(|| LinkError::Ended("it closed the stream".to_owned()))?;
        let answer: Committed = postcard::from_bytes(&message.app_metadata)
            .map_err(|error| LinkError::Malformed(error.to_string()))?;
        if answer.incarnation != self.incarnation {
            return Err(LinkError::Malformed(format!("it is about journal {}", answer.incarnation)));
        }
        if let Some(sequence) = answer.sequence.filter(|_| answer.sequence > self.committed) {
            source.committed(sequence).await?;
            self.committed = Some(sequence);
            progress(Progress::Committed(sequence));
        }
        if !answer.refused.is_empty() {
            return Err(LinkError::Refused { after: self.committed.unwrap_or(0), reason: answer.refused });
        }
        Ok(self.committed)
    }

    async fn send(&self, message: FlightData) -> Result<(), LinkError> {
        self.messages.send(message).await.map_err(|_| LinkError::Ended("it takes no more".to_owned()))
    }
}

fn hello_message(hello: &Hello) -> FlightData {
    let path = FLIGHT_PATH.map(str::to_owned).to_vec();
    message(hello, Bytes::new()).with_descriptor(FlightDescriptor::new_path(path))
}

fn segment_message(header: &SegmentHeader, bytes: Bytes) -> FlightData {
    message(header, bytes)
}

fn message(metadata: &impl serde::Serialize, body: Bytes) -> FlightData {
    let metadata = postcard::to_allocvec(metadata).expect("names and numbers can be written");
    FlightData::new().with_app_metadata(metadata).with_data_body(body)
}

/// An error with its causes, which say more than the error: "transport error: connection refused".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
