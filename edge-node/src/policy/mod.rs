//! The policy of a site: found, loaded, and asked for a plan at each decision.
//!
//! A policy that is missing, broken or fails leaves the decision without a plan; the core then falls back to
//! the last good plan or its built-in share, and the event in the journal says why. The node never stops for
//! a policy.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wattle_edge_core::Proposal;
use wattle_policy_host::{Host, Policy};
use wattle_site::Control;
use wattle_wire::policy::Snapshot;

/// Environment variable that names the folder with policies.
pub const FOLDER_VARIABLE: &str = "WATTLE_POLICIES";
const INSTALLED: &str = "/usr/lib/wattle/policies";

/// The folder with policies: the configured one; else `$WATTLE_POLICIES`; else `policies` beside the program
/// or one folder above; else `/usr/lib/wattle/policies`.
pub fn folder(configured: Option<&Path>) -> PathBuf {
    if let Some(folder) = configured {
        return folder.to_owned();
    }
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let near = program.ancestors().skip(1).take(3).map(|folder| folder.join("policies"));
    near.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| INSTALLED.into())
}

/// Where the component of a policy is: a path that ends in `.wasm` as it stands, a name in the folder.
pub fn path(folder: &Path, policy: &str) -> PathBuf {
    if policy.ends_with(".wasm") { policy.into() } else { folder.join(format!("{policy}.wasm")) }
}

/// The policy of one site with its settings.
pub struct SitePolicy {
    loaded: Result<Policy, String>,
    name: String,
    digest: u64,
    settings: String,
    settings_digest: u64,
}

impl SitePolicy {
    /// Loads the policy that a site asks for. Never fails: what is wrong is said at each decision.
    pub fn load(host: &Host, folder: &Path, control: &Control) -> Self {
        let settings = settings(control);
        let settings_digest = first_eight(&Sha256::digest(settings.as_bytes()));
        let loaded = load(host, folder, control);
        let (name, digest) = match &loaded {
            Ok(policy) => {
                let name = format!("{} {}", policy.name(), policy.version());
                tracing::info!(policy = name, path = %path(folder, &control.policy).display(), "policy loaded");
                (name, first_eight(&policy.digest()))
            }
            Err(reason) => {
                tracing::error!(
                    policy = control.policy,
                    reason,
                    "policy not loaded; the built-in share decides"
                );
                (control.policy.clone(), 0)
            }
        };
        Self { loaded, name, digest, settings, settings_digest }
    }

    /// Asks for a plan.
    pub fn propose(&self, snapshot: &Snapshot, state: &[u8]) -> Proposal {
        let (plan, fuel) = match &self.loaded {
            Ok(policy) => match policy.decide(snapshot, &self.settings, state) {
                Ok(decided) => (Ok(decided.plan), decided.fuel),
                Err(error) => (Err(error.to_string()), 0),
            },
            Err(reason) => (Err(reason.clone()), 0),
        };
        Proposal {
            plan,
            policy: self.name.clone(),
            policy_digest: self.digest,
            settings_digest: self.settings_digest,
            fuel,
        }
    }
}

fn settings(control: &Control) -> String {
    serde_json::to_string(&control.settings).expect("a TOML table holds nothing that JSON can't say")
}

/// Loads the policy that a site asks for and shows it its settings.
///
/// # Errors
/// A sentence that says why it can't decide for this site.
pub fn load(host: &Host, folder: &Path, control: &Control) -> Result<Policy, String> {
    let path = path(folder, &control.policy);
    let bytes = std::fs::read(&path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let policy = host.load(&bytes).map_err(|error| format!("{} can't be used: {error}", path.display()))?;
    let faults = policy.validate_settings(&settings(control)).map_err(|error| error.to_string())?;
    if !faults.is_empty() {
        return Err(format!("{} refuses its settings: {}", path.display(), faults.join("; ")));
    }
    Ok(policy)
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_the_folder_and_a_path_is_taken_as_it_stands() {
        assert_eq!(path(Path::new("/p"), "equal-share"), Path::new("/p/equal-share.wasm"));
        assert_eq!(path(Path::new("/p"), "./mine.wasm"), Path::new("./mine.wasm"));
    }

    #[test]
    fn the_configured_folder_goes_first() {
        assert_eq!(folder(Some(Path::new("/mine"))), Path::new("/mine"));
    }

    #[test]
    fn the_digest_is_read_from_its_first_byte() {
        assert_eq!(first_eight(&[0, 0, 0, 0, 0, 0, 1, 2, 9]), 258);
    }
}
