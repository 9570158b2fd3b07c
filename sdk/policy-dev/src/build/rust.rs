//! A crate in Rust, by cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

const TARGET: &str = "wasm32-unknown-unknown";

/// What every policy is built with: small, and a panic is a trap.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "true"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// The component of the crate in a folder.
///
/// # Errors
/// When cargo is missing, the crate doesn't build, or what comes out is no policy.
pub fn build(folder: &Path, env: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let manifest = folder.join("Cargo.toml");
    let manifest = manifest.canonicalize().with_context(|| format!("cannot read {}", manifest.display()))?;
    let artifact = artifact(&metadata(&manifest)?, &manifest)?;
    cargo_build(&manifest, &artifact.folder, env)?;
    let module = artifact.module();
    let bytes = std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    wattle_policy_build::componentize(&bytes)
}

/// What cargo makes of the crate.
#[derive(Debug, PartialEq)]
struct Artifact {
    /// Its target folder for WebAssembly, apart from the one for this machine.
    folder: PathBuf,
    library: String,
}

impl Artifact {
    fn module(&self) -> PathBuf {
        let file = format!("{}.wasm", self.library.replace('-', "_"));
        self.folder.join(TARGET).join("release").join(file)
    }
}

fn metadata(manifest: &Path) -> anyhow::Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo; install Rust's stable toolchain with rustup")?;
    if !output.status.success() {
        bail!("cargo does not understand {}; see its message above", manifest.display());
    }
    serde_json::from_slice(&output.stdout).context("cargo's metadata is no JSON")
}

fn artifact(metadata: &Value, manifest: &Path) -> anyhow::Result<Artifact> {
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|one| one["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let mut targets = package.into_iter().flat_map(|package| package["targets"].as_array()).flatten();
    let is_cdylib = |target: &&Value| {
        target["crate_types"].as_array().is_some_and(|types| types.iter().any(|one| one == "cdylib"))
    };
    let library = targets.find(is_cdylib).and_then(|target| target["name"].as_str());
    let folder = metadata["target_directory"].as_str();
    let (Some(library), Some(folder)) = (library, folder) else {
        bail!("{} makes no cdylib; add `[lib] crate-type = [\"cdylib\", \"rlib\"]`", manifest.display());
    };
    Ok(Artifact { folder: Path::new(folder).join("wasm"), library: library.to_owned() })
}

fn cargo_build(manifest: &Path, folder: &Path, env: Option<&Path>) -> anyhow::Result<()> {
    let mut command = match env {
        None => Command::new("cargo"),
        Some(env) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#". "$0" && exec cargo "$@""#]).arg(env);
            shell
        }
    };
    let status = command
        .args(["build", "--release", "--target", TARGET, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder)
        .envs(PROFILE)
        .stdout(Stdio::null())
        .status()
        .context("cannot start cargo; install Rust's stable toolchain with rustup")?;
    if !status.success() {
        bail!(
            "{} does not build for {TARGET}; see cargo's message above (is the target missing? run `rustup target add {TARGET}`, or sdk/toolchain/wasm.sh and give the file that it names with --env)",
            manifest.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata_of(crate_types: &[&str]) -> Value {
        json!({
            "packages": [
                { "manifest_path": "/other/Cargo.toml", "targets": [{ "name": "other", "crate_types": ["cdylib"] }] },
                { "manifest_path": "/mine/Cargo.toml", "targets": [
                    { "name": "build-script-build", "crate_types": ["bin"] },
                    { "name": "policy-mine", "crate_types": crate_types },
                ] },
            ],
            "target_directory": "/mine/target",
        })
    }

    #[test]
    fn the_module_of_the_crate_is_found() {
        let artifact =
            artifact(&metadata_of(&["cdylib", "rlib"]), Path::new("/mine/Cargo.toml")).expect("there");
        let module = "/mine/target/wasm/wasm32-unknown-unknown/release/policy_mine.wasm";
        assert_eq!(artifact.module(), Path::new(module));
    }

    #[test]
    fn a_crate_that_makes_no_component_is_told_what_it_lacks() {
        let error =
            artifact(&metadata_of(&["lib"]), Path::new("/mine/Cargo.toml")).expect_err("a plain library");
        assert!(error.to_string().contains("crate-type = [\"cdylib\", \"rlib\"]"), "{error}");
    }

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = build(folder.path(), None).expect_err("no crate");
        assert!(error.to_string().contains("Cargo.toml"), "{error}");
    }
}
