//! The components of some folders, by their digest, with the settings that a journal tells of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wattle_edge_core::replay::Asked;
use wattle_policy_host::{Host, HostError, Limits};
use wattle_site::SiteFile;

use crate::down::folder;
use crate::policy::{Source, Version, first_eight, keep};

/// Fuel is the limit that binds, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most components of a folder that are looked at.
const MOST_FILES: usize = 1_000;

/// Finds and loads the components that decided.
pub struct Shelf {
    host: Host,
    folders: Vec<PathBuf>,
    /// Each component of the folders, by the first eight bytes of its SHA-256.
    files: BTreeMap<u64, PathBuf>,
    /// Settings that were deployed, by the first eight bytes of their SHA-256.
    settings: BTreeMap<u64, String>,
    /// Those that were loaded, by component, settings, and the memory and fuel that they were granted.
    loaded: BTreeMap<(u64, u64, (u32, u32)), Version>,
}

/// Why who was asked can't be asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Its component isn't there.
    #[error(
        "{policy}, whose SHA-256 begins with {digest:016x}, is not in {}: put that component there, under any name, or \
         give its folder with --policies",
        listed(folders)
    )]
    Component {
        /// Who decided.
        policy: String,
        /// Its digest.
        digest: u64,
        /// Where it was looked for.
        folders: Vec<PathBuf>,
    },
    /// The configuration has other settings.
    #[error(
        "the settings of {policy}, whose SHA-256 begins with {digest:016x}, are not those of the site's configuration"
    )]
    Settings {
        /// Who decided.
        policy: String,
        /// The digest of its settings.
        digest: u64,
    },
    /// It can't be loaded, or gives no plan although it gave one then.
    #[error("{0}")]
    Fails(String),
}

impl Shelf {
    /// The components in these folders; of two with the same bytes that of the first folder.
    ///
    /// # Errors
    /// When the runtime for policies doesn't start.
    pub fn new(folders: &[PathBuf]) -> Result<Self, HostError> {
        let host = Host::new(Limits { deadline: DEADLINE, ..Limits::default() })?;
        let files = folders.iter().rev().flat_map(|folder| components(folder)).collect();
        Ok(Self {
            host,
            folders: folders.to_vec(),
            files,
            settings: BTreeMap::new(),
            loaded: BTreeMap::new(),
        })
    }

    /// Takes settings that a policy may have been told without their standing in the site file.
    pub fn learn(&mut self, settings: &str) {
        self.settings.insert(first_eight(&Sha256::digest(settings)), settings.to_owned());
    }

    /// The version that was asked, at a site with this configuration.
    ///
    /// # Errors
    /// When it isn't there or can't be loaded.
    pub fn version(&mut self, asked: &Asked, site: &SiteFile) -> Result<&Version, Unavailable> {
        // What a site grants decides whether a plan is given.
        let granted = (site.control.policy_memory_mib, site.control.policy_fuel_million);
        let key = (asked.policy_digest, asked.settings_digest, granted);
        if !self.loaded.contains_key(&key) {
            let version = self.load(asked, site)?;
            self.loaded.insert(key, version);
        }
        Ok(&self.loaded[&key])
    }

    fn load(&self, asked: &Asked, site: &SiteFile) -> Result<Version, Unavailable> {
        let (policy, digest) = (asked.policy.clone(), asked.policy_digest);
        let Some(path) = self.files.get(&digest) else {
            return Err(Unavailable::Component { policy, digest, folders: self.folders.clone() });
        };
        let control = &site.control;
        let shadow = control.shadow.as_ref().map(|shadow| &shadow.settings);
        let settings = std::iter::once(&control.settings).chain(shadow);
        let sources = settings.map(|settings| Source::with_settings(path.clone(), control, settings));
        let deployed = self.settings.get(&asked.settings_digest);
        let deployed = deployed.map(|settings| Source::with_text(path.clone(), control, settings.as_str()));
        let mut sources = sources.chain(deployed);
        let Some(source) = sources.find(|source| source.settings_digest() == asked.settings_digest) else {
            return Err(Unavailable::Settings { policy, digest: asked.settings_digest });
        };
        source.load(&self.host).map_err(Unavailable::Fails)
    }
}

/// Where the components that have decided at a node may be: in the folder of policies, and, of the node with this data folder,
/// where it keeps the last version that proved itself and what was deployed.
pub fn folders(policies: &Path, data: Option<&Path>) -> Vec<PathBuf> {
    let kept =
        data.into_iter().flat_map(|data| [keep::FOLDER, folder::FOLDER].map(|folder| data.join(folder)));
    std::iter::once(policies.to_owned()).chain(kept).collect()
}

fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The components of a folder, each by the first eight bytes of its SHA-256.
pub fn components(folder: &Path) -> BTreeMap<u64, PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let components = paths.filter(|path| path.extension().is_some_and(|end| end == "wasm"));
    let digest = |path: PathBuf| Some((first_eight(&Sha256::digest(std::fs::read(&path).ok()?)), path));
    components.take(MOST_FILES).filter_map(digest).collect()
}
