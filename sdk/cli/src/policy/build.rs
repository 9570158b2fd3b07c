//! `wattle policy build`: from a crate's folder to a checked component.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::inspect;

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

/// Build the policy of a crate to a component, and check it as an edge node would
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  wattle policy build policies/my-policy -o /etc/wattle/policies")]
pub struct Args {
    /// The crate's folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where the component goes
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// A shell file to read before cargo, as sdk/toolchain/wasm.sh leaves one
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the crate doesn't build, or an edge node would not load what comes out.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let manifest = args.folder.join("Cargo.toml");
    let manifest = manifest.canonicalize().with_context(|| format!("cannot read {}", manifest.display()))?;
    let artifact = artifact(&metadata(&manifest)?, &manifest)?;
    cargo_build(&manifest, &artifact.folder, args.env.as_deref())?;
    let module = artifact.module();
    let bytes = std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = wattle_policy_build::componentize(&bytes)?;
    let policy = inspect::load(&module, &component)?;
    let path = args.out.join(format!("{}.wasm", policy.name()));
    std::fs::create_dir_all(&args.out)
        .and_then(|()| std::fs::write(&path, &component))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let size = component.len() as f64 / 1000.0;
    println!("{}: {} {}, {size:.1} KB", path.display(), policy.name(), policy.version());
    Ok(())
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
        let args = Args { folder: folder.path().into(), out: ".".into(), env: None };
        let error = run(&args).expect_err("no crate");
        assert!(error.to_string().contains("Cargo.toml"), "{error}");
    }
}
