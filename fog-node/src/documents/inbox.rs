//! `POST /documents` at a fog node.

use std::sync::Arc;

use serde_json::{Value, json};
use wattle_process::Inbox;
use wattle_process::inbox::Tokens;
use wattle_wire::document::{Document, MAX_BYTES};

use super::Store;
use super::store::{Kept, StoreError};

/// Keeps documents from whoever has a token.
pub fn inbox(tokens: Tokens, store: Arc<Store>) -> Inbox {
    let about = || json!({ "fog": env!("CARGO_PKG_VERSION") });
    Inbox::new(tokens, MAX_BYTES, about, move |name, bytes| {
        let store = store.clone();
        Box::pin(async move {
            let kept = tokio::task::spawn_blocking(move || keep(&store, &name, &bytes)).await;
            kept.unwrap_or_else(|_| {
                (503, json!({ "outcome": "failed", "error": "this node stops; send it again" }))
            })
        })
    })
}

fn keep(store: &Store, name: &str, bytes: &[u8]) -> (u16, Value) {
    let no = |code, outcome: &str, why: String| (code, json!({ "outcome": outcome, "error": why }));
    let document = match Document::decode(bytes) {
        Ok(document) => document,
        Err(error) => return no(422, "refused", error.to_string()),
    };
    match store.keep(document, name) {
        Ok(Kept { head, replaced, has_dialled_in }) => {
            let edge = head.edge.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(edge, site = %head.site, version = head.version, by = name, "a document is kept");
            let mut text = format!("kept for the edge {edge}, which fetches it when it dials in");
            if !has_dialled_in {
                text += "; no edge of that name has ever dialled in here, so look whether the name is right";
            }
            if let Some(version) = replaced {
                text += &format!("; it takes the place of version {version}, which the edge had not fetched");
            }
            (
                202,
                json!({ "outcome": "kept", "version": head.version, "edge": edge, "replaced": replaced, "has_dialled_in": has_dialled_in, "text": text }),
            )
        }
        Err(error @ StoreError::Io(_)) => {
            tracing::error!(%error, "a document can't be kept");
            no(503, "failed", error.to_string())
        }
        Err(error) => no(422, "refused", error.to_string()),
    }
}
