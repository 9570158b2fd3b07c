//! The three pages that every process serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use wattle_process::{Health, serve_http};

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
