//! Each language: a new project outside of the tree builds, passes its cases, and imports nothing but the log. The cases are
//! the same files for all.

use std::path::Path;

use wattle_policy_dev::build::{Built, build};
use wattle_policy_dev::cases::{self, check};
use wattle_policy_dev::new::{Language, create};

#[test]
fn a_project_in_rust_builds_and_passes_its_cases_and_is_small() {
    let (_folder, built) = project(Language::Rust);
    assert!(built.size < 100_000, "{} bytes", built.size);
}

#[test]
fn a_project_in_c_builds_and_passes_its_cases_and_is_smaller() {
    let (_folder, built) = project(Language::C);
    assert!(built.size < 20_000, "{} bytes", built.size);
}

#[test]
fn a_project_in_javascript_builds_and_passes_its_cases_within_what_is_granted_unasked() {
    let (_folder, built) = project(Language::Js);
    assert!(built.size < 4 << 20, "{} bytes", built.size);
    assert_eq!(built.policy.description().memory_bytes, 0);
}

#[test]
fn a_project_in_python_builds_and_passes_its_cases_with_the_memory_that_it_asks_for() {
    let (_folder, built) = project(Language::Python);
    assert_eq!(built.policy.description().memory_bytes, 32 << 20);
    assert!((built.size as u64) < built.policy.description().memory_bytes, "{} bytes", built.size);
}

/// A new project, built, with its cases passed.
fn project(language: Language) -> (tempfile::TempDir, Built) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = create(parent.path(), "night-rate", language).expect("made");
    if language == Language::Rust {
        // The versions of the tree, so that nothing has to be fetched.
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        std::fs::copy(lock, folder.join("Cargo.lock")).expect("copied");
    }
    let built = build(&folder, None, None).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!((built.policy.name(), built.policy.version()), ("night-rate", "0.1.0"));
    assert_eq!(built.path, folder.join("night-rate.wasm"));
    passes(&built, &folder.join("cases"));
    (parent, built)
}

fn passes(built: &Built, folder: &Path) {
    let cases = cases::read(folder).expect("cases");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let outcome = check::run(&built.policy, &case).unwrap_or_else(|why| panic!("{}: {why}", case.about));
        assert!(outcome.differences.is_empty(), "{}: {:#?}", case.about, outcome.differences);
    }
}
