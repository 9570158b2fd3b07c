//! The stream by which an edge fetches its documents, as [`wattle_wire::document`] lays it down.
//!
//! The oldest document that the edge lacks goes down in pieces; then nothing more until the edge has said what it has dealt with.
//! A newer document may replace what waits, not what is under way. One document is in memory per edge that fetches. One that the
//! machine can't read ends the stream; the edge comes again after a pause.

use std::sync::Arc;

use arrow_flight::FlightData;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use wattle_wire::EdgeId;
use wattle_wire::document::{Has, Head, MAX_BYTES, PIECE_BYTES, Piece};

use super::Store;

/// The longest list of what an edge has, bytes.
const MAX_HAS_BYTES: usize = 4 << 20;

/// What an edge says to have dealt with.
///
/// # Errors
/// When it can't be read.
pub fn has_of(message: &FlightData) -> Result<Has, Status> {
    if message.app_metadata.len() > MAX_HAS_BYTES {
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
    mut said: Streaming<FlightData>,
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
                let heard = match has_of(&message) {
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
    let bytes = tokio::task::spawn_blocking(move || from.bytes(&what)).await;
    let bytes = match bytes {
        Ok(Ok(Some(bytes))) => Bytes::from(bytes),
        Ok(Ok(None)) => return Handed::Nothing,
        Ok(Err(error)) => {
            tracing::error!(edge = ?head.edge, site = %head.site, %error, "a document can't be read now");
            return Handed::Later;
        }
        // This node stops.
        Err(_) => return Handed::Later,
    };
    let total = bytes.len().min(MAX_BYTES);
    let mut from = 0;
    while from < total {
        let end = total.min(from + PIECE_BYTES);
        let piece = Piece { from: from as u64, total: total as u64 };
        let metadata = serde_json::to_vec(&piece).expect("numbers can be written");
        let message = FlightData::new().with_app_metadata(metadata).with_data_body(bytes.slice(from..end));
        if down.send(Ok(message)).await.is_err() {
            return Handed::Gone;
        }
        from = end;
    }
    tracing::info!(edge = ?head.edge, site = %head.site, version = head.version, "a document was handed down");
    Handed::Whole
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
