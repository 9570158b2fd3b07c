//! `wattle policy inspect`: what a component says of itself, checked as an edge node would.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wattle_policy_host::{Host, Limits, Policy};

/// Check a component as an edge node would, and print what it says of itself
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the file can't be read, or an edge node would not load it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let policy = load(&args.file, &bytes)?;
    print!("{}", facts(&policy, bytes.len()));
    Ok(())
}

/// Loads a component inside the limits that an edge node has by default.
///
/// # Errors
/// When it would not be loaded there; the text has the file.
pub fn load(file: &Path, bytes: &[u8]) -> anyhow::Result<Policy> {
    let host = Host::new(Limits::default())?;
    host.load(bytes).with_context(|| file.display().to_string())
}

fn facts(policy: &Policy, size: usize) -> String {
    let description = policy.description();
    let needs: Vec<String> = description.needs.iter().map(|need| format!("{need:?}")).collect();
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let asked = |amount: u64| if amount == 0 { "the default".to_owned() } else { amount.to_string() };
    let digest: String = policy.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "name      {}\nversion   {}\nsize      {:.1} KB\nsha256    {digest}\nneeds     {}\nmemory    {}\nfuel      {}\nsettings  {}\n",
        description.name,
        description.version,
        size as f64 / 1000.0,
        or(needs.join(", "), "nothing"),
        asked(description.memory_bytes),
        asked(description.fuel),
        or(description.settings_schema.clone(), "no schema"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let args = Args { file: "/nowhere/at-all.wasm".into() };
        let error = run(&args).expect_err("not there");
        assert!(format!("{error:#}").contains("cannot read /nowhere/at-all.wasm"), "{error:#}");
    }

    #[test]
    fn a_file_that_is_no_component_is_named_with_the_reason() {
        let error = load(Path::new("x.wasm"), b"\0asm\x01\0\0\0").expect_err("a core module");
        assert!(format!("{error:#}").starts_with("x.wasm: this is a core module"), "{error:#}");
    }
}
