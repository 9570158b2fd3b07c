//! The three pages that every process serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use wattle_process::{Health, Inbox, Pages, inbox, serve_http, serve_pages};

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_pages_answer_and_health_follows_the_faults() {
    let health = Health::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let http = serve_http(address, health.clone(), || json!({"depth": 7})).expect("a free port");
    metrics::counter!("wattle_test_total").increment(3);
    let address = http.address();
    let page = move |path: &'static str| async move {
        tokio::task::spawn_blocking(move || get(address, path)).await.expect("no panic").expect("answers")
    };
    assert!(page("/healthz").await.starts_with("HTTP/1.1 200"));
    health.fail("journal", "disk full");
    let sick = page("/healthz").await;
    assert!(sick.starts_with("HTTP/1.1 503") && sick.contains("disk full"), "{sick}");
    health.clear("journal");
    assert!(page("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(page("/metrics").await.contains("wattle_test_total 3"));
    assert!(page("/status").await.ends_with(r#"{"depth":7}"#));
    http.stop().await;
}

fn send(address: SocketAddr, method: &str, headers: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} /documents HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_taken_from_whose_token_is_known_and_from_nobody_else() {
    // SHA-256 of "secret".
    let digest = inbox::token_digest("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
    let tokens = [("anna".to_owned(), digest.expect("a digest"))].into();
    let take = |name: String, bytes: Vec<u8>| -> inbox::Verdict {
        Box::pin(async move { (422, json!({"from": name, "bytes": bytes.len()})) })
    };
    let open = Pages::new(|| json!({})).taking(Inbox::new(tokens, 10, || json!({"edge": "e"}), take));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (open, shut) = (
        serve_pages(any, Health::new(), open).expect("a free port"),
        serve_pages(any, Health::new(), Pages::new(|| json!({}))).expect("a free port"),
    );
    let check = |at: SocketAddr, method: &'static str, token: &str, body: &'static str| {
        let token = format!("Authorization: {token}\r\n");
        let sent = tokio::task::spawn_blocking(move || send(at, method, &token, body));
        async { sent.await.expect("no panic").expect("an answer") }
    };
    for (at, method, token, body, expected) in [
        (open.address(), "POST", "Bearer secret", "document", r#"{"bytes":8,"from":"anna"}"#),
        (open.address(), "GET", "Bearer secret", "", r#"{"node":{"edge":"e"},"sender":"anna"}"#),
        (open.address(), "POST", "Bearer Secret", "document", "the token is nobody's here"),
        (open.address(), "GET", "Bearer ", "", "there is no token"),
        (open.address(), "POST", "secret", "document", "there is no token"),
        (open.address(), "POST", "Bearer secret", "a long document", "larger than 10 bytes"),
        (shut.address(), "POST", "Bearer secret", "document", "this node takes no documents"),
    ] {
        let answer = check(at, method, token, body).await;
        assert!(answer.contains(expected), "{method} {token}: {answer}");
    }
    assert!(check(open.address(), "POST", "Bearer secret", "document").await.starts_with("HTTP/1.1 422"));
    assert!(check(open.address(), "POST", "Bearer x", "document").await.starts_with("HTTP/1.1 401"));
    assert!(check(shut.address(), "POST", "Bearer x", "document").await.starts_with("HTTP/1.1 403"));
}
