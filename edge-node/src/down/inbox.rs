//! `POST /documents` at an edge.

use serde_json::{Value, json};
use wattle_process::Inbox;
use wattle_process::inbox::Tokens;
use wattle_wire::document::MAX_BYTES;
use wattle_wire::{EdgeId, SiteId};

use super::worker::{Answer, Down, From, Outcome};

/// Takes documents for the worker from whoever has a token.
pub fn inbox(tokens: Tokens, down: Down, edge: EdgeId, sites: Vec<SiteId>) -> Inbox {
    let about = move || json!({ "edge": edge, "sites": sites });
    Inbox::new(tokens, MAX_BYTES, about, move |name, bytes| {
        let down = down.clone();
        Box::pin(async move { told(&down.document(bytes, From::Person(name)).await) })
    })
}

fn told(answer: &Answer) -> (u16, Value) {
    let (code, outcome) = match answer.outcome {
        Outcome::Applied => (200, "applied"),
        Outcome::Refused => (422, "refused"),
        Outcome::Older => (409, "older"),
        Outcome::Failed => (503, "failed"),
    };
    let text = if answer.outcome == Outcome::Applied { "text" } else { "error" };
    (code, json!({ "outcome": outcome, "version": answer.version, text: answer.text }))
}
