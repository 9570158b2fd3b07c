//! The direct way: one connection to the fog node, segments up, answers down, until one of both ends it.

use std::path::PathBuf;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use wattle_wire::kafka::Position;
use wattle_wire::uplink::{Committed, FLIGHT_PATH, Hello, Incarnation, MAX_MESSAGE_BYTES, SegmentHeader};

use super::clock::Clock;
use super::sender::{Confirmed, Offer, Rules, Sender, Step};
use super::source::Source;
use super::{LinkError, Options, Progress, gap};

/// How many times as long as an answer may take a segment may wait for those before it to be taken: a line of 100 KB/s is fast enough for the
/// longest.
const TAKEN: u32 = 5;

/// How the fog node is dialled.
#[derive(Debug, Clone)]
pub struct Direct {
    /// The fog node, as `http://host:port` or `https://host:port`.
    pub fog: String,
    /// For `https`: whose certificates are trusted, and ours.
    pub tls: Option<Tls>,
    /// How long dialling may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long an answer may take while something is sent and not answered. Default 60 s.
    pub answer_timeout: Duration,
    /// How often an idle connection is probed, and how long a probe may take. Default 10 s.
    pub keep_alive: Duration,
}

/// Encryption of the direct way; both sides show a certificate. The files are read at each try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authority that has signed the fog node's certificate.
    pub ca: PathBuf,
    /// PEM file of our certificate; the edge's name stands in it.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The name that the fog node's certificate has to carry; none for the host of its address.
    pub server_name: Option<String>,
}

impl Direct {
    /// The defaults for a fog node.
    pub fn new(fog: impl Into<String>) -> Self {
        Self {
            fog: fog.into(),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
        }
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, LinkError> {
        let endpoint = Endpoint::from_shared(self.fog.clone())
            .map_err(|_| LinkError::Address(self.fog.clone()))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true);
        let Some(tls) = &self.tls else { return Ok(endpoint) };
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| LinkError::Tls(format!("{}: {error}", path.display())))
        };
        let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
        let mut config =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&tls.ca)?)).identity(identity);
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        wattle_process::choose_crypto();
        endpoint.tls_config(config).map_err(|error| LinkError::Tls(chain(&error)))
    }
}

/// The machine's rules on this way.
pub fn rules(options: &Options) -> Rules {
    Rules {
        confirmed: Confirmed::ByCommit,
        free_on_delivery: false,
        max_open: options.max_in_flight,
        max_open_bytes: options.max_in_flight_bytes,
        bytes_per_second: options.bytes_per_second,
        // A fog node that doesn't answer ends the connection, and the next begins with its position.
        probe_after: None,
    }
}

/// Connects, greets, and sends until the connection ends; it never ends well. `progress` hears of each step.
pub(super) async fn run(
    direct: &Direct,
    options: &Options,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> LinkError {
    match exchange(direct, options, source, progress).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn exchange(
    direct: &Direct,
    options: &Options,
    source: &mut Source,
    progress: &mut impl FnMut(Progress),
) -> Result<std::convert::Infallible, LinkError> {
    let clock = Clock::start();
    let mut sender = Sender::new(rules(options), clock.now());
    let mut link = Link::open(direct, source).await?;
    let welcome = link.welcome(direct.answer_timeout).await?;
    progress(Progress::Connected { committed: welcome });
    if let Some(committed) = sender.welcome(welcome, clock.now()) {
        source.committed(committed).await?;
        progress(Progress::Committed(committed));
    }
    loop {
        let step = sender.next(clock.now());
        let (read, wake) = match step {
            Step::Read { after } => (Some(after), None),
            Step::Full => (None, None),
            Step::NotBefore(moment) => (None, Some(clock.until(moment))),
        };
        let owed = sender.open().0 > 0;
        tokio::select! {
            answer = link.answers.message() => {
                let answer = link.read(answer)?;
                let position = Position { sequence: answer.sequence, needs: false };
                if let Some(committed) = sender.position(position, clock.now()) {
                    source.committed(committed).await?;
                    progress(Progress::Committed(committed));
                }
                if !answer.refused.is_empty() {
                    let after = sender.committed().unwrap_or(0);
                    return Err(LinkError::Refused { after, reason: answer.refused });
                }
            }
            segment = source.next(read.flatten()), if read.is_some() => {
                let (mut header, mut bytes) = segment?;
                if let Offer::GapFirst { from, to } = sender.offer(header.from) {
                    tracing::warn!(from, to, "the lake lacks entries that were freed; it gets a gap for them");
                    (header, bytes) = gap::freed(source.edge(), source.incarnation(), from, to)?;
                }
                let (to, length) = (header.to, bytes.len());
                send(&link.messages, segment_message(&header, bytes), direct.answer_timeout * TAKEN).await?;
                sender.sent(to, length, clock.now());
                progress(Progress::Sent { bytes: length });
            }
            () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
            () = tokio::time::sleep(direct.answer_timeout), if owed => {
                return Err(LinkError::Silent(direct.answer_timeout));
            }
        }
        progress(Progress::Open(sender.open()));
    }
}

struct Link {
    messages: mpsc::Sender<FlightData>,
    answers: Streaming<FlightData>,
    incarnation: Incarnation,
}

impl Link {
    async fn open(direct: &Direct, source: &Source) -> Result<Self, LinkError> {
        let endpoint = direct.endpoint()?;
        let channel = endpoint.connect().await.map_err(|error| LinkError::Unreachable(chain(&error)))?;
        let mut client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (messages, up) = mpsc::channel(1);
        let incarnation = source.incarnation();
        messages.try_send(hello_message(&Hello { edge: source.edge().clone(), incarnation })).ok();
        let call = client.do_exchange(ReceiverStream::new(up));
        let answers = tokio::time::timeout(direct.answer_timeout, call)
            .await
            .map_err(|_| LinkError::Silent(direct.answer_timeout))?
            .map_err(|status| LinkError::Ended(ending(&status)))?
            .into_inner();
        Ok(Self { messages, answers, incarnation })
    }

    /// Waits for the answer to the greeting.
    async fn welcome(&mut self, limit: Duration) -> Result<Option<u64>, LinkError> {
        let answer = tokio::time::timeout(limit, self.answers.message())
            .await
            .map_err(|_| LinkError::Silent(limit))?;
        let answer = self.read(answer)?;
        if !answer.refused.is_empty() {
            return Err(LinkError::Refused { after: answer.sequence.unwrap_or(0), reason: answer.refused });
        }
        Ok(answer.sequence)
    }

    fn read(&self, answer: Result<Option<FlightData>, tonic::Status>) -> Result<Committed, LinkError> {
        let message = answer
            .map_err(|status| LinkError::Ended(ending(&status)))?
            .ok_or_else(|| LinkError::Ended("it closed the stream".to_owned()))?;
        let answer: Committed = postcard::from_bytes(&message.app_metadata)
            .map_err(|error| LinkError::Malformed(error.to_string()))?;
        if answer.incarnation != self.incarnation {
            return Err(LinkError::Malformed(format!("it is about journal {}", answer.incarnation)));
        }
        Ok(answer)
    }
}

/// Hands a message over to the connection, once that has room for it.
async fn send(
    messages: &mpsc::Sender<FlightData>,
    message: FlightData,
    limit: Duration,
) -> Result<(), LinkError> {
    match tokio::time::timeout(limit, messages.send(message)).await {
        Ok(sent) => sent.map_err(|_| LinkError::Ended("it takes no more".to_owned())),
        Err(_) => Err(LinkError::Full(limit)),
    }
}

/// Why a stream has ended. A certificate that is refused shows itself only here: the edge believes itself connected
/// by then.
pub(crate) fn ending(status: &tonic::Status) -> String {
    let causes = std::error::Error::source(status).map(chain).unwrap_or_default();
    if causes.is_empty() { status.message().to_owned() } else { format!("{}: {causes}", status.message()) }
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
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_takes_no_segment_is_given_up() {
        let (messages, taken) = mpsc::channel(1);
        let limit = Duration::from_millis(20);
        let message = || FlightData::new().with_data_body("segment");
        send(&messages, message(), Duration::from_secs(60)).await.expect("there is room for one");
        let full = send(&messages, message(), limit).await.expect_err("nobody takes it");
        assert!(matches!(full, LinkError::Full(after) if after == limit), "{full}");
        drop(taken);
        assert!(matches!(send(&messages, message(), limit).await, Err(LinkError::Ended(_))));
    }
}
