//! Short requests to a node's HTTP port.

use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Usage;

/// How long an answer to a question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a document may take to be sent, looked at and kept.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Asks for a page; the status code and what it says.
///
/// # Errors
/// [`Usage`] for an address that is none; others when nobody answers in time, or with no JSON.
pub async fn get(url: &str, path: &str) -> anyhow::Result<(u16, Value)> {
    ask(url, Method::GET, path, None, Bytes::new(), TIMEOUT).await
}

/// Asks for a page with a token.
///
/// # Errors
/// As [`get`].
pub async fn get_as(url: &str, path: &str, token: &str) -> anyhow::Result<(u16, Value)> {
    ask(url, Method::GET, path, Some(token), Bytes::new(), TIMEOUT).await
}

/// Sends bytes with a token.
///
/// # Errors
/// As [`get`].
pub async fn post_as(url: &str, path: &str, token: &str, body: Vec<u8>) -> anyhow::Result<(u16, Value)> {
    ask(url, Method::POST, path, Some(token), body.into(), LONG_TIMEOUT).await
}

async fn ask(
    url: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Bytes,
    limit: Duration,
) -> anyhow::Result<(u16, Value)> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if authority.contains("://") || !authority.contains(':') {
        return Err(Usage(format!("{url:?} is no address of a node; give http://host:port")).into());
    }
    let mut request = Request::builder().method(method).uri(path).header("host", authority);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(body)).map_err(|_| {
        Usage(
            "the token holds what no token can; give the file that `wattle policy token` has written".into(),
        )
    })?;
    let answer = tokio::time::timeout(limit, fetch(authority, request)).await;
    answer.with_context(|| format!("it took longer than {} s", limit.as_secs()))?
}

async fn fetch(authority: &str, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Value)> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what goes wrong on it is what the request fails with.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    Ok((code, serde_json::from_slice(&body).context("the answer is no JSON")?))
}
