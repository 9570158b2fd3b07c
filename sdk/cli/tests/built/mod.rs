//! The components that `make policies` builds.

use std::path::{Path, PathBuf};

/// The bytes of one.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies"));
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make policies`", path.display()))
}
