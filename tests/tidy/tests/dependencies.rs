//! Who may lean on whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What `cargo metadata` says of our packages and of all that they lean on.
struct Tree {
    metadata: Value,
}

impl Tree {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { metadata: serde_json::from_slice(&output.stdout).expect("cargo writes JSON") }
    }

    fn packages(&self) -> &[Value] {
        self.metadata["packages"].as_array().expect("a list")
    }

    /// Our packages with the names that their own manifests lean on, tests and builds apart.
    fn ours(&self) -> BTreeMap<String, BTreeSet<String>> {
        let ours = self.packages().iter().filter(|package| package["source"].is_null());
        ours.map(|package| (text(&package["name"]), direct(package))).collect()
    }

    /// All that a package leans on, by whatever way; tests, builds and the shared features apart.
    fn behind(&self, package: &str) -> BTreeSet<String> {
        let nodes = self.metadata["resolve"]["nodes"].as_array().expect("a list");
        let nodes: BTreeMap<String, &Value> = nodes.iter().map(|n| (text(&n["id"]), n)).collect();
        let names: BTreeMap<String, String> =
            self.packages().iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let root = names.iter().find(|(_, name)| *name == package).map(|(id, _)| id.clone());
        let mut queue = vec![root.unwrap_or_else(|| panic!("no package {package}"))];
        let mut seen = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if names[&id] == "wattle-hack" || !seen.insert(id.clone()) {
                continue;
            }
            for dependency in nodes[&id]["deps"].as_array().expect("a list") {
                let kinds = dependency["dep_kinds"].as_array().expect("a list");
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    queue.push(text(&dependency["pkg"]));
                }
            }
        }
        seen.iter().map(|id| names[id].clone()).collect()
    }

    fn versions(&self, name: &str) -> BTreeSet<String> {
        self.packages().iter().filter(|p| p["name"] == name).map(|p| text(&p["version"])).collect()
    }
}

fn direct(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().expect("a list");
    let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    normal.map(|dependency| text(&dependency["name"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}

fn ours_among(names: &BTreeSet<String>) -> BTreeSet<&str> {
    let is_ours =
        |name: &&str| *name == "wattle" || name.starts_with("wattle-") || name.starts_with("policy-");
    names.iter().map(String::as_str).filter(is_ours).collect()
}

#[test]
fn the_wire_leans_on_none_of_ours_and_on_no_operating_system() {
    assert_eq!(ours_among(&Tree::read().ours()["wattle-wire"]), BTreeSet::new());
    let source = include_str!("../../../sdk/wire/src/lib.rs");
    assert!(source.contains("#![cfg_attr(not(test), no_std)]"));
}

#[test]
fn a_core_leans_on_the_wire_only_and_does_no_io() {
    let tree = Tree::read();
    for core in ["wattle-device-core", "wattle-edge-core", "wattle-fog-core"] {
        assert_eq!(ours_among(&tree.ours()[core]), BTreeSet::from(["wattle-wire"]), "{core}");
        let behind = tree.behind(core);
        for banned in ["tokio", "actix", "rumqttc", "mio", "socket2", "rand", "object_store"] {
            assert!(!behind.contains(banned), "{core} leans on {banned}");
        }
    }
}

#[test]
fn edge_and_fog_never_lean_on_each_other() {
    let tree = Tree::read();
    assert!(!tree.behind("wattle-edge").iter().any(|name| name.starts_with("wattle-fog")));
    assert!(!tree.behind("wattle-fog").iter().any(|name| name.starts_with("wattle-edge")));
}

#[test]
fn a_policy_leans_on_the_guest_sdk_only() {
    for (name, leans) in Tree::read().ours() {
        if name.starts_with("policy-") {
            assert_eq!(ours_among(&leans), BTreeSet::from(["wattle-policy"]), "{name}");
        }
    }
}

#[test]
fn only_the_policy_host_names_wasmtime() {
    for (name, leans) in Tree::read().ours() {
        assert_eq!(leans.contains("wasmtime"), name == "wattle-policy-host", "{name}");
    }
}

#[test]
fn an_edge_pulls_in_no_query_engine() {
    let behind = Tree::read().behind("wattle-edge");
    for banned in ["datafusion", "deltalake", "deltalake-core", "parquet"] {
        assert!(!behind.contains(banned), "{banned}");
    }
}

#[test]
fn an_edge_is_built_without_kafka_when_asked_to() {
    let behind = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", "wattle-edge"])
            .args(features)
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("names are UTF-8")
    };
    let is_rdkafka = |line: &str| line.starts_with("rdkafka");
    assert!(behind(&[]).lines().any(is_rdkafka));
    assert!(!behind(&["--no-default-features"]).lines().any(is_rdkafka));
}

#[test]
fn each_library_that_wattle_stands_on_is_used_and_stands_once_in_the_tree() {
    let tree = Tree::read();
    let leans: BTreeSet<String> = tree.ours().into_values().flatten().collect();
    for name in
        ["actix", "tokio", "wasmtime", "arrow", "parquet", "datafusion", "rumqttc", "serde", "embedded-svc"]
    {
        assert!(leans.contains(name), "{name} is used by none of ours");
    }
    for name in ["arrow", "parquet", "datafusion", "deltalake", "wasmtime", "tokio", "tonic", "object_store"]
    {
        assert_eq!(tree.versions(name).len(), 1, "{name}: {:?}", tree.versions(name));
    }
}
