//! A version of a policy as a site runs it: a component with settings that it takes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wattle_edge_core::Proposal;
use wattle_edge_core::site::equal_share;
use wattle_policy_host::schema::{self, SchemaError};
use wattle_policy_host::sign::{SignError, signature_text};
use wattle_policy_host::{Decided, Grants, Host, LoadError, Policy, RunError};
use wattle_site::Control;
use wattle_wire::policy::Snapshot;

use super::line::Versioned;
use super::{OFF, path};

/// Where the versions of a site's policy come from, what they are told and what they may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    settings: Arc<str>,
    grants: Grants,
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
    source: Arc<Source>,
    settings_digest: u64,
    /// Where the node asks for one: what stood beside the component.
    signature: Option<Arc<str>>,
    digest: [u8; 32],
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
        Self::with_text(path, control, settings)
    }

    /// One with settings that are JSON already.
    pub fn with_text(path: PathBuf, control: &Control, settings: impl Into<Arc<str>>) -> Self {
        let memory_bytes = control.policy_memory_mib as usize * (1 << 20);
        let fuel = u64::from(control.policy_fuel_million) * 1_000_000;
        let grants = Grants { memory_bytes, fuel, unasked_fuel: fuel };
        Self { path, settings: settings.into(), grants }
    }

    /// What it is told, JSON.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// The first eight bytes of the SHA-256 of what it is told, as decisions record it.
    pub fn settings_digest(&self) -> u64 {
        first_eight(&Sha256::digest(self.settings.as_bytes()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest component that is read for this site, bytes.
    pub fn most_bytes(&self, host: &Host) -> usize {
        host.limits().most_component_bytes(self.grants(host))
    }

    /// What the site grants: of fuel never less than the host gives unasked.
    fn grants(&self, host: &Host) -> Grants {
        let fuel = self.grants.fuel.max(host.limits().fuel);
        Grants { fuel, unasked_fuel: fuel, ..self.grants }
    }

    /// Reads and loads the version that the file holds now.
    ///
    /// # Errors
    /// A sentence that says why it can't decide for this site.
    pub fn load(&self, host: &Host) -> Result<Version, String> {
        let bytes = read(&self.path, self.most_bytes(host));
        bytes.and_then(|bytes| self.version(host, &bytes)).map_err(|unusable| unusable.reason)
    }

    /// Loads a version, if who has signed it is trusted, and shows it its settings.
    ///
    /// # Errors
    /// Why it can't decide for this site.
    pub fn version(&self, host: &Host, bytes: &[u8]) -> Result<Version, Unusable> {
        self.version_at(host, &self.path, bytes)
    }

    /// The same for bytes of another file.
    ///
    /// # Errors
    /// As [`Self::version`].
    pub fn version_at(&self, host: &Host, file: &Path, bytes: &[u8]) -> Result<Version, Unusable> {
        let path = file.display();
        let signed_by = host.admit(file, bytes).map_err(|error| {
            // A signature may come a moment after what it signs.
            let may_pass =
                matches!(error, SignError::Unsigned(_) | SignError::Mismatch { .. } | SignError::Io { .. });
            Unusable::new(error.to_string(), may_pass)
        })?;
        let policy = host.load_within(bytes, self.grants(host)).map_err(|error| {
            let more = granted_by(&error);
            let may_pass = matches!(error, LoadError::Describe(RunError::Deadline(_)));
            Unusable::new(format!("{path} can't be used: {error}{more}"), may_pass)
        })?;
        let unlooked = |error: SchemaError| {
            let may_pass = matches!(error, SchemaError::Run(RunError::Deadline(_)));
            Unusable::new(format!("{path}: {error}"), may_pass)
        };
        schema::check(&policy).map_err(unlooked)?;
        let faults = schema::faults(&policy, &self.settings).map_err(unlooked)?;
        if !faults.is_empty() {
            return Err(Unusable::new(format!("{path} refuses its settings: {}", faults.join("; ")), false));
        }
        let signature = signed_by.and_then(|_| signature_text(file)).map(Arc::from);
        let digest = mark(&policy.digest(), &self.settings);
        let (source, settings_digest) = (Arc::new(self.clone()), self.settings_digest());
        Ok(Version { policy, source, settings_digest, signature, digest })
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

    /// Where it came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The component's bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        self.policy.bytes()
    }

    /// The signature that stood beside the component, where the node asks for one.
    pub fn signature(&self) -> Option<&Arc<str>> {
        self.signature.as_ref()
    }

    /// The SHA-256 of its component.
    pub fn component(&self) -> [u8; 32] {
        self.policy.digest()
    }

    /// Asks for a plan.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    pub fn decide(&self, snapshot: &Snapshot, state: &[u8]) -> Result<Decided, RunError> {
        self.policy.decide(snapshot, &self.source.settings, state)
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
        self.digest
    }
}

/// What tells a component with these settings from others.
pub fn mark(component: &[u8; 32], settings: &str) -> [u8; 32] {
    Sha256::new_with_prefix(component).chain_update(settings).finalize().into()
}

/// Where more can be granted, for a policy that has too little.
fn granted_by(error: &LoadError) -> &'static str {
    match error {
        LoadError::AsksTooMuch { what, .. } if what.contains("fuel") => "; see policy_fuel_million",
        LoadError::AsksTooMuch { .. } => "; see policy_memory_mib",
        LoadError::TooLarge { .. } | LoadError::Describe(RunError::OutOfMemory(_)) => {
            "; see policy_memory_mib"
        }
        LoadError::Describe(RunError::OutOfFuel(_)) => "; see policy_fuel_million",
        _ => "",
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
    use wattle_policy_host::sign::{PrivateKey, signature_path};

    use super::super::tests::{component, host};
    use super::super::trusting;
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_digest_is_read_from_its_first_byte() {
        assert_eq!(first_eight(&[0, 0, 0, 0, 0, 0, 1, 2, 9]), 258);
    }

    #[test]
    fn with_a_ring_only_what_its_keys_have_signed_decides() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, keys) = (folder.path().join("site.wasm"), folder.path().join("keys"));
        std::fs::create_dir(&keys).expect("made");
        let key = PrivateKey::generate().expect("a key");
        key.write(&folder.path().join("a.key"), &keys.join("anna.pub")).expect("written");
        std::fs::write(&file, component("equal-share")).expect("written");
        let control = Control { policy: "site".into(), ..Control::default() };
        let source = Source::active(folder.path(), &control).expect("it is on");
        let config = Config { policy_keys: Some(keys), ..Config::default() };
        let load = |config: &Config| source.load(&trusting(host(), config)).map(|version| version.name());
        assert!(load(&Config::default()).is_ok(), "without a ring no signature is asked for");
        assert!(load(&config).expect_err("not signed").contains("site.wasm is not signed"));
        assert!(load(&Config { policy_unsigned: true, ..config.clone() }).is_ok());
        std::fs::write(signature_path(&file), key.sign(&component("equal-share"))).expect("written");
        assert_eq!(load(&config), Ok("equal-share 0.1.0".into()));
        std::fs::write(&file, component("fair-share")).expect("written");
        let other = load(&config).expect_err("another component under the same signature");
        assert!(other.contains("doesn't fit these bytes"), "{other}");
        let nobody =
            Config { policy_keys: Some("/nowhere".into()), policy_unsigned: true, ..Config::default() };
        assert!(load(&nobody).expect_err("a ring that can't be read").contains("it is empty"));
    }

    #[test]
    fn what_is_granted_memory_may_be_as_large() {
        let most = |policy_memory_mib| {
            let control = Control { policy_memory_mib, ..Control::default() };
            Source::active(Path::new("/p"), &control).expect("it is on").most_bytes(&host())
        };
        assert_eq!([1, 16, 17, 32].map(most), [4, 4, 17, 32].map(|mib: usize| mib << 20));
    }

    #[test]
    fn a_policy_that_is_off_comes_from_nowhere() {
        let control = Control { policy: OFF.into(), ..Control::default() };
        assert_eq!(Source::active(Path::new("/p"), &control), None);
        assert_eq!(Source::shadow(Path::new("/p"), &control), None);
    }
}
