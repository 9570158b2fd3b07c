//! The last version of each site's policy that proved itself, on the disk, so that a restart has something to go back to.
//!
//! In a folder of the data folder:
//!
//! | file | what |
//! |---|---|
//! | `<SHA-256 of the component>.wasm` | its bytes |
//! | `<SHA-256 of the component>.wasm.sig` | its signature, where the node asks for one: what was trusted before is checked again |
//! | `<site>.last` | two lines: the SHA-256 of the site's version, and the policy as the site file names it |
//!
//! A version has proved itself once it has finished its trial, or, where it was obeyed straight away, has made as many good
//! decisions as a trial takes, at least one. A thread of its own writes: the component first, then the site's file, each under
//! another name, synced and renamed. So a site's file never names what isn't there whole, unless somebody has touched the folder: what
//! is read has to have its SHA-256.
//!
//! Bounds: a file for each site; [`MOST_COMPONENTS`] components, of which the one that was written first makes room;
//! [`QUEUE`] versions that wait to be written. Where one doesn't fit into the queue its site tries again at its next
//! decision. A component that no site's file names is removed. What can't be written is said in the log and costs
//! nothing until a restart.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wattle_policy_host::sign::signature_path;
use wattle_wire::SiteId;

/// The folder in the data folder.
pub const FOLDER: &str = "policy-last";
/// The most components that are kept.
const MOST_COMPONENTS: usize = 64;
/// Versions that wait to be written.
const QUEUE: usize = 64;
/// The longest site's file that is read: a digest and a policy's name or path.
const MOST_LINK_BYTES: u64 = 8 << 10;
/// The longest component that is read; a host takes less.
const MOST_BYTES: u64 = 256 << 20;

/// Keeps versions. Cheap to clone; the thread that writes ends with the last clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    folder: PathBuf,
    waiting: SyncSender<Kept>,
}

/// A version to be kept.
#[derive(Debug)]
struct Kept {
    site: SiteId,
    policy: String,
    bytes: Arc<[u8]>,
    signature: Option<Arc<str>>,
}

/// What was kept last.
#[derive(Debug, PartialEq, Eq)]
pub struct Last {
    /// Where the component stands, and its signature beside it.
    pub path: PathBuf,
    /// The component's bytes.
    pub bytes: Vec<u8>,
}

/// What one site has of a [`Keeper`].
#[derive(Debug, Clone)]
pub struct Place {
    keeper: Keeper,
    site: SiteId,
    policy: String,
}

impl Keeper {
    /// Starts the thread that writes into the data folder.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(data: &Path) -> io::Result<Self> {
        let folder = data.join(FOLDER);
        let (waiting, taken) = mpsc::sync_channel(QUEUE);
        let into = folder.clone();
        std::thread::Builder::new().name("policy-keep".into()).spawn(move || write_all(&into, &taken))?;
        Ok(Self { folder, waiting })
    }

    /// The place of a site whose file names this policy.
    pub fn place(&self, site: &SiteId, policy: &str) -> Place {
        Place { keeper: self.clone(), site: site.clone(), policy: policy.into() }
    }
}

impl Place {
    /// The component that was kept last for this site and this name of a policy; none if there is none that is whole.
    pub fn read(&self) -> Option<Last> {
        read(&self.keeper.folder, &self.site, &self.policy)
    }

    /// The place of another site.
    #[cfg(test)]
    pub(super) fn of(&self, site: &str) -> Self {
        Self { site: SiteId::new(site).expect("a name"), ..self.clone() }
    }

    /// Has a component kept, with its signature; false if it has to be tried again later.
    pub fn keep(&self, bytes: &Arc<[u8]>, signature: Option<&Arc<str>>) -> bool {
        let (site, policy, bytes) = (self.site.clone(), self.policy.clone(), Arc::clone(bytes));
        let kept = Kept { site, policy, bytes, signature: signature.cloned() };
        self.keeper.waiting.try_send(kept).is_ok()
    }
}

/// What is kept in a node's data folder for a site, as [`Place::read`].
pub fn kept(data: &Path, site: &SiteId, policy: &str) -> Option<Last> {
    read(&data.join(FOLDER), site, policy)
}

fn read(folder: &Path, site: &SiteId, policy: &str) -> Option<Last> {
    let link = text(&link_of(folder, site))?;
    let (digest, named) = link.split_once('\n')?;
    if named.trim_end_matches('\n') != policy || digest.len() != 64 {
        return None;
    }
    component(folder, digest)
}

/// The component of a digest, if it is there and whole.
fn component(folder: &Path, digest: &str) -> Option<Last> {
    let path = folder.join(format!("{digest}.wasm"));
    let bytes = bytes(&path, MOST_BYTES)?;
    let is_whole = hex(&bytes) == digest;
    if !is_whole {
        tracing::warn!(path = %path.display(), "is not what was written; it is not used");
    }
    is_whole.then_some(Last { path, bytes })
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(bytes(path, MOST_LINK_BYTES)?).ok()
}

/// What a plain file holds, up to so many bytes.
fn bytes(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::symlink_metadata(path).ok().filter(|found| found.is_file())?;
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn link_of(folder: &Path, site: &SiteId) -> PathBuf {
    folder.join(format!("{site}.last"))
}

fn write_all(folder: &Path, waiting: &Receiver<Kept>) {
    while let Ok(first) = waiting.recv() {
        let more: Vec<Kept> = waiting.try_iter().collect();
        let mut written = Ok(());
        for kept in std::iter::once(first).chain(more) {
            written = written.and(write(folder, &kept));
        }
        if let Err(error) = written.and_then(|()| make_room(folder)) {
            tracing::warn!(
                folder = %folder.display(), %error,
                "a policy's version that proved itself can't be kept; a restart has none to go back to"
            );
        }
    }
}

fn write(folder: &Path, kept: &Kept) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let digest = hex(&kept.bytes);
    if let Some(signature) = &kept.signature {
        let path = signature_path(&folder.join(format!("{digest}.wasm")));
        if text(&path).as_deref() != Some(signature) {
            put(folder, &path, signature.as_bytes())?;
        }
    }
    if component(folder, &digest).is_none() {
        put(folder, &folder.join(format!("{digest}.wasm")), &kept.bytes)?;
    }
    let link = format!("{digest}\n{}\n", kept.policy);
    if text(&link_of(folder, &kept.site)).as_ref() == Some(&link) {
        return Ok(());
    }
    put(folder, &link_of(folder, &kept.site), link.as_bytes())
}

/// Writes a file under another name, syncs and renames it.
fn put(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

/// Removes components that no site's file names, with their signatures, and the first written of those that are too many.
fn make_room(folder: &Path) -> io::Result<()> {
    let (mut named, mut components) = (BTreeSet::new(), Vec::new());
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("last") => {
                named.extend(text(&path).and_then(|link| link.split_once('\n').map(|(d, _)| d.to_owned())));
            }
            Some("wasm") => components.push((modified(&path)?, path)),
            Some("new") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    components.sort();
    let is_named = |path: &Path| {
        path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|digest| named.contains(digest))
    };
    let (kept, unnamed): (Vec<_>, Vec<_>) = components.into_iter().partition(|(_, path)| is_named(path));
    let too_many = kept.len().saturating_sub(MOST_COMPONENTS);
    unnamed.iter().chain(kept.iter().take(too_many)).try_for_each(|(_, path)| {
        fs::remove_file(path)?;
        match fs::remove_file(signature_path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::symlink_metadata(path)?.modified()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteId {
        SiteId::new(name).expect("a name")
    }

    fn keep(folder: &Path, name: &str, bytes: &[u8]) {
        let (policy, signature) = ("mine".into(), Some("signed".into()));
        let kept = Kept { site: site(name), policy, bytes: bytes.into(), signature };
        write(folder, &kept).and_then(|()| make_room(folder)).expect("written");
    }

    fn components(folder: &Path) -> usize {
        let names = fs::read_dir(folder).expect("folder").map(|found| found.expect("entry").path());
        names.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).count()
    }

    #[test]
    fn what_was_kept_last_for_a_site_and_a_policy_is_read_again_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path().join("new");
        assert_eq!(read(&folder, &site("a"), "mine"), None);
        keep(&folder, "a", b"one");
        keep(&folder, "b", b"one");
        assert_eq!(components(&folder), 1, "shared");
        let last = read(&folder, &site("a"), "mine").expect("kept");
        assert_eq!(text(&signature_path(&last.path)).as_deref(), Some("signed"));
        keep(&folder, "a", b"two");
        let bytes = |name| read(&folder, &site(name), "mine").map(|last| last.bytes);
        assert_eq!((bytes("a"), bytes("b")), (Some(b"two".to_vec()), Some(b"one".to_vec())));
        assert_eq!(read(&folder, &site("a"), "another"), None);
        keep(&folder, "b", b"two");
        assert_eq!(components(&folder), 1, "nobody names the other");
        assert!(!signature_path(&last.path).exists());
    }

    #[test]
    fn what_was_damaged_or_taken_away_is_not_used_and_is_written_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        keep(folder, "a", b"one");
        let (component, link) = (folder.join(format!("{}.wasm", hex(b"one"))), folder.join("a.last"));
        let whole = fs::read(&link).expect("there");
        fs::write(&component, b"onf").expect("written");
        assert_eq!(read(folder, &site("a"), "mine"), None);
        keep(folder, "a", b"one");
        assert!(read(folder, &site("a"), "mine").is_some());
        fs::remove_file(&component).expect("removed");
        assert_eq!(read(folder, &site("a"), "mine"), None);
        keep(folder, "a", b"one");
        assert!(read(folder, &site("a"), "mine").is_some());
        for damaged in [&whole[..30], b"", b"\n\n", &[0xff; 80], b"../../../etc/passwd\nmine\n"] {
            fs::write(&link, damaged).expect("written");
            assert_eq!(read(folder, &site("a"), "mine"), None);
        }
        fs::remove_file(&link).expect("removed");
        std::os::unix::fs::symlink(&component, &link).expect("linked");
        assert_eq!(read(folder, &site("a"), "mine"), None);
    }

    #[test]
    fn there_are_no_more_than_the_bound_and_half_a_file_is_cleared_away() {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        keep(folder, "first", b"first");
        fs::write(folder.join("x.wasm.new"), "half").expect("written");
        let long_ago = SystemTime::UNIX_EPOCH;
        let first = folder.join(format!("{}.wasm", hex(b"first")));
        File::options().write(true).open(&first).and_then(|file| file.set_modified(long_ago)).expect("set");
        for n in 0..MOST_COMPONENTS {
            keep(folder, &format!("s{n}"), format!("{n}").as_bytes());
        }
        assert_eq!(components(folder), MOST_COMPONENTS);
        assert_eq!(read(folder, &site("first"), "mine"), None);
        assert!(read(folder, &site("s0"), "mine").is_some());
        assert!(!folder.join("x.wasm.new").exists());
    }

    #[test]
    fn a_folder_that_can_not_be_written_stops_nobody() {
        let data = tempfile::tempdir().expect("folder");
        fs::write(data.path().join(FOLDER), "a file").expect("written");
        let keeper = Keeper::start(data.path()).expect("started");
        let place = keeper.place(&site("a"), "mine");
        let bytes: Arc<[u8]> = b"one"[..].into();
        assert!(place.keep(&bytes, None));
        assert_eq!(place.read(), None);
    }
}
