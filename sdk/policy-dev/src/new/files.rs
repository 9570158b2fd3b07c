//! The files that a project is made of.

use super::Language;

type File = (&'static str, &'static str);

/// A file of `templates`, by its place there; in the project without the first folder.
macro_rules! template {
    ($language:literal, $path:literal) => {
        ($path, include_str!(concat!("../../templates/", $language, "/", $path)))
    };
}

/// A file of the guest SDK for Rust, as it stands in the tree.
macro_rules! sdk {
    ($path:literal) => {
        (concat!("sdk/policy/src/", $path), include_str!(concat!("../../../policy/src/", $path)))
    };
}

const CASES: &[File] = &[
    template!("all", "cases/even.json"),
    template!("all", "cases/line.json"),
    template!("all", "cases/most.json"),
    template!("all", "cases/settings.json"),
    template!("all", "cases/tree.json"),
];

const C: &[File] = &[
    template!("c", "policy.c"),
    template!("c", "wattle/policy.c"),
    template!("c", "wattle/policy.h"),
    template!("c", "wattle/settings.c"),
    template!("c", "wattle/settings.h"),
    template!("c", "README.md"),
];

const JS: &[File] = &[
    template!("js", "policy.js"),
    template!("js", "wattle/settings.js"),
    template!("js", "package.json"),
    template!("js", "package-lock.json"),
    template!("js", "README.md"),
];

const PYTHON: &[File] = &[
    template!("python", "policy.py"),
    template!("python", "wattle/__init__.py"),
    template!("python", "wattle/settings.py"),
    template!("python", "requirements.txt"),
    template!("python", "README.md"),
];

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml.txt")),
    template!("rust", "src/lib.rs"),
    template!("rust", "README.md"),
];

/// What the SDK's crate is outside of its workspace.
pub const SDK_MANIFEST: &str = include_str!("../../templates/rust/sdk.toml.txt");

const SDK: &[File] = &[
    ("sdk/policy/Cargo.toml", SDK_MANIFEST),
    sdk!("heap.rs"),
    sdk!("json.rs"),
    sdk!("kit.rs"),
    sdk!("kit/day.rs"),
    sdk!("kit/random.rs"),
    sdk!("lib.rs"),
    sdk!("log.rs"),
    sdk!("memory.rs"),
    sdk!("policy.rs"),
    sdk!("room.rs"),
    sdk!("room/asking.rs"),
    sdk!("room/even.rs"),
    sdk!("room/tests.rs"),
    sdk!("settings.rs"),
    sdk!("signal.rs"),
    sdk!("stay.rs"),
    sdk!("text.rs"),
    sdk!("types.rs"),
];

/// The files of a project, each with its place in the project.
pub fn of(language: Language) -> impl Iterator<Item = File> {
    let (own, sdk, interface): (_, &[File], _) = match language {
        Language::Rust => (RUST, SDK, "sdk/wit/load-policy-v1/load-policy.wit"),
        Language::Python => (PYTHON, &[], "wit/load-policy.wit"),
        Language::Js => (JS, &[], "wit/load-policy.wit"),
        Language::C => (C, &[], "wit/load-policy.wit"),
    };
    let shared = [(interface, wattle_policy_build::INTERFACE), (".gitignore", IGNORED)];
    own.iter().chain(sdk).chain(CASES).copied().chain(shared)
}

/// What of a project isn't kept.
const IGNORED: &str = "target/\nnode_modules/\n.venv/\n__pycache__/\n/*.wasm\n/*.sig\n*.key\n";
