//! The stream by which an edge fetches its documents, as [`wattle_wire::document`] lays it down.
//!
//! The oldest document that the edge lacks goes down in pieces; then nothing more until the edge has said what it has dealt with.
//! A newer document may replace what waits, not what is under way. A document is read as it is sent, so that an edge that fetches
//! costs a few pieces of [`PIECE`] bytes; an edge that takes none for [`PIECE_TAKEN`] loses its stream. A document that the machine can't read
//! ends the stream; the edge comes again after a pause.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use wattle_process::sealed::Sealed;
use wattle_wire::EdgeId;
use wattle_wire::document::{Has, Head, PIECE_BYTES, Piece};

use super::Store;
use crate::sources::receiving::Held;

/// The longest list of what an edge has, bytes.
const MAX_HAS_BYTES: usize = 4 << 20;
/// The bytes of a document in one message.
const PIECE: usize = 256 << 10;
const _: () = assert!(PIECE <= PIECE_BYTES);
/// The longest that an edge takes no piece of its document: a line of 3 KB/s is fast enough.
const PIECE_TAKEN: Duration = Duration::from_secs(120);

/// What an edge says to have dealt with.
///
/// # Errors
/// When it can't be read.
pub fn has_of(message: &FlightData) -> Result<Has, Status> {
    if message.app_metadata.len() + message.data_body.len() > MAX_HAS_BYTES {
        return Err(Status::invalid_argument("what the edge has is too long a list"));
    }
    let unread = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("what the edge has can't be read: {error}"))
    };
    let has: Has = serde_json::from_slice(&message.app_metadata).map_err(|error| unread(&error))?;
    has.check().map_err(|error| unread(&error))?;
    Ok(has)
}

/// Takes what an edge has dealt with.
///
/// # Errors
/// When that is too much to be remembered.
pub async fn hears(store: &Arc<Store>, has: Has) -> Result<(), Status> {
    let store = store.clone();
    let heard = tokio::task::spawn_blocking(move || store.hears(&has)).await;
    let heard = heard.map_err(|_| Status::unavailable("this node stops"))?;
    heard.map_err(|error| Status::resource_exhausted(error.to_string()))
}

/// Hands an edge its documents until it goes or this node stops.
pub async fn hand_down(
    store: Arc<Store>,
    edge: EdgeId,
    (mut said, held): (Streaming<FlightData>, Held),
    down: mpsc::Sender<Result<FlightData, Status>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut changes = store.changes();
    // The version that was handed down last and is not dealt with.
    let mut under_way: Option<Head> = None;
    loop {
        changes.mark_unchanged();
        let lacking = store.lacking(&edge).filter(|_| under_way.is_none());
        if let Some(head) = lacking {
            match hand(&store, &head, &down).await {
                Handed::Whole => under_way = Some(head),
                Handed::Nothing => continue,
                Handed::Gone => return,
                Handed::Later => {
                    // The edge may be gone, which is the same.
                    let _ = down.send(Err(Status::unavailable("a document can't be read now"))).await;
                    return;
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = is_set(&mut stop) => return,
            message = said.message() => {
                let Ok(Some(message)) = message else { return };
                let has = has_of(&message);
                drop(message);
                held.release();
                let heard = match has {
                    Ok(has) if has.edge == edge => hears(&store, has).await,
                    Ok(_) => return,
                    Err(status) => Err(status),
                };
                match heard {
                    Ok(()) => under_way = None,
                    Err(status) => {
                        // The edge may be gone, which is the same.
                        let _ = down.send(Err(status)).await;
                        return;
                    }
                }
            }
        }
    }
}

async fn is_set(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stop.wait_for(|stop| *stop).await);
}

enum Handed {
    Whole,
    /// It is no more.
    Nothing,
    /// The edge is.
    Gone,
    /// The machine can't read it now.
    Later,
}

async fn hand(store: &Arc<Store>, head: &Head, down: &mpsc::Sender<Result<FlightData, Status>>) -> Handed {
    let (from, what) = (store.clone(), head.clone());
    let document = match blocking(move || from.bytes(&what)).await {
        Ok(Some(document)) => document,
        Ok(None) => return Handed::Nothing,
        Err(error) => return later(head, &error),
    };
    let mut pieces = Pieces::of(document);
    loop {
        let read = blocking(move || pieces.next().map(|piece| (piece, pieces))).await;
        let piece;
        (piece, pieces) = match read {
            Ok(read) => read,
            Err(error) => return later(head, &error),
        };
        let Some(piece) = piece else { break };
        match timeout(PIECE_TAKEN, down.send(Ok(piece))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Handed::Gone,
            Err(_) => {
                tracing::warn!(edge = ?head.edge, site = %head.site, "an edge doesn't take its document; its stream is ended");
                return Handed::Gone;
            }
        }
    }
    tracing::info!(edge = ?head.edge, site = %head.site, version = head.version, "a document was handed down");
    Handed::Whole
}

fn later(head: &Head, error: &io::Error) -> Handed {
    tracing::error!(edge = ?head.edge, site = %head.site, %error, "a document can't be read now");
    Handed::Later
}

/// Does what waits for the disk; a node that stops is an error too.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A document as messages of [`PIECE`] bytes.
struct Pieces {
    document: Sealed,
    from: u64,
}

impl Pieces {
    fn of(document: Sealed) -> Self {
        Self { document, from: 0 }
    }

    /// The next one; none behind the last.
    fn next(&mut self) -> io::Result<Option<FlightData>> {
        let total = self.document.length();
        let mut bytes = vec![0; PIECE.min(usize::try_from(total - self.from).unwrap_or(PIECE))];
        if bytes.is_empty() {
            return Ok(None);
        }
        self.document.read_exact(&mut bytes)?;
        let piece = Piece { from: self.from, total };
        self.from += bytes.len() as u64;
        let metadata = serde_json::to_vec(&piece).expect("numbers can be written");
        Ok(Some(FlightData::new().with_app_metadata(metadata).with_data_body(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_edge_can_not_have_dealt_with_is_not_heard() {
        let said = |version: u64| {
            let text =
                format!(r#"{{"edge":"e","has":[{{"site":"s","kind":"policy","version":{version}}}]}}"#);
            has_of(&FlightData::new().with_app_metadata(text)).map_err(|status| status.message().to_owned())
        };
        assert!(said(1 << 62).is_ok());
        assert!(said(u64::MAX).is_err_and(|why| why.contains("is above 4611686018427387904")));
    }
}
