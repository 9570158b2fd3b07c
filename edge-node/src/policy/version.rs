//! A version of a policy as a site runs it: a component with settings that it takes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wattle_edge_core::Proposal;
use wattle_edge_core::site::equal_share;
use wattle_policy_host::{Allowance, Decided, Host, LoadError, Policy, RunError};
use wattle_site::Control;
use wattle_wire::policy::Snapshot;

use super::line::Versioned;
use super::{OFF, path};

/// Where the versions of a site's policy come from, what they are told and what they may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    settings: Arc<str>,
    allowance: Allowance,
}

/// Why a version can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// A sentence for people.
    pub reason: String,
    /// Whether the same file may be usable a little later: it couldn't be read, or the machine was too busy.
    pub may_pass: bool,
}

impl Unusable {
    fn new(reason: String, may_pass: bool) -> Self {
        Self { reason, may_pass }
    }
}

/// A version that can be used.
#[derive(Debug, Clone)]
pub struct Version {
    policy: Policy,
    settings: Arc<str>,
    settings_digest: u64,
}

impl Source {
    /// Of the policy that is obeyed; none where it is off.
    pub fn active(folder: &Path, control: &Control) -> Option<Self> {
        (control.policy != OFF).then(|| Self::new(folder, control, &control.policy, &control.settings))
    }

    /// Of the policy in shadow, if there is one.
    pub fn shadow(folder: &Path, control: &Control) -> Option<Self> {
        control.shadow.as_ref().map(|shadow| Self::new(folder, control, &shadow.policy, &shadow.settings))
    }

    fn new(folder: &Path, control: &Control, policy: &str, settings: &toml::Table) -> Self {
        Self::with_settings(path(folder, policy), control, settings)
    }

    /// One with these settings, of a site with this control.
    pub fn with_settings(path: PathBuf, control: &Control, settings: &toml::Table) -> Self {
        let settings =
            serde_json::to_string(settings).expect("a TOML table holds nothing that JSON can't say");
        let memory_bytes = control.policy_memory_mib as usize * (1 << 20);
        let allowance = Allowance { memory_bytes, fuel: control.policy_fuel };
        Self { path, settings: settings.into(), allowance }
    }

    /// The first eight bytes of the SHA-256 of what it is told, as decisions record it.
    pub fn settings_digest(&self) -> u64 {
        first_eight(&Sha256::digest(self.settings.as_bytes()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and loads the version that the file holds now.
    ///
    /// # Errors
    /// A sentence that says why it can't decide for this site.
    pub fn load(&self, host: &Host) -> Result<Version, String> {
        let bytes = read(&self.path, host.limits().component_bytes);
        bytes.and_then(|bytes| self.version(host, &bytes)).map_err(|unusable| unusable.reason)
    }

    /// Loads a version and shows it its settings.
    ///
    /// # Errors
    /// Why it can't decide for this site.
    pub fn version(&self, host: &Host, bytes: &[u8]) -> Result<Version, Unusable> {
        let path = self.path.display();
        let policy = host.load_granted(bytes, self.allowance).map_err(|error| {
            let more = match error {
                LoadError::AsksTooMuch { .. } => "; see policy_memory_mib and policy_fuel",
                _ => "",
            };
            let may_pass = matches!(error, LoadError::Describe(RunError::Deadline(_)));
            Unusable::new(format!("{path} can't be used: {error}{more}"), may_pass)
        })?;
        let faults = policy.validate_settings(&self.settings).map_err(|error| {
            Unusable::new(format!("{path}: {error}"), matches!(error, RunError::Deadline(_)))
        })?;
        if !faults.is_empty() {
            return Err(Unusable::new(format!("{path} refuses its settings: {}", faults.join("; ")), false));
        }
        Ok(Version { policy, settings: self.settings.clone(), settings_digest: self.settings_digest() })
    }
}

/// The component's bytes; of a file that is too long one more than the host reads.
///
/// # Errors
/// A sentence that names the file.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Unusable::new(format!("{} can't be read: {error}", path.display()), true))?;
    Ok(bytes)
}

impl Version {
    /// Its policy's name.
    pub fn policy(&self) -> &str {
        self.policy.name()
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.policy.version()
    }

    /// Name and version.
    pub fn name(&self) -> String {
        format!("{} {}", self.policy(), self.version())
    }

    /// The component's bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        self.policy.bytes()
    }

    /// Asks for a plan.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    pub fn decide(&self, snapshot: &Snapshot, state: &[u8]) -> Result<Decided, RunError> {
        self.policy.decide(snapshot, &self.settings, state)
    }

    /// The state that a version of `policy` has left, as this one goes on from it.
    ///
    /// # Errors
    /// When it declines or fails.
    pub fn take_over(&self, policy: &str, version: &str, state: &[u8]) -> Result<Vec<u8>, RunError> {
        if policy != self.policy() || state.is_empty() {
            return Ok(Vec::new());
        }
        if version == self.version() {
            return Ok(state.to_vec());
        }
        self.policy.migrate_state(version, state)
    }

    /// What it has decided, or why it hasn't, as the core takes it.
    pub fn proposal(&self, decided: Result<Decided, String>) -> Proposal {
        let (plan, fuel) = match decided {
            Ok(decided) => (Ok(decided.plan), decided.fuel),
            Err(reason) => (Err(reason), 0),
        };
        let (policy, policy_digest) = (self.name(), first_eight(&self.policy.digest()));
        Proposal { plan, policy, policy_digest, settings_digest: self.settings_digest, fuel }
    }
}

impl Versioned for Version {
    fn digest(&self) -> [u8; 32] {
        self.policy.digest()
    }
}

/// What is proposed where the policy is off.
pub fn built_in(snapshot: &Snapshot) -> Proposal {
    Proposal {
        plan: Ok(equal_share(snapshot)),
        policy: "built-in equal-share".into(),
        policy_digest: 0,
        settings_digest: 0,
        fuel: 0,
    }
}

/// The first eight bytes of a digest, as decisions record it.
pub fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_read_from_its_first_byte() {
        assert_eq!(first_eight(&[0, 0, 0, 0, 0, 0, 1, 2, 9]), 258);
    }

    #[test]
    fn a_policy_that_is_off_comes_from_nowhere() {
        let control = Control { policy: OFF.into(), ..Control::default() };
        assert_eq!(Source::active(Path::new("/p"), &control), None);
        assert_eq!(Source::shadow(Path::new("/p"), &control), None);
    }
}
