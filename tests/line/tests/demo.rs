//! `wattle demo --json`, with its real processes. How well a loaded machine plays the scenario is not judged here; what is said of it is.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wattle_testkit::program;

#[test]
fn the_demo_prints_one_document_with_each_check_and_ends_as_that_says() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("demo");
    let policies = std::env::var_os("WATTLE_POLICIES");
    let policies =
        policies.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into());
    let mut command = Command::new(program("wattle").expect("is built"));
    command.args(["demo", "--json", "--dir"]).arg(&folder).env("WATTLE_POLICIES", policies);
    let done = command.stdin(Stdio::null()).output().expect("it runs");
    let (printed, said) = (String::from_utf8(done.stdout), String::from_utf8_lossy(&done.stderr));
    let printed = printed.expect("text");
    let told: Value = serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}{said}"));
    assert!(!printed.contains('\x1b'), "colours in a pipe");
    let checks = told["checks"].as_array().expect("a list");
    let text = |check: &Value| check["text"].as_str().unwrap_or_default().to_owned();
    let failed: Vec<_> = checks.iter().filter(|check| check["holds"] == false).map(text).collect();
    let held = checks.iter().filter(|check| check["holds"] == true).count();
    // Setpoints, policy, limit, four devices, energy.
    assert_eq!((checks.len(), held + failed.len()), (8, 8), "{told:#}");
    assert!(checks.iter().all(|check| !text(check).is_empty()), "{told:#}");
    assert_eq!(told["failed"], json!(failed.len()));
    let code = if failed.is_empty() { 0 } else { 1 };
    assert_eq!((done.status.code(), said.is_empty()), (Some(code), code == 0), "{said}");
    assert_eq!(told["folder"], json!(folder));
    for kept in ["journal", "lake"] {
        let kept = if kept == "lake" { folder.join(kept) } else { folder.join("edge").join(kept) };
        assert!(kept.is_dir(), "{}", kept.display());
    }
    // However busy the machine, what a device has numbered is in the lake once.
    for check in checks.iter().map(text).filter(|text| text.contains("messages numbered")) {
        assert!(check.ends_with(", 0 twice"), "{check}");
    }
}
