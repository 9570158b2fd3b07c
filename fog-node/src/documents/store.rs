//! Documents on the disk: a folder with a sealed file for each (edge, site, kind), the newest.
//!
//! A file's name is `<edge>@<site>@<kind>`; `@` stands in no name. A file that is damaged is set aside with the ending `.damaged`, and
//! the document has to be sent again. What is kept in memory is everything but the bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;
use wattle_process::sealed;
use wattle_wire::document::{Document, Has, Head};
use wattle_wire::{EdgeId, SiteId};

/// The most documents that are kept.
pub const MOST: usize = 65_536;

/// Whose a document is.
type Key = (EdgeId, SiteId, String);

/// The documents of a fog node.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    content: Mutex<Content>,
    /// How many documents were taken since the start; an edge's stream waits for it to change.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    heads: BTreeMap<Key, Head>,
    /// What each edge has said to have dealt with.
    has: BTreeMap<EdgeId, BTreeMap<(SiteId, String), u64>>,
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
    /// Too many.
    #[error("this node keeps {MOST} documents, and that is the most")]
    Full,
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
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "new" || end == "damaged") || !path.is_file() {
                continue;
            }
            match read(&path) {
                Ok(document) => {
                    let Some(edge) = document.head.edge.clone() else { continue };
                    let key = (edge, document.head.site.clone(), document.head.kind.clone());
                    content.heads.insert(key, document.head);
                }
                Err(error) => set_aside(&path, &error),
            }
        }
        Ok(Self { folder: folder.to_owned(), content: Mutex::new(content), changed: watch::channel(0).0 })
    }

    /// Keeps a document from a person under the next version; when this returns it is on the disk. Blocks for the disk.
    ///
    /// # Errors
    /// When nobody knows for which edge it is, or the disk doesn't take it; then what was there before holds.
    pub fn keep(&self, mut document: Document, sender: &str) -> Result<Head, StoreError> {
        // One at a time, so that versions and files agree.
        let mut content = self.content();
        let edge = match document.head.edge.clone() {
            Some(edge) => edge,
            None => content.edge_of(&document.head.site)?,
        };
        let head = &mut document.head;
        let key = (edge.clone(), head.site.clone(), head.kind.clone());
        if content.heads.len() >= MOST && !content.heads.contains_key(&key) {
            return Err(StoreError::Full);
        }
        head.version = content.next_version(&key);
        head.edge = Some(edge);
        sender.clone_into(&mut head.sent_by);
        sealed::write(&self.path(&key), &document.encode())?;
        content.heads.insert(key, document.head.clone());
        drop(content);
        self.changed.send_modify(|taken| *taken += 1);
        Ok(document.head)
    }

    /// Takes what an edge has dealt with.
    pub fn hears(&self, has: &Has) {
        let of = has.has.iter().map(|of| ((of.site.clone(), of.kind.clone()), of.version));
        let mut content = self.content();
        if content.has.len() < MOST || content.has.contains_key(&has.edge) {
            content.has.insert(has.edge.clone(), of.collect());
        }
    }

    /// The first document that an edge lacks.
    pub fn lacking(&self, edge: &EdgeId) -> Option<Head> {
        let content = self.content();
        let has = content.has.get(edge);
        let has = |head: &Head| has.and_then(|has| has.get(&(head.site.clone(), head.kind.clone()))).copied();
        let own = content.heads.iter().filter(|((of, _, _), _)| of == edge);
        own.map(|(_, head)| head).find(|head| has(head).unwrap_or(0) < head.version).cloned()
    }

    /// The bytes of a document, if it is still the newest. Blocks for the disk. One that is damaged is set aside.
    pub fn bytes(&self, head: &Head) -> Option<Vec<u8>> {
        let key = (head.edge.clone()?, head.site.clone(), head.kind.clone());
        let path = self.path(&key);
        match sealed::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                set_aside(&path, &error);
                self.content().heads.remove(&key);
                None
            }
        }
    }

    /// Changes whenever a document was taken.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Each document and whether its edge has dealt with it, for the status page.
    pub fn page(&self) -> Value {
        let content = self.content();
        let of = |((edge, site, kind), head): (&Key, &Head)| {
            let has = content.has.get(edge).and_then(|has| has.get(&(site.clone(), kind.clone())));
            json!({
                "edge": edge,
                "site": site,
                "kind": kind,
                "version": head.version,
                "action": head.policy.as_ref().map(|order| order.action.as_str()),
                "sha256": head.sha256,
                "sent_by": head.sent_by,
                "state": match has {
                    None => "waiting: the edge has not dialled in since this node started",
                    Some(has) if *has < head.version => "waiting",
                    Some(has) if *has > head.version => "older than what the edge has",
                    Some(_) => "dealt with",
                },
            })
        };
        content.heads.iter().map(of).collect()
    }

    fn path(&self, (edge, site, kind): &Key) -> PathBuf {
        self.folder.join(format!("{edge}@{site}@{kind}"))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // What is on the disk is told to memory after it is there; a panic in between shows at the next start.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// The one edge that runs a site.
    fn edge_of(&self, site: &SiteId) -> Result<EdgeId, StoreError> {
        let runs = |has: &BTreeMap<(SiteId, String), u64>| has.keys().any(|(of, _)| of == site);
        let edges: Vec<_> = self.has.iter().filter(|(_, has)| runs(has)).map(|(edge, _)| edge).collect();
        let names = |edges: &[&EdgeId]| edges.iter().map(|edge| edge.as_str()).collect::<Vec<_>>().join(", ");
        match edges.as_slice() {
            [edge] => Ok((*edge).clone()),
            [] => {
                let known: Vec<_> = self.has.keys().collect();
                let known = if known.is_empty() { "none".into() } else { names(&known) };
                Err(StoreError::UnknownSite(site.clone(), known))
            }
            several => Err(StoreError::SeveralEdges(site.clone(), names(several))),
        }
    }

    /// The microseconds of the clock, and more than what was given before, here or at the edge.
    fn next_version(&self, key: &Key) -> u64 {
        let (edge, site, kind) = key;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let own = self.heads.get(key).map_or(0, |head| head.version);
        let has = self.has.get(edge).and_then(|has| has.get(&(site.clone(), kind.clone()))).copied();
        u64::try_from(now).unwrap_or(u64::MAX).max(own + 1).max(has.unwrap_or(0) + 1)
    }
}

fn read(path: &Path) -> io::Result<Document> {
    Document::decode(&sealed::read(path)?).map_err(io::Error::other)
}

fn set_aside(path: &Path, error: &io::Error) {
    let is_aside = std::fs::rename(path, path.with_added_extension("damaged")).is_ok();
    tracing::error!(path = %path.display(), %error, is_aside, "a document can't be read; deploy it again");
}

#[cfg(test)]
mod tests {
    use wattle_wire::document::{Action, HasOf, LAYOUT, POLICY, PolicyOrder};

    use super::*;

    fn site() -> SiteId {
        SiteId::new("depot").expect("name")
    }

    fn edge(name: &str) -> EdgeId {
        EdgeId::new(name).expect("name")
    }

    fn document(of: Option<&str>, body: &[u8]) -> Document {
        let order = PolicyOrder { action: Action::Trial, settings: None, signature: String::new() };
        let head = Head {
            document: LAYOUT,
            kind: POLICY.into(),
            edge: of.map(edge),
            site: site(),
            version: 0,
            sent_by: String::new(),
            sha256: "x".into(),
            policy: Some(order),
        };
        Document { head, body: body.to_vec() }
    }

    fn has(of: &str, version: u64) -> Has {
        Has { edge: edge(of), has: vec![HasOf { site: site(), kind: POLICY.into(), version }] }
    }

    fn body(store: &Store, head: &Head) -> Vec<u8> {
        Document::decode(&store.bytes(head).expect("there")).expect("a document").body
    }

    #[test]
    fn the_newest_is_kept_over_a_restart_and_is_lacking_until_the_edge_has_dealt_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let first = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept");
        let second = store.keep(document(Some("e-1"), b"2"), "ben").expect("kept");
        store.keep(document(Some("e-2"), b"3"), "anna").expect("kept");
        assert!(second.version > first.version);
        drop(store);
        let store = Store::open(folder.path()).expect("opened");
        let lacking = store.lacking(&edge("e-1")).expect("it has nothing");
        assert_eq!((lacking.sent_by.as_str(), body(&store, &lacking)), ("ben", b"2".to_vec()));
        store.hears(&has("e-1", first.version));
        assert_eq!(store.lacking(&edge("e-1")), Some(second.clone()));
        store.hears(&has("e-1", second.version));
        assert_eq!(store.lacking(&edge("e-1")), None);
        assert_eq!(store.page()[0]["state"], "dealt with");
        assert!(store.lacking(&edge("e-2")).is_some());
    }

    #[test]
    fn a_version_is_above_what_the_edge_has_whatever_the_clocks_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        store.hears(&has("e-1", u64::MAX / 2));
        let head = store.keep(document(None, b"1"), "anna").expect("kept");
        assert_eq!((head.version, head.edge), (u64::MAX / 2 + 1, Some(edge("e-1"))));
    }

    #[test]
    fn which_edge_runs_a_site_is_what_the_edges_say_or_has_to_be_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let told = |store: &Store| store.keep(document(None, b"1"), "anna").expect_err("unknown").to_string();
        assert!(told(&store).contains("name the edge with --edge-id. Known: none"));
        store.hears(&has("e-1", 0));
        store.hears(&has("e-2", 0));
        assert!(told(&store).contains("several edges run a site depot: e-1, e-2"));
    }

    #[test]
    fn a_file_that_is_damaged_is_set_aside_and_half_of_one_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opened");
        let head = store.keep(document(Some(".."), b"1"), "anna").expect("kept");
        let path = folder.path().join("..@depot@policy");
        let mut bytes = std::fs::read(&path).expect("there");
        *bytes.last_mut().expect("bytes") ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(store.bytes(&head), None);
        assert_eq!(store.lacking(&edge("..")), None);
        std::fs::write(&path, &bytes[..20]).expect("written");
        std::fs::write(path.with_added_extension("new"), "half").expect("written");
        let store = Store::open(folder.path()).expect("opened");
        assert_eq!((store.lacking(&edge("..")), store.page()), (None, json!([])));
        assert!(path.with_added_extension("damaged").exists());
        store.keep(document(Some(".."), b"2"), "anna").expect("kept");
        assert!(store.lacking(&edge("..")).is_some());
    }
}
