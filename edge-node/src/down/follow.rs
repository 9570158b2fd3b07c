//! Fetches documents from a fog node, over a stream of its own on the port of the direct way.
//!
//! It dials as the uplink does, with the same certificates, and greets with what this edge has dealt with; documents come one at a
//! time, and after each, or after what a person has sent to this node itself, the fog node is told again. A connection that ends is dialled again after 0.2 s, doubling up to
//! [`LONGEST_WAIT`]; a fog node that knows nothing of documents is asked again that often. What failed only here, as on a full disk, ends the
//! connection, so that the document comes again; so does a document that changes nothing of what this edge has dealt with, since it would come
//! again at once. The wait begins anew with a document that was dealt with, or a stream that was open for [`LONGEST_WAIT`].

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use wattle_wire::EdgeId;
use wattle_wire::document::{FLIGHT_PATH, Has, MAX_BYTES, PIECE_BYTES, Piece};

use super::worker::{Answer, Down, From, Outcome};
use crate::uplink::Direct;
use crate::uplink::backoff::Backoff;
use crate::uplink::direct::{chain, ending};

const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait before a new try.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A piece and what stands around it.
const MAX_MESSAGE_BYTES: usize = PIECE_BYTES + (64 << 10);

/// Follows for as long as the node runs.
pub async fn follow(direct: Direct, edge: EdgeId, down: Down) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut last = String::new();
    loop {
        let mut open = None;
        let why = match stream(&direct, &edge, &down, &mut open).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        let is_open = open.is_some();
        if open.is_some_and(|open: Open| open.was_well(Instant::now())) {
            backoff.reset();
        }
        if why != last {
            tracing::warn!(from = direct.fog, why, "no documents come from the fog node; trying again");
        }
        down.board().stream(&direct.fog, "down", &why);
        last = if is_open { String::new() } else { why };
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

/// A stream that was opened.
struct Open {
    since: Instant,
    /// Whether a document came and was dealt with.
    is_well: bool,
}

impl Open {
    /// Takes what became of a document; whether it has changed what this edge has dealt with.
    ///
    /// # Errors
    /// Where the same document would come again at once.
    fn takes(&mut self, answer: &Answer, is_dealt_with: bool) -> Result<(), String> {
        if answer.outcome == Outcome::Failed {
            return Err(answer.text.clone());
        }
        if !is_dealt_with {
            return Err(format!("it hands a document that is of no use, and would again: {}", answer.text));
        }
        self.is_well = true;
        Ok(())
    }

    /// Whether the next one may be opened without a longer wait than the first.
    fn was_well(&self, now: Instant) -> bool {
        self.is_well || now.saturating_duration_since(self.since) >= LONGEST_WAIT
    }
}

async fn stream(
    direct: &Direct,
    edge: &EdgeId,
    down: &Down,
    open: &mut Option<Open>,
) -> Result<std::convert::Infallible, String> {
    let endpoint = direct.endpoint().map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (said, up) = mpsc::channel(1);
    let mut news = down.board().news();
    let hello =
        has(edge, down).with_descriptor(FlightDescriptor::new_path(FLIGHT_PATH.map(str::to_owned).to_vec()));
    // There is room for one.
    let _ = said.try_send(hello);
    let call = client.do_exchange(ReceiverStream::new(up));
    let answer = tokio::time::timeout(direct.answer_timeout, call).await;
    let answer = answer.map_err(|_| "it doesn't answer".to_owned())?;
    let mut documents = answer
        .map_err(|status| match status.code() {
            Code::NotFound | Code::Unimplemented => {
                "it knows nothing of documents; update the fog node, or deploy to this edge itself".to_owned()
            }
            _ => ending(&status),
        })?
        .into_inner();
    let open = open.insert(Open { since: Instant::now(), is_well: false });
    tracing::info!(from = direct.fog, "the fog node is asked for documents");
    down.board().stream(&direct.fog, "connected", "");
    let mut coming = Coming::default();
    loop {
        let message = tokio::select! {
            message = documents.message() => message.map_err(|status| ending(&status))?,
            // What a person has sent to this node is to be known there before the next document is numbered.
            _ = news.changed(), if coming.bytes.is_empty() => {
                say(&said, has(edge, down), direct.answer_timeout).await?;
                continue;
            }
        };
        let message = message.ok_or_else(|| "it closed the stream".to_owned())?;
        let Some(bytes) = coming.take(&message)? else { continue };
        let before = down.board().has();
        let answer = down.document(bytes, From::Fog).await;
        open.takes(&answer, down.board().has() != before)?;
        news.mark_unchanged();
        say(&said, has(edge, down), direct.answer_timeout).await?;
    }
}

async fn say(said: &mpsc::Sender<FlightData>, has: FlightData, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, said.send(has)).await {
        Ok(sent) => sent.map_err(|_| "it closed the stream".to_owned()),
        Err(_) => Err("it takes no message".to_owned()),
    }
}

/// What this edge has dealt with.
fn has(edge: &EdgeId, down: &Down) -> FlightData {
    let has = Has { edge: edge.clone(), has: down.board().has() };
    FlightData::new().with_app_metadata(serde_json::to_vec(&has).expect("names and numbers can be written"))
}

/// A document that comes in pieces.
#[derive(Default)]
struct Coming {
    bytes: Vec<u8>,
}

impl Coming {
    /// Takes the next piece; the document, once it is whole.
    fn take(&mut self, message: &FlightData) -> Result<Option<Vec<u8>>, String> {
        let piece: Piece = serde_json::from_slice(&message.app_metadata)
            .map_err(|error| format!("it sends what can't be read: {error}"))?;
        let total = usize::try_from(piece.total).ok().filter(|total| *total <= MAX_BYTES);
        let total = total.ok_or_else(|| format!("it sends a document of {} bytes", piece.total))?;
        if piece.from != self.bytes.len() as u64 || self.bytes.len() + message.data_body.len() > total {
            return Err("it sends pieces that don't fit together".to_owned());
        }
        self.bytes.extend_from_slice(&message.data_body);
        Ok((self.bytes.len() == total).then(|| std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_in_pieces_that_fit_together_or_not_at_all() {
        let piece = |from: u64, total: u64, body: &'static [u8]| {
            let metadata = serde_json::to_vec(&Piece { from, total }).expect("JSON");
            FlightData::new().with_app_metadata(metadata).with_data_body(body)
        };
        let mut coming = Coming::default();
        for _ in 0..2 {
            assert_eq!(coming.take(&piece(0, 3, b"ab")), Ok(None));
            assert_eq!(coming.take(&piece(2, 3, b"c")), Ok(Some(b"abc".to_vec())));
        }
        for (from, total, body) in [(1, 3, &b"a"[..]), (0, 1, b"ab"), (0, u64::MAX, b"a")] {
            assert!(Coming::default().take(&piece(from, total, body)).is_err());
        }
    }

    #[test]
    fn only_a_document_that_was_dealt_with_or_a_long_stream_begins_the_waits_anew() {
        let since = Instant::now();
        let answer = |outcome| Answer { outcome, version: 7, text: "why".into() };
        for (outcome, is_dealt_with, is_well) in [
            (Outcome::Applied, true, true),
            (Outcome::Refused, true, true),
            (Outcome::Refused, false, false),
            (Outcome::Older, false, false),
            (Outcome::Failed, false, false),
        ] {
            let mut open = Open { since, is_well: false };
            let went_on = open.takes(&answer(outcome), is_dealt_with).is_ok();
            assert_eq!((went_on, open.was_well(since)), (is_well, is_well), "{outcome:?}");
            assert!(open.was_well(since + LONGEST_WAIT));
        }
    }
}
