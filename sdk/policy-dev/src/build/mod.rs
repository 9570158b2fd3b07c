//! `wattle policy build`: from a project to a component, checked as an edge node would.
//!
//! The language is told by the project's main file. Each has a way of its own to a component; all are stamped with the interface's
//! version, and none may import anything but the log. Runtimes that want WASI get it stubbed when they are built, so that the
//! host's check needs no exception; what reaches for a clock, a file or the network traps.

mod rust;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use wattle_policy_host::Policy;

use crate::new::Language;
use crate::progress::Waiting;
use crate::{Usage, files};

/// Where `sdk/toolchain/wasm.sh` leaves its file, within the folder of tools.
const ENV_FILE: &str = "wasm/env";

/// Build a project to a component, and check it as an edge node would
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy build
  wattle policy build policies/my-policy -o /etc/wattle/policies

What it needs: Rust with the target wasm32-unknown-unknown; or clang and lld; or Node.js and `npm install`; or Python and its
requirements.txt. $WATTLE_TOOLS may hold tools that the project itself doesn't.
Exit codes: 0 done, 1 it doesn't build or would be loaded nowhere, 2 a folder without a policy.")]
pub struct Args {
    /// The project's folder
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Where the component goes; the project's folder if it is left out
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A shell file to read before cargo, as sdk/toolchain/wasm.sh leaves one [default: $WATTLE_TOOLS/wasm/env, if it is there]
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// A component that was built.
#[derive(Debug)]
pub struct Built {
    /// Its file.
    pub path: PathBuf,
    /// Its size, bytes.
    pub size: usize,
    /// What it is, loaded.
    pub policy: Policy,
}

/// Runs the command.
///
/// # Errors
/// When a tool is missing, the project doesn't build, or an edge node would not load what comes out.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let waiting = waiting(&args.folder, !args.json);
    let built = build(&args.folder, args.out.as_deref(), args.env.as_deref())?;
    drop(waiting);
    let (policy, size) = (&built.policy, built.size as f64 / 1000.0);
    if args.json {
        println!("{}", told(&built));
        return Ok(());
    }
    println!("{}: {} {}, {size:.1} KB", built.path.display(), policy.name(), policy.version());
    let asked = policy.description().memory_bytes;
    if asked > 16 << 20 {
        println!(
            "it asks for memory that a site has to grant: policy_memory_mib = {}",
            asked.div_ceil(1 << 20)
        );
    }
    Ok(())
}

/// A sign of life while a project is built; cargo gives its own.
pub fn waiting(folder: &Path, is_wanted: bool) -> Waiting {
    Waiting::on("building", is_wanted && language(folder).is_ok_and(|language| language != Language::Rust))
}

/// For programs.
fn told(built: &Built) -> Value {
    let policy = &built.policy;
    json!({
        "file": built.path,
        "size_bytes": built.size,
        "name": policy.name(),
        "version": policy.version(),
        "interface": wattle_policy_build::INTERFACE_VERSION,
        "sha256": files::digest(policy),
        "memory_bytes": policy.description().memory_bytes,
        "fuel": policy.description().fuel,
    })
}

/// Builds the project in a folder.
///
/// # Errors
/// As [`run`].
pub fn build(folder: &Path, out: Option<&Path>, env: Option<&Path>) -> anyhow::Result<Built> {
    let component = component(folder, env)?;
    let out = out.unwrap_or(folder);
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let policy = files::load(&files::host()?, folder, &component)
        .map_err(|error| anyhow::anyhow!("what was built can't be used: {error}"))?;
    let path = out.join(format!("{}.wasm", policy.name()));
    files::write(&path, &component)?;
    Ok(Built { path, size: component.len(), policy })
}

fn component(folder: &Path, env: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let language = language(folder)?;
    if language == Language::Rust {
        let usual = tools::shared(ENV_FILE).filter(|file| file.is_file());
        return rust::build(folder, env.or(usual.as_deref()));
    }
    let made = folder.join("target/wattle");
    std::fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    let output = made.canonicalize()?.join("policy.wasm");
    match std::fs::remove_file(&output) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let run = match language {
        Language::C => tools::clang,
        Language::Js => tools::componentize_qjs,
        Language::Python | Language::Rust => tools::componentize_py,
    };
    run(folder, &output)?;
    let mut bytes = std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    if language == Language::C {
        return wattle_policy_build::componentize_plain(&bytes);
    }
    wattle_policy_build::append_stamp(&mut bytes, wattle_policy_build::INTERFACE_VERSION.as_bytes());
    Ok(bytes)
}

/// What a project is written in.
///
/// # Errors
/// [`Usage`] when the folder has no policy, or more than one.
pub fn language(folder: &Path) -> Result<Language, Usage> {
    let found: Vec<_> = Language::ALL.into_iter().filter(|one| folder.join(one.mark()).is_file()).collect();
    match found.as_slice() {
        [language] => Ok(*language),
        [] => Err(Usage(format!(
            "{} has no policy: no Cargo.toml, policy.py, policy.js or policy.c; `wattle policy new` makes a project",
            folder.display()
        ))),
        more => {
            let marks: Vec<_> = more.iter().map(|language| language.mark()).collect();
            Err(Usage(format!(
                "{} has {}; keep one, or none can tell the language",
                folder.display(),
                marks.join(" and ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_policy_or_with_two_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = language(folder.path()).expect_err("empty").to_string();
        assert!(told.contains("has no policy: no Cargo.toml, policy.py, policy.js or policy.c"), "{told}");
        std::fs::write(folder.path().join("policy.c"), "").expect("written");
        assert_eq!(language(folder.path()).expect("one"), Language::C);
        std::fs::write(folder.path().join("policy.js"), "").expect("written");
        let told = language(folder.path()).expect_err("two").to_string();
        assert!(told.contains("has policy.js and policy.c"), "{told}");
    }
}
