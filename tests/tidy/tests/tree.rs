//! Where versions are named, that each folder says what lives in it, that files stay short.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a file has a second responsibility in it.
const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the tree is there")
}

/// Every file that git tracks and that ends with `end`.
fn files(end: &str) -> Vec<PathBuf> {
    let output =
        Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    names
        .split('\0')
        .filter(|name| name.ends_with(end))
        .map(PathBuf::from)
        .filter(|p| root().join(p).is_file())
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn versions_are_named_in_one_place() {
    for path in files("Cargo.toml") {
        if path.as_os_str() == "Cargo.toml" || path.starts_with("sdk/hack") {
            continue;
        }
        let manifest = read(&path);
        let dependencies = manifest.split_once("dependencies]").map_or("", |(_, rest)| rest);
        let own = dependencies
            .lines()
            .find(|line| line.contains("version = \"") || line.ends_with('"') && line.contains(" = \""));
        assert_eq!(own, None, "{}: name the version in the workspace's Cargo.toml", path.display());
    }
}

#[test]
fn each_folder_says_what_lives_in_it() {
    let folders = [
        "benchmarks",
        "deploy",
        "device-fw",
        "device-fw/core",
        "device-fw/host",
        "docs",
        "docs/adr",
        "edge-node",
        "edge-node/core",
        "fog-node",
        "fog-node/core",
        "policies",
        "sdk",
        "sdk/cli",
        "sdk/client",
        "sdk/columns",
        "sdk/kafka",
        "sdk/policy",
        "sdk/policy-host",
        "sdk/process",
        "sdk/site",
        "sdk/wire",
        "sdk/wit",
        "tests",
        "tests/kafka",
        "tests/kit",
        "tests/line",
        "tests/rig",
        "tests/sim",
        "tests/tidy",
        "tests/torture",
    ];
    for folder in folders {
        let folder = root().join(folder);
        let module = fs::read_to_string(folder.join("src/lib.rs"))
            .or_else(|_| fs::read_to_string(folder.join("src/main.rs")));
        let said = folder.join("README.md").exists() || module.is_ok_and(|text| text.starts_with("//!"));
        assert!(said, "{}: say what lives here, in README.md or by //!", folder.display());
    }
}

/// Whether a line begins something that authors of policies call.
fn is_public(line: &str) -> bool {
    let line = line.trim_start();
    let begins = [
        "pub fn",
        "pub const",
        "pub struct",
        "pub enum",
        "pub trait",
        "macro_rules! export",
        "pub use bindings::",
    ];
    begins.iter().any(|begin| line.starts_with(begin))
}

#[test]
fn each_public_item_of_the_guest_sdk_has_an_example() {
    // The allocator in the guest, the macro of `log` and what `export!` uses are nobody's to call.
    let inner = ["heap.rs", "log.rs"];
    let mut looked_at = 0;
    for path in files(".rs").into_iter().filter(|path| path.starts_with("sdk/policy/src")) {
        if path.ends_with("tests.rs") || inner.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let text = read(&path);
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_public(line)) {
            let above = lines[..at].iter().rev().map(|line| line.trim_start());
            let docs = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
            let has_example = docs.clone().any(|line| line == "/// ```");
            let is_hidden =
                docs.clone().any(|line| line == "#[doc(hidden)]") || line.contains("fn tell_panics");
            assert!(has_example || is_hidden, "{}: no example above `{}`", path.display(), line.trim());
            looked_at += 1;
        }
    }
    assert!(looked_at > 80, "{looked_at} items");
}

#[test]
fn no_file_has_grown_a_second_responsibility() {
    for path in files(".rs") {
        let lines = read(&path).lines().take_while(|line| !line.contains("#[cfg(test)]")).count();
        let tests = path.iter().any(|part| part == "tests" || part == "tests.rs");
        assert!(tests || lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Put together here, so that this file doesn't find itself.
    let marks =
        [["to", "do!("], ["unimple", "mented!("], ["#[ign", "ore"], ["FIX", "ME"]].map(|m| m.concat());
    for path in files(".rs") {
        let text = read(&path);
        for mark in &marks {
            assert!(!text.contains(mark), "{}: {mark}", path.display());
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for path in files(".md") {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let place = root().join(path.parent().unwrap_or(Path::new(""))).join(target);
            assert!(place.exists(), "{}: {target}", path.display());
        }
    }
}
