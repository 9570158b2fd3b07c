//! Documents on the disk: a folder with a sealed file for each document that an edge may still need.
//!
//! | file | what |
//! |---|---|
//! | `<edge>@<site>@<kind>` | the newest document whose policy is to be obeyed |
//! | `<edge>@<site>@<kind>@shadow` | the newest one whose policy is to be in shadow |
//! | `<edge>@<site>@<kind>@rollback-<version>` | the order to take back that version |
//! | `<edge>@has` | what the edge has said to have dealt with |
//!
//! `@` stands in no name. A document takes the place only of one with the same name, and a rollback that of the document that it takes
//! back, if that still waits. So an edge that comes back after days gets each order that holds, the oldest first, since it
//! counts what it has dealt with by one number per site. A file that is damaged is set aside with the ending `.damaged`, and
//! the document has to be sent again; one that the machine can't read stays, and is read again when an edge dials in. What is kept in
//! memory is everything but the bytes.
//!
//! What an edge is handed it tells to have dealt with before it gets the next one. So a document that it has gone past without saying so, since
//! a person has sent a newer one to the edge itself, was never handed down: it is numbered again, and the edge obeys or refuses it.
//!
//! Bounds: [`MOST`] documents, for at most [`MOST_OF_EDGE`] sites and kinds of an edge, as many edges, 64 MiB of what edges have,
//! [`MOST_ROLLBACKS`] rollbacks that wait for a site; what comes beyond is refused.

mod content;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;
use wattle_process::sealed::{self, Sealed};
use wattle_wire::document::{Document, Has, Head, next_version};
use wattle_wire::{EdgeId, SiteId};

use self::content::{Content, Key, Slot, key_of};

/// The most documents that are kept.
pub const MOST: usize = 65_536;
/// The most sites and kinds of an edge that have documents; fewer than an edge remembers of those that aren't its own.
pub const MOST_OF_EDGE: usize = 500;
/// The most rollbacks that wait for a site.
pub const MOST_ROLLBACKS: usize = 16;
/// The ending of the file with what an edge has.
const HAS: &str = "@has";

/// The documents of a fog node.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    content: Mutex<Content>,
    /// How many documents were taken since the start; an edge's stream waits for it to change.
    changed: watch::Sender<u64>,
}

/// A document that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What stands before its bytes.
    pub head: Head,
    /// The version of the one that waited and whose place it has taken.
    pub replaced: Option<u64>,
    /// Whether its edge has ever dialled in.
    pub has_dialled_in: bool,
}

/// Why a document isn't kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody has said which edge runs the site.
    #[error("no edge has told this node that it runs the site {0}; name the edge with --edge-id. Known: {1}")]
    UnknownSite(SiteId, String),
    /// Several edges run a site of that name.
    #[error("several edges run a site {0}: {1}; name one with --edge-id")]
    SeveralEdges(SiteId, String),
    /// A rollback of nothing in particular.
    #[error(
        "a rollback by way of a fog node says which version it takes back, and this one doesn't; update `wattle`"
    )]
    Unnamed,
    /// Too many.
    #[error(
        "this node keeps {MOST} documents, or some for {MOST_OF_EDGE} other sites of this edge, and that is the most"
    )]
    Full,
    /// Too many rollbacks.
    #[error("{MOST_ROLLBACKS} rollbacks wait for this site, and that is the most")]
    Waiting,
    /// No version is left.
    #[error("the edge says that it has dealt with version {0}, and no version is above that")]
    NoVersion(u64),
    /// Edges say more than can be remembered.
    #[error("this node remembers no more of what edges have dealt with")]
    MuchHeard,
    /// The disk fails.
    #[error("the document can't be kept: {0}")]
    Io(#[from] io::Error),
}

impl Store {
    /// Opens the folder, made when it isn't there.
    ///
    /// # Errors
    /// When it can't be made or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        sealed::sync_folder(folder)?;
        let mut content = Content::default();
        for entry in std::fs::read_dir(folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            let is_other = path.extension().is_some_and(|end| end == "new" || end == "damaged");
            if !is_other && entry.is_ok_and(|kind| !kind.is_dir()) {
                content.unread.push(path);
            }
        }
        let store =
            Self { folder: folder.to_owned(), content: Mutex::new(content), changed: watch::channel(0).0 };
        store.read_unread(&mut store.content());
        Ok(store)
    }

    /// Reads what couldn't be read before.
    fn read_unread(&self, content: &mut Content) {
        for path in std::mem::take(&mut content.unread) {
            let is_has = path.as_os_str().as_encoded_bytes().ends_with(HAS.as_bytes());
            let read = if is_has { self.read_has(&path, content) } else { self.read(&path, content) };
            match read {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => set_aside(&path, &error),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(path = %path.display(), %error, "a document can't be read now; it is read again later");
                    content.unread.push(path);
                }
                _ => {}
            }
        }
    }

    fn read(&self, path: &Path, content: &mut Content) -> io::Result<()> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let head = Document::decode(&sealed::read(path)?).map_err(damaged)?.head;
        let Some(key) = key_of(&head) else { return Ok(()) };
        let is_newest = content.heads.get(&key).is_none_or(|known| known.version < head.version);
        if !is_newest {
            return Ok(());
        }
        // As an older version of this program has named it.
        let name = self.path(&key);
        if name != path {
            std::fs::rename(path, &name)?;
        }
        content.heads.insert(key, head);
        Ok(())
    }

    fn read_has(&self, path: &Path, content: &mut Content) -> io::Result<()> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let has: Has = serde_json::from_slice(&sealed::read(path)?).map_err(damaged)?;
        // What was remembered before is too much only if the bounds were lowered.
        let _ = content.hear(&has);
        Ok(())
    }

    /// Keeps a document from a person under the next version; when this returns it is on the disk. Blocks for the disk.
    ///
    /// # Errors
    /// When nobody knows for which edge it is, or the disk doesn't take it; then what was there before holds.
    pub fn keep(&self, mut document: Document, sender: &str) -> Result<Kept, StoreError> {
        // One at a time, so that versions and files agree.
        let mut content = self.content();
        let edge = match document.head.edge.clone() {
            Some(edge) => edge,
            None => content.edge_of(&document.head.site)?,
        };
        let head = &mut document.head;
        head.edge = Some(edge);
        sender.clone_into(&mut head.sent_by);
        let key = key_of(head).expect("it has an edge");
        if key.slot == Slot::Rollback(0) {
            return Err(StoreError::Unnamed);
        }
        for done in content.rollbacks_done(&key) {
            // One that can't be removed is dealt with all the same.
            let _ = std::fs::remove_file(self.path(&done));
            content.heads.remove(&done);
        }
        if !content.has_room(&key) && !content.heads.contains_key(&key) {
            return Err(StoreError::Full);
        }
        if content.rollbacks(&key).count() >= MOST_ROLLBACKS && !content.heads.contains_key(&key) {
            return Err(StoreError::Waiting);
        }
        let known = content.newest(&key);
        head.version = next_version(now_us(), known).ok_or(StoreError::NoVersion(known))?;
        (head.after, head.was) = (Some(content.has(&key).unwrap_or(0)), None);
        let replaced = content.waiting_in_place_of(&key);
        sealed::write(&self.path(&key), &document.encode())?;
        content.heads.insert(key.clone(), document.head.clone());
        if let Some(old) = replaced.as_ref().filter(|(old, _)| *old != key).map(|(old, _)| old) {
            // If it is there at the next start the edge gets it and the rollback behind it.
            let _ = std::fs::remove_file(self.path(old));
            content.heads.remove(old);
        }
        let has_dialled_in = content.has_dialled_in(&key.edge);
        drop(content);
        self.changed.send_modify(|taken| *taken += 1);
        let replaced = replaced.map(|(_, version)| version);
        Ok(Kept { head: document.head, replaced, has_dialled_in })
    }

    /// Takes what an edge has dealt with. What was kept before it was ever heard of, and what it has gone past since without having been
    /// handed it, gets a version above that. Blocks for the disk.
    ///
    /// # Errors
    /// When edges say more than can be remembered, or such a document can't be kept under its new version; then the edge is as unheard.
    pub fn hears(&self, has: &Has) -> Result<(), StoreError> {
        let mut content = self.content();
        self.read_unread(&mut content);
        // Before what the edge has is known here: what fails or is killed in between is numbered when the edge comes again.
        for (key, newest) in content.passed_over(has) {
            self.number_again(&mut content, &key, newest)?;
        }
        if content.hear(has)? {
            let bytes = serde_json::to_vec(&content.all_of(&has.edge)).map_err(io::Error::from)?;
            if let Err(error) = sealed::write(&self.folder.join(format!("{}{HAS}", has.edge)), &bytes) {
                tracing::warn!(edge = %has.edge, %error, "what an edge has dealt with can't be kept");
            }
        }
        Ok(())
    }

    /// Gives a document a version above what its edge has.
    fn number_again(&self, content: &mut Content, key: &Key, newest: u64) -> io::Result<()> {
        let path = self.path(key);
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let document = sealed::read(&path).and_then(|bytes| Document::decode(&bytes).map_err(damaged));
        let mut document = match document {
            Ok(document) => document,
            Err(error) => return self.lose(content, key, error),
        };
        let Some(version) = next_version(now_us(), content.newest(key).max(newest)) else {
            tracing::error!(edge = %key.edge, site = %key.site, newest, "no version is above what the edge has; a document is not handed down");
            return Ok(());
        };
        let head = &mut document.head;
        head.was = head.was.or(Some(head.version));
        head.version = version;
        sealed::write(&path, &document.encode())?;
        tracing::info!(edge = %key.edge, site = %key.site, was = document.head.was, version, "a document that its edge has gone past is numbered again");
        content.heads.insert(key.clone(), document.head);
        Ok(())
    }

    /// Forgets a document whose file is damaged, which is set aside, or gone; another error is given back.
    fn lose(&self, content: &mut Content, key: &Key, error: io::Error) -> io::Result<()> {
        let path = self.path(key);
        match error.kind() {
            io::ErrorKind::InvalidData => set_aside(&path, &error),
            io::ErrorKind::NotFound => {}
            _ => return Err(error),
        }
        content.heads.remove(key);
        Ok(())
    }

    /// The oldest document that an edge lacks.
    pub fn lacking(&self, edge: &EdgeId) -> Option<Head> {
        let content = self.content();
        let own = content.heads.iter().filter(|(key, _)| key.edge == *edge);
        let lacking = own.filter(|(key, head)| content.has(key).unwrap_or(0) < head.version);
        lacking.map(|(_, head)| head).min_by_key(|head| head.version).cloned()
    }

    /// The bytes of a document, to be read; none if it is no more. Blocks for the disk. One that is damaged is set aside.
    ///
    /// # Errors
    /// When the machine can't read it now.
    pub fn bytes(&self, head: &Head) -> io::Result<Option<Sealed>> {
        let Some(key) = key_of(head) else { return Ok(None) };
        let error = match sealed::open(&self.path(&key)) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        let mut content = self.content();
        // Another may have come in its place meanwhile.
        if content.heads.get(&key) == Some(head) {
            self.lose(&mut content, &key, error)?;
        }
        Ok(None)
    }

    /// Changes whenever a document was taken.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Each document and whether its edge has dealt with it, for the status page.
    pub fn page(&self) -> Value {
        self.content().page()
    }

    fn path(&self, Key { edge, site, kind, slot }: &Key) -> PathBuf {
        self.folder.join(format!("{edge}@{site}@{kind}{}", slot.ending()))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // What is on the disk is told to memory after it is there; a panic in between shows at the next start.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    u64::try_from(now).unwrap_or(u64::MAX)
}

fn set_aside(path: &Path, error: &io::Error) {
    let is_aside = std::fs::rename(path, path.with_added_extension("damaged")).is_ok();
    tracing::error!(path = %path.display(), %error, is_aside, "a document is damaged; deploy it again");
}
