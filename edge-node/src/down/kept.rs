//! What the way down has left on the disk: the folder `deployed` in the data folder.
//!
//! - `site-<site>`: what stands at a site and what became of the newest document; sealed JSON ([`wattle_process::sealed`]).
//! - `<sha256>.wasm` and `<sha256>.wasm.sig`: components and their signatures, for all sites.
//!
//! A component is on the disk before a site's file names it; what no site's file names any more is deleted. A site's file that is
//! damaged is set aside as `site-<site>.damaged`: the site file's policy decides, and the fog node hands the newest document again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wattle_policy_host::sign::signature_path;
use wattle_process::sealed;
use wattle_wire::document::Action;
use wattle_wire::{Micros, SiteId};

use crate::policy::{Role, Stands, mark};

/// Name of the folder.
pub const FOLDER: &str = "deployed";
/// The most deployments that stand at a site; beyond it the oldest that has a successor goes.
pub const MOST_STANDING: usize = 4;

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// What is kept of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The newest version that was applied or refused.
    pub newest: u64,
    /// What became of it.
    pub told: Option<Told>,
    /// What was deployed and not taken back, the newest last.
    pub standing: Vec<Deployment>,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which version.
    pub version: u64,
    /// What it asked for.
    pub action: Option<Action>,
    /// Of which bytes, hexadecimal.
    pub sha256: String,
    /// Who has sent it.
    pub sent_by: String,
    /// When it was dealt with.
    pub at_us: Micros,
    /// Why it was refused or rolled back; empty where it was applied.
    pub refused: String,
}

/// A policy that was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The document's version.
    pub version: u64,
    /// What it asked for.
    pub action: Action,
    /// Name and version of the policy.
    pub policy: String,
    /// SHA-256 of the component, hexadecimal.
    pub sha256: String,
    /// What it is told, JSON; none for the site file's settings.
    pub settings: Option<String>,
    /// Who has sent it.
    pub sent_by: String,
    /// The key that has signed it.
    pub signed_by: Option<String>,
    /// When it was applied.
    pub applied_us: Micros,
    /// Whether it may decide without a trial: it was active once, or was to be at once.
    pub proven: bool,
    /// How it stands, and since when.
    pub stands: Stand,
    /// See `stands`.
    pub since_us: Micros,
}

/// How a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It proves itself.
    Trial,
    /// It decides, or did before the next one.
    Active,
    /// It is in shadow for good.
    Shadow,
}

impl Stand {
    /// Of what the policy says; none where it stands no more.
    pub fn of(stands: Stands) -> Option<Self> {
        match stands {
            Stands::Trial => Some(Self::Trial),
            Stands::Active => Some(Self::Active),
            Stands::Shadow => Some(Self::Shadow),
            Stands::Refused | Stands::RolledBack => None,
        }
    }

    /// As pages write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Shadow => "shadow",
        }
    }
}

impl Deployment {
    /// Which of the site's policies it is.
    pub fn role(&self) -> Role {
        if self.action == Action::Shadow { Role::Shadow } else { Role::Active }
    }

    /// What tells it from others, under the site file's settings where it has none of its own.
    pub fn mark(&self, of_the_site: &str) -> Option<[u8; 32]> {
        Some(mark(&unhex(&self.sha256)?, self.settings.as_deref().unwrap_or(of_the_site)))
    }
}

impl Kept {
    /// The newest that stands in a role.
    pub fn newest_of(&self, role: Role) -> Option<&Deployment> {
        self.standing.iter().rev().find(|deployment| deployment.role() == role)
    }

    /// Adds one. What it replaces before that has ever decided goes, and what is too many, but never the newest of a role.
    pub fn push(&mut self, deployment: Deployment) {
        self.standing.retain(|before| before.proven || before.role() != deployment.role());
        self.standing.push(deployment);
        while self.standing.len() > MOST_STANDING {
            let has_successor = |at: usize| {
                self.standing[at + 1..].iter().any(|later| later.role() == self.standing[at].role())
            };
            let oldest = (0..self.standing.len()).find(|at| has_successor(*at)).unwrap_or_default();
            self.standing.remove(oldest);
        }
    }
}

impl Folder {
    /// The folder in a data folder, made when it isn't there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join(FOLDER);
        fs::create_dir_all(&folder)?;
        sealed::sync_folder(&folder)?;
        Ok(Self(folder))
    }

    /// Where a component is.
    pub fn component(&self, sha256: &str) -> PathBuf {
        self.0.join(sha256).with_added_extension("wasm")
    }

    /// What is kept of a site; nothing where that can't be read, which is logged.
    pub fn read(&self, site: &SiteId) -> Kept {
        let path = self.site(site);
        let found =
            sealed::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
        found.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let aside = path.with_added_extension("damaged");
                let is_aside = fs::rename(&path, &aside).is_ok();
                tracing::error!(
                    path = %path.display(), %error, is_aside,
                    "what was deployed can't be read; the site file's policy decides: deploy again"
                );
            }
            Kept::default()
        })
    }

    /// Keeps what is known of a site; when this returns it is on the disk.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub fn write(&self, site: &SiteId, kept: &Kept) -> io::Result<()> {
        sealed::write(&self.site(site), &serde_json::to_vec(kept)?)
    }

    /// Puts a signature beside where a component would be, under another name, so that it can be looked at before the one
    /// that holds is replaced. Gives the name that the component would have.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub fn try_signature(&self, sha256: &str, signature: &str) -> io::Result<PathBuf> {
        let path = self.component(&format!("{sha256}.try"));
        match signature {
            "" => match fs::remove_file(signature_path(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)?,
                _ => {}
            },
            text => put(&signature_path(&path), text.as_bytes())?,
        }
        Ok(path)
    }

    /// Keeps a component and its signature; when this returns they are on the disk.
    ///
    /// # Errors
    /// When the disk doesn't take them.
    pub fn add(&self, sha256: &str, component: &[u8], signature: &str) -> io::Result<PathBuf> {
        let path = self.component(sha256);
        // The signature first: a component is never seen without it.
        match signature {
            "" => {}
            text => put(&signature_path(&path), text.as_bytes())?,
        }
        put(&path, component)?;
        sealed::sync_folder(&path)?;
        Ok(path)
    }

    /// Deletes the components that none of these sites needs.
    pub fn tidy<'a>(&self, sites: impl Iterator<Item = &'a Kept>) {
        let needed: BTreeSet<_> = sites
            .flat_map(|kept| &kept.standing)
            .flat_map(|deployment| {
                let path = self.component(&deployment.sha256);
                [signature_path(&path), path]
            })
            .collect();
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let ends = |end: &str| path.extension().is_some_and(|extension| extension == end);
            if (ends("wasm") || ends("sig") || ends("new")) && !needed.contains(&path) {
                // What can't be deleted now is tried again after the next document.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn site(&self, site: &SiteId) -> PathBuf {
        self.0.join(format!("site-{site}"))
    }
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    wattle_process::inbox::token_digest(text).ok()
}
