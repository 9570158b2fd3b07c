//! Files that people name: read within a bound, written whole.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use wattle_policy_host::{Cache, Grants, Host, Limits, Policy, schema};

use crate::Usage;

/// The most that is read of a file, bytes.
pub const MOST_BYTES: u64 = 64 << 20;
/// The most memory that a site may grant, MiB.
pub const MOST_MEMORY_MIB: usize = 256;
/// The most fuel that a site may grant.
pub const MOST_FUEL: u64 = 10_000_000_000;
/// Fuel is the limit that binds, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where compiled code is kept from one command to the next.
static CODE: OnceLock<PathBuf> = OnceLock::new();

/// Has [`host`] keep compiled code in `$XDG_CACHE_HOME/wattle/code`, or `~/.cache/wattle/code`, from now on: a component in Python takes
/// so long to compile that nobody wants to wait for it with each command. Where neither variable is set each command compiles.
pub fn keep_code() {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    if let Some(folder) = folder {
        // Whoever was first has said the same.
        let _ = CODE.set(folder.join("wattle/code"));
    }
}

/// The bytes of a file.
///
/// # Errors
/// [`Usage`], with the file, when it can't be read or is too large.
pub fn read(file: &Path) -> Result<Vec<u8>, Usage> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| unusable(file, &error))?;
    opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unusable(file, &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unusable(file, &format!("is larger than the {MOST_BYTES} bytes that are read")));
    }
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`read`], and when it is no UTF-8.
pub fn read_text(file: &Path) -> Result<String, Usage> {
    String::from_utf8(read(file)?).map_err(|error| unusable(file, &error))
}

/// A mistake in a file, as a person reads it.
pub fn unusable(file: &Path, why: &dyn std::fmt::Display) -> Usage {
    Usage(format!("{}: {why}", file.display()))
}

/// Writes a file under another name first, so that nobody reads half of it.
///
/// # Errors
/// With the file, when it can't be written.
pub fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = file.with_added_extension("new");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A runtime for policies at a desk: all that a site may grant can be had, and time is no limit.
///
/// # Errors
/// When the runtime doesn't start.
pub fn host() -> anyhow::Result<Host> {
    host_with_fuel(Limits::default().fuel)
}

/// The same with this much fuel for a policy that doesn't ask.
///
/// # Errors
/// When the runtime doesn't start.
pub fn host_with_fuel(fuel: u64) -> anyhow::Result<Host> {
    let limits = Limits { deadline: DEADLINE, fuel, ..Limits::default() };
    // A folder that can't be used costs time, nothing else.
    Ok(match CODE.get().and_then(|folder| Cache::open(folder).ok()) {
        Some(cache) => Host::with_cache(limits, cache)?,
        None => Host::new(limits)?,
    })
}

/// The SHA-256 of a component, hexadecimal.
pub fn digest(policy: &Policy) -> String {
    policy.digest().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a site may grant at most, to those that ask; who doesn't ask has what `host` gives.
pub fn grants(host: &Host) -> Grants {
    let unasked_fuel = host.limits().fuel;
    Grants { memory_bytes: MOST_MEMORY_MIB << 20, fuel: MOST_FUEL, unasked_fuel }
}

/// Loads a component as a site would that grants all that can be granted, and looks whether it keeps to its own schema.
///
/// # Errors
/// [`Usage`], with the file, when it would be loaded nowhere or breaks its schema.
pub fn load(host: &Host, file: &Path, bytes: &[u8]) -> Result<Policy, Usage> {
    let policy = host.load_within(bytes, grants(host)).map_err(|error| unusable(file, &error))?;
    schema::check(&policy).map_err(|why| unusable(file, &why))?;
    Ok(policy)
}
