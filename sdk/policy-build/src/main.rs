//! `wattle-policy-build MODULE.wasm COMPONENT.wasm`: makes the core module of a load policy a component.

use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        bail!("usage: wattle-policy-build MODULE.wasm COMPONENT.wasm");
    };
    let bytes = std::fs::read(module).with_context(|| format!("cannot read {module}"))?;
    let built = wattle_policy_build::componentize(&bytes).with_context(|| module.clone())?;
    write_whole(Path::new(component), &built).with_context(|| format!("cannot write {component}"))?;
    println!("{component}: {:.1} KB", built.len() as f64 / 1000.0);
    Ok(())
}

/// Writes under another name first, so that nobody reads half a component.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("wasm.new");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(unfinished, path)
}
