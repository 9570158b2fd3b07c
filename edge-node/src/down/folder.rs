//! What the way down has left on the disk: the folder `deployed` in the data folder.
//!
//! - `site-<site>`: what stands at a site and what became of the newest document; sealed JSON ([`wattle_process::sealed`]). Of a site
//!   whose name ends like a file that is unfinished or damaged it is `site-<site>@`.
//! - `strangers`: what was refused because of its site or kind; sealed JSON.
//! - `<sha256>.wasm` and `<sha256>.wasm.sig`: components and their signatures, for all sites.
//!
//! A component is on the disk before a site's file names it. What no site's file names any more is deleted; of what stood and stands no
//! more the last ones are kept, for a replay ([`super::kept::MOST_WITHDRAWN`] per site, [`MOST_WITHDRAWN_BYTES`] of all). A file that is
//! damaged is set aside with the ending `.damaged`: the site file's policy decides, and the fog node hands the newest document again. One that
//! the machine can't read is left where it is, and read again later.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use wattle_policy_host::sign::signature_path;
use wattle_process::sealed;
use wattle_wire::SiteId;
use wattle_wire::document::HasOf;

use super::kept::{Deployment, Kept};

/// Name of the folder.
pub const FOLDER: &str = "deployed";
/// The most bytes of components that are kept for a replay only.
pub const MOST_WITHDRAWN_BYTES: u64 = 64 << 20;
/// What the name of a site's file begins with.
const SITE: &str = "site-";

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

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

    /// What is kept of a site; nothing where that is damaged, which is logged.
    ///
    /// # Errors
    /// When the machine can't read it now.
    pub fn read(&self, site: &SiteId) -> io::Result<Kept> {
        read(&self.site(site), "what was deployed is damaged; the site file's policy decides: deploy again")
    }

    /// What was refused because of its site or kind; nothing where that can't be read.
    pub fn strangers(&self) -> Vec<HasOf> {
        let path = self.0.join("strangers");
        let read = read(&path, "what was refused is damaged; it may come once more");
        read.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what was refused can't be read; it may come once more");
            Vec::new()
        })
    }

    /// Keeps what was refused because of its site or kind.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub fn write_strangers(&self, strangers: &[HasOf]) -> io::Result<()> {
        sealed::write(&self.0.join("strangers"), &serde_json::to_vec(strangers)?)
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

    /// Deletes the components that none of these sites needs; they have to be all that there are.
    pub fn tidy<'a>(&self, sites: impl Iterator<Item = &'a Kept> + Clone) {
        let standing = sites.clone().flat_map(|kept| &kept.standing);
        let mut needed: BTreeSet<_> = standing.flat_map(|deployment| self.files(deployment)).collect();
        let mut withdrawn: Vec<_> = sites.flat_map(|kept| &kept.withdrawn).collect();
        withdrawn.sort_by_key(|deployment| std::cmp::Reverse(deployment.since_us));
        let mut left = MOST_WITHDRAWN_BYTES;
        for files in withdrawn.into_iter().map(|deployment| self.files(deployment)) {
            let bytes = fs::metadata(&files[1]).map_or(0, |component| component.len());
            if needed.contains(&files[1]) || bytes > left {
                continue;
            }
            left -= bytes;
            needed.extend(files);
        }
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let ends = |end: &str| path.extension().is_some_and(|extension| extension == end);
            let is_site = entry.file_name().as_encoded_bytes().starts_with(SITE.as_bytes());
            if !is_site && (ends("wasm") || ends("sig") || ends("new")) && !needed.contains(&path) {
                // What can't be deleted now is tried again after the next document.
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// A component's signature, and it.
    fn files(&self, deployment: &Deployment) -> [PathBuf; 2] {
        let path = self.component(&deployment.sha256);
        [signature_path(&path), path]
    }

    fn site(&self, site: &SiteId) -> PathBuf {
        let name = site.as_str();
        // `@` stands in no name.
        let end = if name.ends_with(".new") || name.ends_with(".damaged") { "@" } else { "" };
        self.0.join(format!("{SITE}{name}{end}"))
    }
}

/// What a sealed file says; nothing where there is none, or where it is damaged: then it is set aside and `lost` is logged.
fn read<T: DeserializeOwned + Default>(path: &Path, lost: &str) -> io::Result<T> {
    let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let found = sealed::read(path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(damaged));
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let is_aside = fs::rename(path, path.with_added_extension("damaged")).is_ok();
            tracing::error!(path = %path.display(), %error, is_aside, "{lost}");
            Ok(T::default())
        }
        found => found,
    }
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
