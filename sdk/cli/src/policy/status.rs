//! `wattle policy status`: what runs where, since when, and how it does.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::bail;
use arrow::array::{Array as _, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use jiff::Timestamp;
use serde_json::{Value, json};
use wattle_policy_dev::progress::Waiting;
use wattle_wire::SiteId;

use crate::output::{Output, plain};
use crate::source::SourceArgs;
use crate::{Usage, http};

/// The kinds of events that tell of policies.
const KINDS: &str = "'document_applied', 'document_refused', 'policy_active', 'policy_shadow', 'policy_refused', \
    'policy_rolled_back', 'policy_failed'";

/// Tell which policy runs where, since when, and how it does
///
/// Asks an edge node; or a fog node's documents with --fog, or the lake with --at or --lake, which know of edge nodes that are away
/// too. Times are UTC. A decision that failed is one for which the policy gave no plan and another decided.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy status
  wattle policy status --edge http://10.0.0.5:7480 --json
  wattle policy status --fog http://10.0.0.9:7402
  wattle policy status --lake ./lake --site depot

docs/policies/deploy.md says what the states are.
Exit codes: 0 told, 1 no answer, or no such site, 2 an address or a lake that can't be used.")]
pub struct Args {
    /// Only this site
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    /// The edge node
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7480")]
    edge: String,
    /// The fog node whose documents are on their way down
    #[arg(long, value_name = "URL", conflicts_with_all = ["edge", "at", "lake"])]
    fog: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] for an address or a lake that can't be used; others when there is no answer.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let waiting = Waiting::on("asking", !args.json);
    let mut told = if args.source.at.is_some() || args.source.lake.is_some() {
        of_the_lake(&args.source).await?
    } else {
        let url = args.fog.as_deref().unwrap_or(&args.edge);
        let (_, page) = http::get(url, "/status").await.map_err(|error| {
            if error.is::<Usage>() { error } else { error.context(format!("no answer from {url}")) }
        })?;
        let edge = page["edge"].clone();
        let list = if args.fog.is_some() { &page["documents"] } else { &page["sites"] };
        let list = list.as_array().cloned().unwrap_or_default().into_iter();
        list.map(|one| if args.fog.is_some() { one } else { of_a_site(&edge, &one) }).collect()
    };
    drop(waiting);
    if let Some(site) = &args.site {
        told.retain(|one| one["site"] == site.as_str());
        if told.is_empty() {
            bail!("nothing is known of a site {site}");
        }
    }
    let mut output = Output::open(None)?;
    if args.json {
        writeln!(output, "{}", serde_json::to_string_pretty(&told)?)?;
    } else {
        let text: String = match told.is_empty() {
            true if args.fog.is_some() => "this fog node keeps no documents for any edge\n".to_owned(),
            true => "nothing is told of policies at any site\n".to_owned(),
            false => told.iter().map(if args.fog.is_some() { document } else { site }).collect(),
        };
        output.write_all(plain(&text).as_bytes())?;
    }
    output.finish()
}

/// What an edge's page tells of the policies of a site.
fn of_a_site(edge: &Value, page: &Value) -> Value {
    json!({
        "edge": edge,
        "site": page["id"],
        "policies": page["policies"],
        "newest": page["deployed"]["newest"],
        "standing": page["deployed"]["standing"],
    })
}

/// What the events of a lake tell, a value per edge and site.
async fn of_the_lake(source: &SourceArgs) -> anyhow::Result<Vec<Value>> {
    let mut source = source.open().await?;
    let sql = format!(
        "SELECT edge, site, kind, detail, CAST(arrived_at AS BIGINT) AS at FROM events WHERE kind IN ({KINDS}) \
         ORDER BY arrived_at, sequence"
    );
    let mut sites: BTreeMap<(String, String), Told> = BTreeMap::new();
    for batch in source.collect(&sql).await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let (edges, names, kinds, details) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let at = cast(batch.column(4), &DataType::Int64)?;
        for row in 0..batch.num_rows() {
            let get = |array: &arrow::array::ArrayRef| {
                let array = array.as_string::<i32>();
                if array.is_null(row) { String::new() } else { array.value(row).to_owned() }
            };
            let at = at.as_primitive::<Int64Type>().value(row);
            sites.entry((get(&edges), get(&names))).or_default().take(&get(&kinds), &get(&details), at);
        }
    }
    // A decision is a row for each of its chargers.
    let decisions = "SELECT edge, site, policy, count(DISTINCT concat(incarnation, ':', sequence)) AS n, \
                     CAST(max(decided_at) AS BIGINT) AS at FROM decisions WHERE cause <> 'shadow' \
                     GROUP BY edge, site, policy ORDER BY at";
    for batch in source.collect(decisions).await? {
        let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
        let number = |column: usize| cast(batch.column(column), &DataType::Int64);
        let (edges, names, policies, counts, at) = (text(0)?, text(1)?, text(2)?, number(3)?, number(4)?);
        for row in 0..batch.num_rows() {
            let get = |array: &arrow::array::ArrayRef| array.as_string::<i32>().value(row).to_owned();
            let told = sites.entry((get(&edges), get(&names))).or_default();
            told.decisions.push(json!({
                "policy": get(&policies),
                "recorded": counts.as_primitive::<Int64Type>().value(row),
                "last_us": at.as_primitive::<Int64Type>().value(row),
            }));
        }
    }
    Ok(sites.into_iter().map(|((edge, site), told)| told.json(&edge, &site)).collect())
}

/// What the events of a site have told so far.
#[derive(Default)]
struct Told {
    newest: Option<Value>,
    /// What was told last of who is obeyed, of a trial or a shadow, and of what went wrong.
    active: Option<Value>,
    shadow: Option<Value>,
    trouble: Option<Value>,
    failures: u64,
    decisions: Vec<Value>,
}

impl Told {
    fn take(&mut self, kind: &str, detail: &str, at: i64) {
        let line = || Some(json!({ "text": detail, "at_us": at }));
        match kind {
            "document_applied" | "document_refused" => self.document(kind, detail, at),
            "policy_active" => (self.active, self.failures) = (line(), 0),
            "policy_shadow" => self.shadow = line(),
            kind => {
                self.failures += u64::from(kind == "policy_failed");
                self.trouble = line();
            }
        }
    }

    /// A document; what is said again of an older one changes nothing.
    fn document(&mut self, kind: &str, detail: &str, at: i64) {
        let Ok(Value::Object(mut told)) = serde_json::from_str(detail) else { return };
        let version = told.get("version").and_then(Value::as_u64).unwrap_or_default();
        let known = self.newest.as_ref();
        let is_older = known.is_some_and(|known| known["version"].as_u64() > Some(version));
        let outcome = if kind == "document_applied" { "applied" } else { "refused" };
        let is_again = known.is_some_and(|known| known["version"] == version && known["outcome"] == outcome);
        if !is_older && !is_again {
            told.insert("outcome".into(), outcome.into());
            told.insert("at_us".into(), at.into());
            self.newest = Some(Value::Object(told));
        }
    }

    fn json(self, edge: &str, site: &str) -> Value {
        json!({
            "edge": edge,
            "site": site,
            "newest": self.newest,
            "active": self.active,
            "shadow": self.shadow,
            "trouble": self.trouble,
            "failures_told": self.failures,
            "decisions": self.decisions,
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A moment as people read it.
fn when(us: &Value) -> String {
    let at = us.as_i64().and_then(|us| Timestamp::from_microsecond(us).ok());
    at.map_or_else(|| "-".into(), |at| format!("{at:.0}"))
}

fn site(told: &Value) -> String {
    let mut lines = format!("{} at {}\n", text(&told["site"]), text(&told["edge"]));
    for policy in told["policies"].as_array().into_iter().flatten() {
        lines += &format!(
            "  {:<8}{}, since {}, {} decisions{}, {} failed",
            text(&policy["state"]),
            text(&policy["policy"]),
            when(&policy["since_us"]),
            policy["decisions"],
            policy["of"].as_u64().map(|of| format!(" of {of}")).unwrap_or_default(),
            policy["failures"],
        );
        lines += &policy["last_failure"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        lines.push('\n');
    }
    for (name, word) in [("active", "active"), ("shadow", "shadow"), ("trouble", "trouble")] {
        if let Some(line) = told[name].as_object() {
            lines += &format!("  {word:<8}{}, since {}\n", text(&line["text"]), when(&line["at_us"]));
        }
    }
    for decisions in told["decisions"].as_array().into_iter().flatten() {
        lines += &format!(
            "  decided {}: {} decisions recorded, the last at {}\n",
            text(&decisions["policy"]),
            decisions["recorded"],
            when(&decisions["last_us"])
        );
    }
    let newest = &told["newest"];
    if newest.is_object() {
        lines += &format!(
            "  newest  version {}, {} by {}, {} at {}",
            newest["version"],
            text(&newest["action"]),
            text(&newest["sent_by"]),
            text(&newest["outcome"]),
            when(&newest["at_us"])
        );
        let why = text(&newest["reason"]);
        lines += &if why.is_empty() { "\n".to_owned() } else { format!(": {why}\n") };
    }
    for standing in told["standing"].as_array().into_iter().flatten() {
        lines += &format!(
            "  stands  version {}, {} ({}), by {}, {} since {}",
            standing["version"],
            text(&standing["policy"]),
            text(&standing["action"]),
            text(&standing["sent_by"]),
            text(&standing["state"]),
            when(&standing["since_us"])
        );
        let why = text(&standing["reason"]);
        lines += &if why.is_empty() { "\n".to_owned() } else { format!(": {why}\n") };
    }
    lines
}

fn document(told: &Value) -> String {
    format!(
        "{} at {}: version {}, {} by {}: {}\n",
        text(&told["site"]),
        text(&told["edge"]),
        told["version"],
        text(&told["action"]),
        text(&told["sent_by"]),
        text(&told["state"])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_documents_the_newest_is_told_and_what_became_of_it_last() {
        let mut told = Told::default();
        let document = |version: u64| json!({ "version": version, "action": "trial" }).to_string();
        told.take("document_applied", &document(2), 10);
        told.take("policy_active", "b 1 decides", 11);
        told.take("policy_failed", "b 1: it trapped", 12);
        told.take("document_refused", &document(1), 13);
        // Said again at a start.
        told.take("document_applied", &document(2), 14);
        let page = |told: Told| told.json("e", "s");
        let newest = told.newest.clone().expect("told");
        assert_eq!(
            (&newest["version"], &newest["outcome"], &newest["at_us"]),
            (&json!(2), &json!("applied"), &json!(10))
        );
        told.take("document_refused", &document(2), 15);
        told.take("document_refused", "no JSON", 16);
        let page = page(told);
        assert_eq!((&page["newest"]["outcome"], &page["failures_told"]), (&json!("refused"), &json!(1)));
        assert!(
            site(&page).contains("trouble b 1: it trapped, since 1970-01-01T00:00:00Z"),
            "{}",
            site(&page)
        );
    }

    #[test]
    fn what_an_edge_tells_is_a_line_for_each_policy() {
        let policies = json!([{ "state": "trial", "policy": "b 1", "since_us": null, "decisions": 3, "of": 60, "failures": 0 }]);
        let told = of_a_site(&json!("e"), &json!({ "id": "s", "policies": policies }));
        assert_eq!(site(&told), "s at e\n  trial   b 1, since -, 3 decisions of 60, 0 failed\n");
        let standing = json!([{ "version": 7, "policy": "b 1", "action": "trial", "sent_by": "anna", "state": "not loaded", "reason": "why" }]);
        let told = of_a_site(&json!("e"), &json!({ "id": "s", "deployed": { "standing": standing } }));
        let line = "  stands  version 7, b 1 (trial), by anna, not loaded since -: why\n";
        assert_eq!(site(&told), format!("s at e\n{line}"));
    }
}
