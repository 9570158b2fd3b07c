//! `wattle status`: how the nodes of this machine, or of others, are.

use std::io::Write as _;

use anyhow::bail;
use serde_json::{Value, json};
use wattle_policy_dev::paint::Paint;

use crate::Usage;
use crate::http::get;
use crate::output::Output;

/// Show how the edge node and the fog node are
///
/// Asks /healthz and /status of both. Fails when one doesn't answer or isn't healthy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle status
  wattle status --edge http://10.0.0.5:7480 --fog http://10.0.0.9:7402
  wattle status --json

docs/edge.md and docs/fog.md say what each line is, with units.
Exit codes: 0 both are healthy, 1 one isn't or doesn't answer, 2 an address that can't be used.")]
pub struct Args {
    /// The edge node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7480")]
    edge: String,
    /// The fog node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7402")]
    fog: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a node doesn't answer or isn't healthy; what they say is printed before.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    let (mut all_well, mut nodes) = (true, Vec::new());
    for (name, url) in [("edge", &args.edge), ("fog", &args.fog)] {
        let node = node(url).await;
        if let Err(error) = &node
            && error.is::<Usage>()
        {
            return Err(Usage(error.to_string()).into());
        }
        all_well &= node.as_ref().is_ok_and(|node| node.well);
        if args.json {
            nodes.push(as_json(name, url, &node));
        } else {
            output.write_all(as_text(name, url, &node).as_bytes())?;
        }
    }
    if args.json {
        writeln!(output, "{}", json!({ "healthy": all_well, "nodes": nodes }))?;
    }
    output.finish()?;
    if all_well { Ok(()) } else { bail!("not all is well") }
}

/// What a node says.
struct Node {
    well: bool,
    health: Value,
    status: Value,
}

fn as_text(name: &str, url: &str, node: &anyhow::Result<Node>) -> String {
    match node {
        Ok(node) => format!("{name} at {url}: {}\n{}", word(node.well), node.lines()),
        Err(error) => format!(
            "{name} at {url}: {} ({error:#}); is wattle-{name} running?\n",
            Paint::Bad.text("no answer")
        ),
    }
}

fn as_json(name: &str, url: &str, node: &anyhow::Result<Node>) -> Value {
    match node {
        Ok(Node { well, health, status }) => {
            json!({ "node": name, "url": url, "healthy": well, "faults": health["faults"], "status": status })
        }
        Err(error) => json!({ "node": name, "url": url, "healthy": false, "error": format!("{error:#}") }),
    }
}

fn word(well: bool) -> String {
    if well { Paint::Good.text("healthy") } else { Paint::Bad.text("not healthy") }
}

async fn node(url: &str) -> anyhow::Result<Node> {
    let (code, health) = get(url, "/healthz").await?;
    let (_, status) = get(url, "/status").await?;
    Ok(Node { well: code == 200, health, status })
}

impl Node {
    /// What it says of itself, a line each.
    fn lines(&self) -> String {
        let mut lines = String::new();
        if let Some(faults) = self.health.get("faults") {
            flatten("fault", faults, &mut lines);
        }
        flatten("", &self.status, &mut lines);
        lines
    }
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

#[cfg(test)]
mod tests {
    use wattle_process::{Health, HttpHandle, serve_http};

    use super::*;

    #[tokio::test]
    async fn a_healthy_node_is_shown_with_what_it_says_of_itself() {
        let (_server, url) =
            serve(Health::default(), json!({"journal": {"bytes": 5, "oldest": null}, "up": true}));
        let node = node(&url).await.expect("an answer");
        assert!(node.well);
        assert_eq!(node.lines(), "  journal.bytes: 5\n  journal.oldest: -\n  up: true\n");
    }

    #[tokio::test]
    async fn a_node_that_is_not_healthy_says_why() {
        let health = Health::default();
        health.fail("lake", "the disk is full");
        let (_server, url) = serve(health, json!([]));
        let node = node(&url).await.expect("an answer");
        assert!(!node.well);
        let json = as_json("fog", &url, &Ok(Node { status: json!({}), ..node }));
        assert_eq!((&json["healthy"], &json["faults"]["lake"]), (&json!(false), &json!("the disk is full")));
        let node = super::node(&url).await.expect("an answer");
        assert_eq!(node.lines(), "  fault.lake: the disk is full\n");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_a_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        assert!(format!("{:#}", node(&url).await.err().expect("nobody listens")).contains("refused"));
        assert!(node("no url").await.is_err());
        let args = Args { edge: url.clone(), fog: url, json: false };
        assert_eq!(run(args).await.expect_err("nobody listens").to_string(), "not all is well");
    }

    fn serve(health: Health, status: Value) -> (HttpHandle, String) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = serve_http(any, health, move || status.clone()).expect("a free port");
        let url = format!("http://{}", server.address());
        (server, url)
    }
}
