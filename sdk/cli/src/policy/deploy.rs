//! `wattle policy deploy`: a policy to an edge node, directly or by the fog node's way down.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::Value;
use wattle_policy_dev::files::{self, read, read_text, unusable};
use wattle_policy_dev::progress::Waiting;
use wattle_policy_host::schema;
use wattle_policy_host::sign::signature_path;
use wattle_wire::document::{Action, Document, Head, LAYOUT, POLICY, PolicyOrder};
use wattle_wire::{EdgeId, SiteId};

use super::token;
use crate::output::{Output, plain};
use crate::{Usage, http};

/// Deploy a policy to a site, directly to its edge node or through the fog node
///
/// The component is checked here first, with its settings against the policy's own schema, and again by the edge node. A signature
/// beside it (`wattle policy sign`) goes with it. Without --shadow and --activate it decides once it has proven itself beside the
/// active version, for as many decisions as the site file's `policy_trial` says. Through the fog node it is kept there until the
/// edge node fetches it, for days if need be; `wattle policy status` tells what has become of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy deploy my-policy.wasm --site depot
  wattle policy deploy my-policy.wasm --site depot --settings mine.json --shadow --edge http://10.0.0.5:7480
  wattle policy deploy my-policy.wasm --site depot --fog http://10.0.0.9:7402 --edge-id edge-1
  wattle policy deploy --rollback --site depot
  wattle policy deploy --rollback=1790000000000000 --site depot --fog http://10.0.0.9:7402 --edge-id edge-1

docs/policies/deploy.md says what a node answers, and what happens then.
Exit codes: 0 applied by the edge node, or kept by the fog node; 1 refused, or no answer; 2 a file, settings or a token
that can't be used.")]
pub struct Args {
    /// The component; none with --rollback
    #[arg(value_name = "FILE.wasm", required_unless_present = "rollback", conflicts_with = "rollback")]
    file: Option<PathBuf>,
    /// The site
    #[arg(long, value_name = "SITE")]
    site: SiteId,
    /// The policy's settings, JSON; those of the site file if it is left out
    #[arg(long, value_name = "FILE.json", conflicts_with = "rollback")]
    settings: Option<PathBuf>,
    /// It decides beside the active one and is never obeyed
    #[arg(long, group = "action")]
    shadow: bool,
    /// It decides at once, without a trial
    #[arg(long, group = "action")]
    activate: bool,
    /// Take back this version; without a number what was deployed last and stands, as the node's status says
    #[arg(long, group = "action", value_name = "VERSION", require_equals = true, num_args = 0..=1)]
    rollback: Option<Option<u64>>,
    /// The edge node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7480", conflicts_with = "fog")]
    edge: String,
    /// The fog node that hands it down, instead of the edge node itself
    #[arg(long, value_name = "URL")]
    fog: Option<String>,
    /// The name of the edge node; where it is left out, the one that has told the fog node that it runs the site
    #[arg(long, value_name = "EDGE")]
    edge_id: Option<EdgeId>,
    /// A file with your token; ~/.config/wattle/token unless given
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for what can't be used; another when the node refuses it, or doesn't answer.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let waiting = Waiting::on("deploying", !args.json);
    let mut document = document(&args)?;
    let token = token::read(args.token.as_deref())?;
    let url = args.fog.as_deref().unwrap_or(&args.edge);
    // Whether the token is known is asked before anything large is sent.
    let (code, about) =
        http::get_as(url, "/documents", &token).await.map_err(|error| no_answer(url, error))?;
    if code != 200 {
        bail!("{url}: {}", why(&about));
    }
    let node = if about["node"]["fog"].is_null() { "edge" } else { "fog" };
    if args.fog.is_some() != (node == "fog") {
        let other = if node == "fog" { "--fog" } else { "--edge" };
        return Err(Usage(format!("{url} is the {node} node; name it with {other}")).into());
    }
    if args.rollback.is_some() {
        let order = document.head.policy.as_mut().expect("it was made with an order");
        order.takes_back = Some(taken_back(&args, url).await?);
    }
    let sent = http::post_as(url, "/documents", &token, document.encode()).await;
    let (code, answer) = sent.map_err(|error| no_answer(url, error))?;
    drop(waiting);
    if !(200..300).contains(&code) {
        if args.json {
            print(&format!("{answer}\n"))?;
        }
        bail!("{url}: {}", why(&answer));
    }
    let text = answer["text"].as_str().unwrap_or_default();
    let told = if args.json {
        format!("{answer}\n")
    } else {
        plain(&format!("version {}: {text}\n", answer["version"]))
    };
    print(&told)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    output.write_all(text.as_bytes())?;
    output.finish()
}

fn no_answer(url: &str, error: anyhow::Error) -> anyhow::Error {
    if error.is::<Usage>() { error } else { error.context(format!("no answer from {url}")) }
}

fn why(answer: &Value) -> String {
    answer["error"].as_str().map_or_else(|| answer.to_string(), str::to_owned)
}

fn document(args: &Args) -> anyhow::Result<Document> {
    let settings = args.settings.as_deref().map(settings).transpose()?;
    let (body, signature) = match &args.file {
        Some(file) => component(file, args.settings.as_deref().zip(settings.as_ref()))?,
        None => Default::default(),
    };
    let action = match (args.shadow, args.activate, args.rollback.is_some()) {
        (true, _, _) => Action::Shadow,
        (_, true, _) => Action::Activate,
        (_, _, true) => Action::Rollback,
        _ => Action::Trial,
    };
    let head = Head {
        document: LAYOUT,
        kind: POLICY.into(),
        edge: args.edge_id.clone(),
        site: args.site.clone(),
        version: 0,
        after: None,
        was: None,
        sent_by: String::new(),
        sha256: wattle_policy_host::sign::sha256(&body),
        policy: Some(PolicyOrder { action, settings, signature, takes_back: None }),
    };
    Ok(Document { head, body })
}

/// The version that is taken back: the one that was named, or the newest that stands, as the node says.
async fn taken_back(args: &Args, url: &str) -> anyhow::Result<u64> {
    if let Some(version) = args.rollback.flatten() {
        return Ok(version);
    }
    let (_, page) = http::get(url, "/status").await.map_err(|error| no_answer(url, error))?;
    let found = match &args.fog {
        Some(_) => handed_down(&page, args),
        None => standing(&page, &args.site),
    };
    found.map_err(|why| anyhow::anyhow!("{url}: {why}"))
}

/// The newest that stands at a site, by an edge node's page.
fn standing(page: &Value, site: &SiteId) -> Result<u64, String> {
    let sites = page["sites"].as_array().into_iter().flatten();
    let of = sites.into_iter().find(|one| one["id"] == site.as_str());
    let of = of.ok_or_else(|| format!("this node has no site {site}"))?;
    let newest = of["deployed"]["standing"].as_array().and_then(|standing| standing.last());
    let newest = newest.and_then(|newest| newest["version"].as_u64());
    newest.ok_or_else(|| "nothing is deployed at this site; its site file's policy decides".to_owned())
}

fn has_dialled_in(document: &Value) -> bool {
    document["has_dialled_in"].as_bool().unwrap_or(true)
}

/// The newest that a fog node keeps for a site and that no rollback takes back, by its page.
fn handed_down(page: &Value, args: &Args) -> Result<u64, String> {
    let documents: Vec<_> = page["documents"].as_array().into_iter().flatten().collect();
    let is_ours = |one: &&&Value| {
        let edge = args.edge_id.as_ref();
        one["site"] == args.site.as_str() && edge.is_none_or(|edge| one["edge"] == edge.as_str())
    };
    let mut ours: Vec<_> = documents.iter().filter(is_ours).collect();
    // A name that was mistyped once is that of no edge that has ever dialled in.
    if args.edge_id.is_none() && ours.iter().any(|one| has_dialled_in(one)) {
        ours.retain(|one| has_dialled_in(one));
    }
    let edges: BTreeSet<_> = ours.iter().filter_map(|one| one["edge"].as_str()).collect();
    if edges.len() > 1 {
        let names = edges.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "documents for a site {} are kept for several edges: {names}; name one with --edge-id",
            args.site
        ));
    }
    let is_taken_back = |version| ours.iter().any(|one| one["takes_back"].as_u64() == Some(version));
    let deployed = ours.iter().filter(|one| one["action"] != Action::Rollback.as_str());
    let versions = deployed.filter_map(|one| one["version"].as_u64());
    versions.filter(|version| !is_taken_back(*version)).max().ok_or_else(|| {
        "it keeps nothing for this site that could be taken back; name the version, --rollback=VERSION, as \
         `wattle policy status` of the edge node or the lake tells it"
            .to_owned()
    })
}

/// The bytes of a component that an edge node would load with these settings, and its signature.
fn component(file: &Path, settings: Option<(&Path, &Value)>) -> anyhow::Result<(Vec<u8>, String)> {
    let bytes = read(file)?;
    let policy = files::load(&files::host()?, file, &bytes)?;
    if let Some((place, settings)) = settings {
        let faults =
            schema::faults(&policy, &settings.to_string()).map_err(|error| unusable(file, &error))?;
        if !faults.is_empty() {
            return Err(unusable(place, &faults.join("; ")).into());
        }
    }
    let signature = signature_path(file);
    let signature = if signature.exists() { read_text(&signature)? } else { String::new() };
    Ok((bytes, signature))
}

fn settings(file: &Path) -> anyhow::Result<Value> {
    let text = read_text(file)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| unusable(file, &error))?;
    if !value.is_object() {
        return Err(unusable(file, &"settings are a JSON object").into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use wattle_process::{Health, HttpHandle, Inbox, Pages, inbox, serve_pages};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    struct Rig {
        folder: tempfile::TempDir,
        _server: HttpHandle,
        url: String,
    }

    /// A node that answers each document with its head, under this code.
    fn rig(node: Value, code: u16) -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "secret\n").expect("written");
        let digest = inbox::token_digest("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        let tokens = [("anna".to_owned(), digest.expect("a digest"))].into();
        let take = move |_, bytes: Vec<u8>| -> inbox::Verdict {
            let head = Document::decode(&bytes).map(|document| document.head);
            let head = head.map_err(|error| error.to_string());
            Box::pin(
                async move { (code, json!({ "version": 7, "text": "done", "error": format!("{head:?}") })) },
            )
        };
        let standing = json!([{ "version": 3 }, { "version": 5 }]);
        let documents = json!([
            { "edge": "e", "site": "depot", "version": 8, "action": "trial" },
            { "edge": "e", "site": "depot", "version": 9, "action": "activate" },
            { "edge": "e", "site": "depot", "version": 10, "action": "rollback", "takes_back": 9 },
            { "edge": "f", "site": "depot", "version": 11, "action": "trial" },
            { "edge": "g", "site": "depot", "version": 12, "action": "rollback", "takes_back": 4 },
            { "edge": "edje", "site": "depot", "version": 13, "action": "trial", "has_dialled_in": false },
            { "edge": "h", "site": "yard", "version": 14, "action": "trial", "has_dialled_in": true },
            { "edge": "hh", "site": "yard", "version": 15, "action": "trial", "has_dialled_in": false },
        ]);
        let page = json!({ "sites": [{ "id": "depot", "deployed": { "standing": standing } }], "documents": documents });
        let pages =
            Pages::new(move || page.clone()).taking(Inbox::new(tokens, 1 << 20, move || node.clone(), take));
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = serve_pages(any, Health::new(), pages).expect("a free port");
        let url = format!("http://{}", server.address());
        Rig { folder, _server: server, url }
    }

    impl Rig {
        async fn says(&self, line: &str) -> Result<(), (bool, String)> {
            let token = self.folder.path().join("token").display().to_string();
            let site = if line.contains("--site") { "" } else { "--site=depot" };
            let words = line.split(' ').chain([site, "--token", &token]).filter(|word| !word.is_empty());
            let args =
                Line::try_parse_from(std::iter::once("deploy").chain(words)).expect("a command line").args;
            run(args).await.map_err(|error| (error.is::<Usage>(), format!("{error:#}")))
        }
    }

    #[tokio::test]
    async fn what_a_node_refuses_is_told_and_what_it_takes_is_well() {
        let node = rig(json!({ "edge": "e" }), 200);
        assert_eq!(node.says(&format!("--rollback --edge {}", node.url)).await, Ok(()));
        let node = rig(json!({ "edge": "e" }), 422);
        let (is_usage, text) =
            node.says(&format!("--rollback --edge {}", node.url)).await.expect_err("refused");
        assert!(!is_usage && text.contains("action: Rollback"), "{text}");
        assert!(text.contains("takes_back: Some(5)"), "the newest that stands: {text}");
        let (_, text) = node.says(&format!("--rollback=3 --edge {}", node.url)).await.expect_err("refused");
        assert!(text.contains("takes_back: Some(3)"), "{text}");
        let (is_usage, text) =
            node.says(&format!("--rollback --fog {}", node.url)).await.expect_err("an edge");
        assert!(is_usage && text.contains("is the edge node; name it with --edge"), "{text}");
        std::fs::write(node.folder.path().join("token"), "other").expect("written");
        let (is_usage, text) =
            node.says(&format!("--rollback --edge {}", node.url)).await.expect_err("unknown");
        assert!(!is_usage && text.contains("the token is nobody's here"), "{text}");
        let (_, text) = node.says("--rollback --edge http://127.0.0.1:1").await.expect_err("nobody there");
        assert!(text.contains("no answer from http://127.0.0.1:1"), "{text}");
    }

    #[tokio::test]
    async fn a_rollback_by_way_of_a_fog_node_names_the_newest_that_is_not_taken_back() {
        let node = rig(json!({ "fog": "1" }), 422);
        for (line, expected) in [
            ("--rollback --edge-id e", "takes_back: Some(8)"),
            ("--rollback=9 --edge-id e", "takes_back: Some(9)"),
            ("--rollback", "kept for several edges: e, f, g; name one with --edge-id"),
            ("--rollback --edge-id edje", "takes_back: Some(13)"),
            ("--rollback --site yard", "takes_back: Some(14)"),
            ("--rollback --edge-id g", "keeps nothing for this site that could be taken back"),
        ] {
            let (_, text) = node.says(&format!("{line} --fog {}", node.url)).await.expect_err(expected);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn what_can_not_be_used_is_told_before_anything_is_sent() {
        let node = rig(json!({ "edge": "e" }), 200);
        let folder = node.folder.path();
        let first_come = crate::policy::built("first-come");
        std::fs::write(folder.join("list.json"), "[]").expect("written");
        std::fs::write(folder.join("wrong.json"), r#"{"slots":0,"mode":1}"#).expect("written");
        std::fs::write(folder.join("half.wasm"), "half").expect("written");
        let first_come = first_come.display();
        let folder = folder.display();
        for (line, expected) in [
            (format!("{first_come} --settings {folder}/list.json"), "settings are a JSON object"),
            (
                format!("{first_come} --settings {folder}/wrong.json"),
                "slots: `0` is not a whole number from 1",
            ),
            (format!("{first_come} --settings {folder}/wrong.json"), "mode: `1` is not one of"),
            (format!("{folder}/half.wasm"), "this is no whole WebAssembly component"),
            (format!("{folder}/none.wasm"), "No such file"),
        ] {
            let (is_usage, text) =
                node.says(&format!("{line} --edge {}", node.url)).await.expect_err(expected);
            assert!(is_usage && text.contains(expected), "{text}");
        }
        assert_eq!(node.says(&format!("{first_come} --activate --edge {}", node.url)).await, Ok(()));
    }
}
