//! The command line: every mistake of every file at once, and exit code 2.

use std::process::{Command, Output};

fn edge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wattle-edge")).args(arguments).output().expect("runs")
}

fn check(output: &Output, expected: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in expected {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_site_that_ships_is_right() {
    let site = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/site.toml");
    let output = edge(&["--check", site]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_mistake_of_every_file_is_named_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, site, missing) = (path("edge.toml"), path("site.toml"), path("missing.toml"));
    std::fs::write(&config, "[journal]\nbudget_mib = 1\nsync = 'never'\n").expect("writable");
    let text = "id = 'a'\n[[circuits]]\nid = 'grid'\nlimit_a = 30\n[[chargers]]\nid = 'cp-1'\ncircuit = 'roof'\n\
                [[chargers]]\nid = 'cp-1'\ncircuit = 'grid'\n";
    std::fs::write(&site, text).expect("writable");
    let expected = ["journal.sync", "roof", "cp-1", "missing.toml"];
    check(&edge(&["--config", &config, "--check", &site, &missing]), &expected);
    // The same without --check: it doesn't start.
    check(&edge(&["--config", &config, &site, &missing]), &expected);
}

#[test]
fn a_node_without_a_site_does_not_start() {
    check(&edge(&[]), &["name at least one site file"]);
}
