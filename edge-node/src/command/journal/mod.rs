//! `wattle-edge journal`: looking into a node's journal, and mending it. docs/journal.md describes it.
//!
//! `inspect`, `verify`, `tail` and `export` change nothing and may be used while the node runs. `repair` opens the
//! journal as the node does, so the node must not run. Exit codes: 0, 1 for problems found and for what failed, 2
//! for wrong usage.
//!
//! Below a journal's folder may stand those of its former lives, `before-<life>/`, whose entries are on their way up: `inspect`, `verify` and
//! `repair` look into them too. `tail` shows the journal's own; `export` says where others are.

mod entries;
mod export;
mod inspect;
mod repair;
mod tail;
mod verify;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::journal::{self, View};

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what a journal holds and how it stands; also while the node runs.
    Inspect(inspect::Arguments),
    /// Reads everything and names what is damaged or missing; also while the node runs. Exit code 1 if something is.
    Verify(verify::Arguments),
    /// Opens the journal, sets damaged files aside and puts gaps in the place of what is lost. The node must not run.
    Repair(repair::Arguments),
    /// Shows the last entries, and with --follow those that come; also while the node runs.
    Tail(tail::Arguments),
    /// Writes entries to a file as JSON lines, or to a folder as Arrow files; also while the node runs.
    Export(export::Arguments),
}

/// Does it; says on standard error what failed.
pub fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
    };
    match done {
        Ok(code) => code,
        // Whoever read what we say has gone, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattle-edge journal: {}", super::words(&error));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn open(dir: &Path) -> anyhow::Result<View> {
    // The data folder is as good: people know that one.
    let inner = dir.join("journal");
    let dir: PathBuf = if inner.is_dir() { inner } else { dir.into() };
    View::open(&dir).with_context(|| format!("can't look into {}", dir.display()))
}

/// A command line that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A journal of a former life, or why it can't be looked into; with the name of its folder.
type Former = (String, anyhow::Result<View>);

/// The journals of former lives below a journal, the oldest first.
fn former(view: &View) -> anyhow::Result<Vec<Former>> {
    let folders = journal::former(&view.dir).with_context(|| format!("can't list {}", view.dir.display()))?;
    let opened = |dir: PathBuf| (name(&dir), View::open(&dir).map_err(anyhow::Error::from));
    Ok(folders.into_iter().map(opened).collect())
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Prints what there is to say of a journal, as JSON or as text, and of those of its former lives.
fn tell<T>(
    as_json: bool,
    (mut all, own): (Value, String),
    former: &[(String, anyhow::Result<T>)],
    json: impl Fn(&T) -> Value,
    text: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        all["former"] = former.iter().map(|(name, told)| former_json(name, told, &json)).collect();
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    write!(out, "{own}")?;
    for (name, told) in former {
        write!(out, "{}", former_text(name, told, &text))?;
    }
    Ok(())
}

/// What is told of a former life, indented below the name of its folder.
fn former_text<T>(name: &str, told: &anyhow::Result<T>, text: impl Fn(&T) -> String) -> String {
    let text = told.as_ref().map_or_else(|error| format!("can't be looked into: {error}\n"), text);
    let lines = text.lines().map(|line| format!("  {line}\n"));
    format!("{name}, a former life on its way up:\n{}", lines.collect::<String>())
}

/// The same as JSON: `folder`, and `error` or what there is.
fn former_json<T>(name: &str, told: &anyhow::Result<T>, json: impl Fn(&T) -> Value) -> Value {
    let mut all = told.as_ref().map_or_else(|error| json!({"error": error.to_string()}), json);
    all["folder"] = name.into();
    all
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let told = [0, 1023, 1024, 1_572_864, 5 << 30, 5 << 50].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB", "5242880.0 GiB"]);
    }
}
