//! `wattle-edge journal inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::size;
use crate::journal::View;

/// Shows what a journal holds and how it stands.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The journal's folder, or the data folder around it.
    folder: PathBuf,
    /// Names every file.
    #[arg(long)]
    files: bool,
    /// As JSON, every file included.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let view = super::open(&arguments.folder)?;
    let former = super::former(&view)?;
    let text = |view: &View| as_text(view, arguments.files);
    super::tell(arguments.json, (as_json(&view), text(&view)), &former, as_json, text)?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(view: &View) -> Value {
    let logs = view.logs.iter().map(|log| {
        json!({"name": log.name, "first": log.first, "last": log.last, "records": log.records,
               "bytes": log.bytes, "torn_bytes": log.torn_bytes})
    });
    let segments = view
        .segments
        .iter()
        .map(|sealed| json!({"from": sealed.header.from, "to": sealed.header.to, "bytes": sealed.bytes}));
    json!({
        "folder": view.dir,
        "edge": view.edge,
        "incarnation": view.incarnation.to_string(),
        "in_use": view.in_use,
        "first": view.first(),
        "last": view.last(),
        "committed": view.committed,
        "depth": view.last() - view.committed,
        "bytes": view.bytes(),
        "checkpoint": view.checkpoint.map(|(covered, bytes)| json!({"covers": covered, "bytes": bytes})),
        "logs": logs.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
        "aside": view.aside,
        "problems": super::verify::problems_json(view),
    })
}

fn as_text(view: &View, files: bool) -> String {
    let use_ = if view.in_use { "in use by a running node" } else { "not in use" };
    let mut text = format!("journal of {}, life {}, {use_}\n", view.edge, view.incarnation);
    let mut line = |name: &str, what: String| text.push_str(&format!("{name:<12}{what}\n"));
    let waiting = view.last() - view.committed;
    line(
        "entries",
        match view.last() {
            0 => "none yet".into(),
            last => format!("up to {last}; the lake has {}, {waiting} wait for it", view.committed),
        },
    );
    line(
        "checkpoint",
        match view.checkpoint {
            Some((covered, bytes)) => format!("covers {covered}, {}", size(bytes as u64)),
            None => "none yet".into(),
        },
    );
    let logged: u64 = view.logs.iter().map(|log| log.bytes).sum();
    let ends = view.logs.first().zip(view.logs.last());
    let range = ends.map_or(String::new(), |(a, b)| format!(", entries {} to {}", a.first, b.last));
    line("log", format!("{} files, {}{range}", view.logs.len(), size(logged)));
    let sealed: u64 = view.segments.iter().map(|sealed| sealed.bytes).sum();
    let ends = view.segments.first().zip(view.segments.last());
    let range =
        ends.map_or(String::new(), |(a, b)| format!(", entries {} to {}", a.header.from, b.header.to));
    line("segments", format!("{} files, {}{range}", view.segments.len(), size(sealed)));
    line("kept aside", format!("{} files", view.aside));
    if files {
        for log in &view.logs {
            let torn =
                if log.torn_bytes > 0 { format!(", {} bytes cut", log.torn_bytes) } else { String::new() };
            text.push_str(&format!(
                "  {}  {} to {}, {} records, {}{torn}\n",
                log.name,
                log.first,
                log.last,
                log.records,
                size(log.bytes)
            ));
        }
        for sealed in &view.segments {
            let name = sealed.path.file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("  {name}  {}\n", size(sealed.bytes)));
        }
    }
    text + &super::verify::problems_text(view)
}
