//! The components that `make policies` builds.

use std::path::{Path, PathBuf};

/// Where they are.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies"))
}

/// The bytes of one.
#[allow(dead_code, reason = "each test program takes what it needs of this")]
pub fn component(name: &str) -> Vec<u8> {
    let path = folder().join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make policies`", path.display()))
}
