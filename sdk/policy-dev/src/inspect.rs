//! `wattle policy inspect`: what a component says of itself, checked as an edge node would.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use wasmparser::{ComponentExternalKind, Parser, Payload};
use wattle_policy_host::Policy;
use wattle_policy_host::sign;

use crate::progress::Waiting;
use crate::{Usage, files};

/// Check a component as an edge node would, and print what it says of itself
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy inspect target/policies/fair-share.wasm
  wattle policy inspect my-policy.wasm --json

Exit codes: 0 it would be loaded, 2 it would not, with the reason.")]
pub struct Args {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Facts {
    name: String,
    version: String,
    interface: String,
    size_bytes: usize,
    code_bytes: usize,
    data_bytes: usize,
    custom_bytes: usize,
    sha256: String,
    imports: Vec<String>,
    needs: Vec<String>,
    /// 0 for the host's default.
    memory_bytes: u64,
    /// 0 for the host's default.
    fuel: u64,
    /// The key by whose signature it is accompanied; `wattle policy verify` checks it.
    signed_by: Option<String>,
    settings_schema: Value,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] when the file can't be read, or no edge node would load it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = files::read(&args.file)?;
    let waiting = Waiting::on("compiling", !args.json);
    let policy = files::load(&files::host()?, &args.file, &bytes)?;
    drop(waiting);
    let facts = facts(&args.file, &bytes, &policy)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&facts)?);
    } else {
        print!("{}", table(&facts));
    }
    Ok(())
}

fn facts(file: &Path, bytes: &[u8], policy: &Policy) -> Result<Facts, Usage> {
    let description = policy.description();
    let sizes = Sizes::of(bytes).map_err(|error| files::unusable(file, &error))?;
    let signed_by = sign::signed_by(file).map_err(|error| Usage(error.to_string()))?;
    let schema = description.settings_schema.as_str();
    Ok(Facts {
        name: description.name.clone(),
        version: description.version.clone(),
        interface: format!("wattle:load-policy {}", sizes.stamp),
        size_bytes: bytes.len(),
        code_bytes: sizes.code,
        data_bytes: sizes.data,
        custom_bytes: sizes.custom,
        sha256: files::digest(policy),
        imports: sizes.imports,
        needs: description.needs.iter().map(|need| format!("{need:?}")).collect(),
        memory_bytes: description.memory_bytes,
        fuel: description.fuel,
        signed_by: signed_by.map(|key| key.to_string()),
        settings_schema: serde_json::from_str(schema).unwrap_or_else(|_| schema.into()),
    })
}

/// What a component's bytes are.
#[derive(Debug, Default)]
struct Sizes {
    code: usize,
    data: usize,
    custom: usize,
    stamp: String,
    imports: Vec<String>,
}

impl Sizes {
    fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        let (mut sizes, mut depth) = (Self::default(), 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::CodeSectionStart { range, .. } => sizes.code += range.len(),
                Payload::DataSection(section) => sizes.data += section.range().len(),
                Payload::CustomSection(section) => {
                    sizes.custom += section.range().len();
                    if depth == 1 && section.name() == wattle_policy_build::STAMP_SECTION {
                        sizes.stamp = String::from_utf8_lossy(section.data()).into_owned();
                    }
                }
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import?;
                        if import.ty.kind() != ComponentExternalKind::Type {
                            sizes.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(sizes)
    }
}

fn table(facts: &Facts) -> String {
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let kilobytes = |bytes: usize| format!("{:.1} KB", bytes as f64 / 1000.0);
    let fuel = if facts.fuel == 0 { "the default".into() } else { facts.fuel.to_string() };
    let memory = match facts.memory_bytes {
        0 => "the default".into(),
        bytes => format!("{} MiB", bytes.div_ceil(1 << 20)),
    };
    let (code, data, custom) =
        (kilobytes(facts.code_bytes), kilobytes(facts.data_bytes), kilobytes(facts.custom_bytes));
    let rows = [
        ("name", facts.name.clone()),
        ("version", facts.version.clone()),
        ("interface", facts.interface.clone()),
        (
            "size",
            format!("{} (code {code}, data {data}, names and notes {custom})", kilobytes(facts.size_bytes)),
        ),
        ("sha256", facts.sha256.clone()),
        (
            "signed by",
            facts
                .signed_by
                .clone()
                .map_or("nobody".into(), |key| format!("{key} (not checked: wattle policy verify)")),
        ),
        ("imports", or(facts.imports.join(", "), "nothing")),
        ("needs", or(facts.needs.join(", "), "nothing")),
        ("memory", memory),
        ("fuel", fuel),
        ("settings", or(settings(&facts.settings_schema).join("\n          "), "none")),
    ];
    rows.into_iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect()
}

/// A line for each setting of a schema: what it may be, what it is unless given, and what it is for.
fn settings(schema: &Value) -> Vec<String> {
    let line = |(name, one): (&String, &Value)| {
        let kind = one["enum"].as_array().map_or_else(
            || one["type"].as_str().unwrap_or("any value").to_owned(),
            |all| format!("one of {}", all.iter().map(plain).collect::<Vec<_>>().join(", ")),
        );
        let bound = |word: &str, bound: &Value| match bound {
            Value::Null => String::new(),
            bound => format!(" {word} {}", plain(bound)),
        };
        let (least, most) = (bound("from", &one["minimum"]), bound("to", &one["maximum"]));
        let given =
            one.get("default").map_or(String::new(), |value| format!(", {} unless given", plain(value)));
        let about = one["description"].as_str().map_or(String::new(), |about| format!(": {about}"));
        format!("{name}: {kind}{least}{most}{given}{about}")
    };
    schema["properties"].as_object().into_iter().flatten().map(line).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_setting_is_a_line_that_says_what_it_may_be() {
        let schema = json!({ "type": "object", "properties": {
            "keep_ma": { "type": "integer", "minimum": 0, "maximum": 10, "default": 0, "description": "what stays unused" },
            "mode": { "enum": ["slots", "reserve"], "default": "slots" },
            "name": {},
        }});
        let expected = [
            "keep_ma: integer from 0 to 10, 0 unless given: what stays unused",
            "mode: one of slots, reserve, slots unless given",
            "name: any value",
        ];
        assert_eq!(settings(&schema), expected);
        for none in [json!({}), json!("no schema"), json!({ "properties": [] })] {
            assert!(settings(&none).is_empty(), "{none}");
        }
    }
}
