//! Each kind of component that no edge node runs is refused with a sentence of its own, which says what to do where there is
//! something to do. Signatures are in `commands.rs`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use wasm_encoder::{
    Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection, InstanceType, Module,
};
use wattle_policy_build::append_stamp;
use wattle_policy_dev::build::build;
use wattle_policy_dev::files;
use wattle_policy_dev::new::{Language, create};

#[test]
fn a_core_module_is_no_component() {
    refused(
        &Module::new().finish(),
        "this is a core module, not a component; build it with `wattle policy build`",
    );
}

#[test]
fn a_truncated_component_is_not_whole() {
    let whole = shipped();
    for length in [whole.len() - 1, whole.len() / 2, 20] {
        refused(&whole[..length], "this is no whole WebAssembly component");
    }
}

#[test]
fn what_is_something_else_is_no_component() {
    refused(b"#!/bin/sh\n", "this is no whole WebAssembly component");
    refused(b"", "this is no whole WebAssembly component");
}

#[test]
fn a_component_of_another_version_is_told_what_to_do() {
    let told = "is made for version \"2\" of the policy interface; this host runs 1: build it with the SDK of this version of \
                Wattle, or update the edge node";
    refused(&stamped(Component::new(), "2"), told);
}

#[test]
fn a_component_without_a_version_is_told_what_to_do() {
    refused(
        &Component::new().finish(),
        "has no section `wattle:load-policy`; build it with `wattle policy build`",
    );
}

#[test]
fn a_component_that_imports_a_clock_is_told_which() {
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    let mut imports = ComponentImportSection::new();
    imports.import("wasi:clocks/wall-clock@0.2.0", ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    let told =
        "imports `wasi:clocks/wall-clock@0.2.0`; a policy may import nothing but wattle:load-policy/log";
    refused(&stamped(component, "1"), told);
}

#[test]
fn a_component_over_size_is_told_by_how_much() {
    let mut component = Component::new();
    let data = Cow::Owned(vec![0; 257 << 20]);
    component.section(&wasm_encoder::CustomSection { name: "filling".into(), data });
    let host = files::host().expect("runs");
    let error =
        files::load(&host, Path::new("p.wasm"), &component.finish()).expect_err("refused").to_string();
    assert!(error.contains("bytes; this host reads at most 268435456"), "{error}");
}

#[test]
fn a_schema_that_its_own_settings_break_is_refused() {
    let broken = "its settings schema breaks itself: most_ma: the default `5000` is less than 6000";
    built_with("32000, 6000", "5000, 6000", broken);
    let named = "description->version = WATTLE_TEXT(\"0.1.0\");";
    let with = |schema: &str| format!("{named}\n    description->settings_schema = WATTLE_TEXT({schema:?});");
    built_with(named, &with("{"), "its settings schema is no JSON: EOF");
    built_with(named, &with("[]"), "its settings schema describes no object");
    let lies = r#"{"type":"object","properties":{"slot":{"type":"integer","default":1}}}"#;
    built_with(
        named,
        &with(lies),
        "it refuses the defaults of its own settings schema: slot: there is no such setting",
    );
}

/// Builds the project in C with a change.
fn built_with(from: &str, to: &str, expected: &str) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = create(parent.path(), "bad", Language::C).expect("made");
    let source = std::fs::read_to_string(folder.join("policy.c")).expect("there");
    assert!(source.contains(from), "{from}");
    std::fs::write(folder.join("policy.c"), source.replace(from, to)).expect("written");
    let error = build(&folder, None, None).expect_err("refused").to_string();
    assert!(error.contains(expected), "{error}");
    assert!(!folder.join("bad.wasm").exists(), "nothing is left that looks like a policy");
}

fn refused(bytes: &[u8], expected: &str) {
    let host = files::host().expect("runs");
    let error = files::load(&host, Path::new("p.wasm"), bytes).expect_err("refused").to_string();
    assert!(error.starts_with("p.wasm: ") && error.contains(expected), "{error}");
}

fn stamped(component: Component, version: &str) -> Vec<u8> {
    let mut bytes = component.finish();
    append_stamp(&mut bytes, version.as_bytes());
    bytes
}

fn shipped() -> Vec<u8> {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies"));
    files::read(&folder.join("equal-share.wasm"))
        .unwrap_or_else(|error| panic!("{error}; run `make policies`"))
}
