//! `/documents`: what a person sends a node (`POST`), with a token that says who it is; `GET` looks whether it would be taken.
//!
//! Off unless the configuration names somebody. A token is a secret text; the configuration holds its SHA-256, and what is compared is
//! the SHA-256 of what was shown, each byte of it whatever the first ones say. The token is looked at before anything of the body
//! is read. One document at a time is taken; its bytes are bounded. It stands in the clear in the request, so the port belongs
//! on 127.0.0.1, into a network of its own, or behind a tunnel.

use std::collections::BTreeMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Who may send, each with the SHA-256 of its token.
pub type Tokens = BTreeMap<String, [u8; 32]>;
/// What becomes of a document: a status code and what the sender is told, JSON.
pub type Verdict = Pin<Box<dyn Future<Output = (u16, Value)>>>;

/// Takes documents.
#[derive(Clone)]
pub struct Inbox {
    tokens: Arc<Tokens>,
    most_bytes: usize,
    about: Arc<dyn Fn() -> Value + Send + Sync>,
    take: Arc<dyn Fn(String, Vec<u8>) -> Verdict + Send + Sync>,
    one: Arc<Semaphore>,
}

impl Inbox {
    /// One that gives `take` the name of who has sent something, and its bytes, at most so many; `about` says what the node is.
    pub fn new(
        tokens: Tokens,
        most_bytes: usize,
        about: impl Fn() -> Value + Send + Sync + 'static,
        take: impl Fn(String, Vec<u8>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let one = Arc::new(Semaphore::new(1));
        Self { tokens: Arc::new(tokens), most_bytes, about: Arc::new(about), take: Arc::new(take), one }
    }

    /// Whose token this is.
    fn who(&self, token: &str) -> Option<&str> {
        let shown: [u8; 32] = Sha256::digest(token).into();
        let is_same = |known: &[u8; 32]| {
            let differing = known.iter().zip(&shown).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
            differing == 0
        };
        // Each one is looked at, whoever was found.
        self.tokens.iter().fold(
            None,
            |found, (name, known)| {
                if is_same(known) { Some(name.as_str()) } else { found }
            },
        )
    }
}

/// Reads a token's SHA-256 as a configuration holds it.
///
/// # Errors
/// What is allowed.
pub fn token_digest(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "give the SHA-256 of a token, 64 hexadecimal digits; `wattle policy token` makes one";
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(WRONG);
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| WRONG)?;
    }
    Ok(digest)
}

type Refusal = (u16, String);

fn no<T>(code: u16, why: &str) -> Result<T, Refusal> {
    Err((code, why.to_owned()))
}

/// Whose token a request shows.
fn sender<'a>(inbox: Option<&'a Inbox>, request: &HttpRequest) -> Result<(&'a Inbox, String), Refusal> {
    let Some(inbox) = inbox.filter(|inbox| !inbox.tokens.is_empty()) else {
        return no(
            403,
            "this node takes no documents; name who may send some under [deploy.tokens] of its configuration",
        );
    };
    let header = request.headers().get("authorization").and_then(|header| header.to_str().ok());
    let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
        return no(401, "there is no token; send `Authorization: Bearer <token>`");
    };
    match inbox.who(token.trim()) {
        Some(name) => Ok((inbox, name.to_owned())),
        None => {
            let from = request.peer_addr().map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(from, "somebody has sent a document with a token that is nobody's");
            no(
                401,
                "the token is nobody's here; its SHA-256 has to stand under [deploy.tokens] of the node's configuration",
            )
        }
    }
}

pub(crate) async fn get(inbox: web::Data<Option<Inbox>>, request: HttpRequest) -> HttpResponse {
    match sender(inbox.as_ref().as_ref(), &request) {
        Ok((inbox, name)) => HttpResponse::Ok().json(json!({ "sender": name, "node": (inbox.about)() })),
        Err(refusal) => refused(refusal),
    }
}

pub(crate) async fn post(
    inbox: web::Data<Option<Inbox>>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    match taken(inbox.as_ref().as_ref(), &request, payload).await {
        Ok((code, answer)) => HttpResponse::build(status(code)).json(answer),
        Err(refusal) => refused(refusal),
    }
}

/// What was refused before it was read ends the connection, so that nobody has to take the rest of it.
fn refused((code, why): Refusal) -> HttpResponse {
    HttpResponse::build(status(code)).force_close().json(json!({ "error": why }))
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn taken(
    inbox: Option<&Inbox>,
    request: &HttpRequest,
    mut payload: web::Payload,
) -> Result<(u16, Value), Refusal> {
    let (inbox, name) = sender(inbox, request)?;
    let Ok(_one) = inbox.one.try_acquire() else {
        return no(503, "another document is being taken; send it again");
    };
    let mut bytes = Vec::new();
    while let Some(part) = payload.next().await {
        let Ok(part) = part else { return no(400, "the document did not come whole") };
        if bytes.len() + part.len() > inbox.most_bytes {
            return no(413, &format!("the document is larger than {} bytes", inbox.most_bytes));
        }
        bytes.extend_from_slice(&part);
    }
    Ok((inbox.take)(name, bytes).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_and_nothing_else_is() {
        let digest = |text: &str| <[u8; 32]>::from(Sha256::digest(text));
        let tokens = [("anna".to_owned(), digest("a")), ("ben".to_owned(), digest("b"))].into();
        let inbox = Inbox::new(tokens, 1, || Value::Null, |_, _| Box::pin(async { (200, Value::Null) }));
        assert_eq!((inbox.who("a"), inbox.who("b")), (Some("anna"), Some("ben")));
        for wrong in ["", "c", "a ", &crate::sealed::hex(&digest("a"))] {
            assert_eq!(inbox.who(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let right = crate::sealed::hex(&Sha256::digest("a"));
        assert_eq!(token_digest(&right), Ok(Sha256::digest("a").into()));
        for wrong in ["", "secret", &right[1..], &format!("{right}0"), &right.replace(&right[..1], "g")] {
            assert!(token_digest(wrong).is_err(), "{wrong}");
        }
        assert!(token_digest(&"é".repeat(32)).is_err());
    }
}
