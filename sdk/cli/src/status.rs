//! `wattle status`: how the nodes of this machine, or of others, are.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::output::Output;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Show how the edge node and the fog node are
///
/// Asks /healthz and /status of both. Fails when one doesn't answer or isn't healthy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle status
  wattle status --edge http://10.0.0.5:7480 --fog http://10.0.0.9:7402")]
pub struct Args {
    /// The edge node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7480")]
    edge: String,
    /// The fog node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7402")]
    fog: String,
}

/// Runs the command.
///
/// # Errors
/// When a node doesn't answer or isn't healthy; what they say is printed before.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    let mut all_well = true;
    for (name, url) in [("edge", &args.edge), ("fog", &args.fog)] {
        let (text, well) = match node(url).await {
            Ok((well, facts)) => (format!("{name} at {url}: {}\n{facts}", word(well)), well),
            Err(error) => {
                (format!("{name} at {url}: no answer ({error:#}); is wattle-{name} running?\n"), false)
            }
        };
        output.write_all(text.as_bytes())?;
        all_well &= well;
    }
    output.finish()?;
    if all_well { Ok(()) } else { bail!("not all is well") }
}

fn word(well: bool) -> &'static str {
    if well { "healthy" } else { "not healthy" }
}

/// Whether a node is healthy, and what it says of itself, a line each.
async fn node(url: &str) -> anyhow::Result<(bool, String)> {
    let (code, health) = get(url, "/healthz").await?;
    let (_, status) = get(url, "/status").await?;
    let mut lines = String::new();
    if let Some(faults) = health.get("faults") {
        flatten("fault", faults, &mut lines);
    }
    flatten("", &status, &mut lines);
    Ok((code == 200, lines))
}

/// Each leaf of a JSON value as a line: its path with dots, and what it is.
fn flatten(path: &str, value: &Value, lines: &mut String) {
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&join(key), value, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| flatten(&join(&i.to_string()), value, lines));
        }
        Value::String(text) => lines.push_str(&format!("  {path}: {text}\n")),
        Value::Null => lines.push_str(&format!("  {path}: -\n")),
        other => lines.push_str(&format!("  {path}: {other}\n")),
    }
}

async fn get(url: &str, path: &str) -> anyhow::Result<(u16, Value)> {
    tokio::time::timeout(TIMEOUT, fetch(url, path)).await.context("it took longer than 5 s")?
}

async fn fetch(url: &str, path: &str) -> anyhow::Result<(u16, Value)> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what goes wrong on it is what the request fails with.
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    Ok((code, serde_json::from_slice(&body).context("the answer is no JSON")?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wattle_process::{Health, HttpHandle, serve_http};

    use super::*;

    #[tokio::test]
    async fn a_healthy_node_is_shown_with_what_it_says_of_itself() {
        let (_server, url) =
            serve(Health::default(), json!({"journal": {"bytes": 5, "oldest": null}, "up": true}));
        let (well, lines) = node(&url).await.expect("an answer");
        assert!(well);
        assert_eq!(lines, "  journal.bytes: 5\n  journal.oldest: -\n  up: true\n");
    }

    #[tokio::test]
    async fn a_node_that_is_not_healthy_says_why() {
        let health = Health::default();
        health.fail("lake", "the disk is full");
        let (_server, url) = serve(health, json!([]));
        let (well, lines) = node(&url).await.expect("an answer");
        assert!(!well);
        assert_eq!(lines, "  fault.lake: the disk is full\n");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_a_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        assert!(format!("{:#}", node(&url).await.expect_err("nobody listens")).contains("refused"));
        assert!(node("no url").await.is_err());
        let args = Args { edge: url.clone(), fog: url };
        assert_eq!(run(args).await.expect_err("nobody listens").to_string(), "not all is well");
    }

    fn serve(health: Health, status: Value) -> (HttpHandle, String) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = serve_http(any, health, move || status.clone()).expect("a free port");
        let url = format!("http://{}", server.address());
        (server, url)
    }
}
