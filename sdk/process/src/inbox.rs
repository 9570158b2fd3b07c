//! `/documents`: what a person sends a node (`POST`), with a token that says who it is; `GET` looks whether it would be taken.
//!
//! Off unless the configuration names somebody. A token is a secret text; the configuration holds its SHA-256, and what is compared is
//! the SHA-256 of what was shown, each byte of it whatever the first ones say. The token is looked at before anything of the body
//! is read. Its bytes are bounded; one document of more than [`SHORT_BYTES`] at a time is taken, and [`MOST_AT_ONCE`] of any length, so that a
//! rollback gets in beside a component that comes slowly. One of which nothing comes for [`STALLED`], or that isn't whole after [`LONGEST`],
//! loses its place. It stands in the clear in the request, so the port belongs
//! on 127.0.0.1, into a network of its own, or behind a tunnel.

use std::collections::BTreeMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

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
    /// The places of documents of any length.
    any: Arc<Semaphore>,
    /// The place of a long one.
    long: Arc<Semaphore>,
    stalled: Duration,
}

/// The most documents that come at once.
const MOST_AT_ONCE: usize = 16;
/// Up to so many bytes a document waits for no other: a rollback is a head alone.
const SHORT_BYTES: usize = 256 << 10;
/// The longest that nothing of a document comes.
const STALLED: Duration = Duration::from_secs(30);
/// The longest that a document may take to come.
const LONGEST: Duration = Duration::from_secs(900);

impl Inbox {
    /// One that gives `take` the name of who has sent something, and its bytes, at most so many; `about` says what the node is.
    pub fn new(
        tokens: Tokens,
        most_bytes: usize,
        about: impl Fn() -> Value + Send + Sync + 'static,
        take: impl Fn(String, Vec<u8>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            tokens: Arc::new(tokens),
            most_bytes,
            about: Arc::new(about),
            take: Arc::new(take),
            any: places(MOST_AT_ONCE),
            long: places(1),
            stalled: STALLED,
        }
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
    payload: web::Payload,
) -> Result<(u16, Value), Refusal> {
    let (inbox, name) = sender(inbox, request)?;
    let coming = timeout(LONGEST, inbox.receive(payload)).await;
    let (bytes, _places) = coming
        .unwrap_or_else(|_| no(408, &format!("the document was not whole after {} s", LONGEST.as_secs())))?;
    Ok((inbox.take)(name, bytes).await)
}

impl Inbox {
    /// A document, and the places that it holds until it is taken.
    async fn receive<E>(
        &self,
        mut payload: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(Vec<u8>, [Option<SemaphorePermit<'_>>; 2]), Refusal> {
        let Ok(any) = self.any.try_acquire() else {
            return no(503, "too many documents are being taken; send it again");
        };
        let mut long = None;
        let mut bytes = Vec::new();
        loop {
            let Ok(part) = timeout(self.stalled, payload.next()).await else {
                return no(
                    408,
                    &format!("nothing of the document came for {:?}; send it again", self.stalled),
                );
            };
            let Some(part) = part else { break };
            let Ok(part) = part else { return no(400, "the document did not come whole") };
            let length = bytes.len() + part.len();
            if length > self.most_bytes {
                return no(413, &format!("the document is larger than {} bytes", self.most_bytes));
            }
            if length > SHORT_BYTES && long.is_none() {
                long = self.long.try_acquire().ok();
                if long.is_none() {
                    return no(503, "another document is being taken; send it again");
                }
            }
            bytes.extend_from_slice(&part);
        }
        Ok((bytes, [Some(any), long]))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::channel::mpsc::{Sender, channel};

    use super::*;

    fn inbox(most_bytes: usize) -> Inbox {
        Inbox::new(Tokens::new(), most_bytes, || Value::Null, |_, _| Box::pin(async { (200, Value::Null) }))
    }

    type Parts = Sender<Result<Bytes, ()>>;

    /// A document of which so many bytes have come, and what is to come.
    fn coming(bytes: usize) -> (Parts, impl Stream<Item = Result<Bytes, ()>> + Unpin) {
        let (mut parts, payload) = channel(4);
        parts.try_send(Ok(vec![1; bytes].into())).expect("it is read");
        (parts, payload)
    }

    #[tokio::test]
    async fn a_long_document_that_stops_coming_holds_up_no_short_one_and_loses_its_place() {
        let inbox = Inbox { stalled: Duration::from_millis(50), ..inbox(1 << 20) };
        let (_parts, payload) = coming(SHORT_BYTES + 1);
        let mut stalled = Box::pin(inbox.receive(payload));
        assert!(stalled.as_mut().now_or_never().is_none(), "the rest is to come");
        let long = || inbox.receive(futures::stream::iter([Ok::<_, ()>(vec![1; SHORT_BYTES + 1].into())]));
        assert_eq!(long().await.expect_err("one at a time").0, 503);
        let short = inbox.receive(futures::stream::iter([Ok::<_, ()>(vec![1; SHORT_BYTES].into())]));
        assert_eq!(short.await.expect("beside it").0.len(), SHORT_BYTES);
        let (code, why) = stalled.await.expect_err("it stops");
        assert!(code == 408 && why.contains("came for 50ms"), "{why}");
        assert_eq!(long().await.expect("there is room again").0.len(), SHORT_BYTES + 1);
    }

    #[tokio::test]
    async fn so_many_documents_come_at_once_and_none_is_larger_than_allowed_or_half() {
        let inbox = inbox(100);
        let open: Vec<_> = (0..MOST_AT_ONCE).map(|_| coming(1)).collect();
        let (mut parts, payloads): (Vec<_>, Vec<_>) = open.into_iter().unzip();
        let mut waiting: Vec<_> =
            payloads.into_iter().map(|payload| Box::pin(inbox.receive(payload))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        let next = || inbox.receive(futures::stream::iter([Ok::<_, ()>(vec![1; 100].into())]));
        assert_eq!(next().await.expect_err("too many").0, 503);
        parts[0].try_send(Ok(vec![1; 100].into())).expect("it is read");
        parts[1].try_send(Err(())).expect("it is read");
        let ends = [waiting.remove(0).await, waiting.remove(0).await];
        assert_eq!(ends.map(|end| end.expect_err("refused").0), [413, 400]);
        assert_eq!(next().await.expect("there is room").0.len(), 100);
    }

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
