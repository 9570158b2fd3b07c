//! What is known of documents and edges in memory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wattle_wire::document::{Action, Has, HasOf, Head};
use wattle_wire::{EdgeId, SiteId};

use super::{MOST, MOST_OF_EDGE, StoreError};

/// The most bytes of names that are remembered of what edges have; each entry counts for [`ENTRY_BYTES`] more.
pub const MOST_HAS_BYTES: usize = 64 << 20;
const ENTRY_BYTES: usize = 64;

/// Whose a document is, and which of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub edge: EdgeId,
    pub site: SiteId,
    pub kind: String,
    pub slot: Slot,
}

/// Of the documents of a kind for a site the newest in each slot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// It is to be obeyed, at once or after a trial.
    Obeyed,
    /// It is to be in shadow.
    Shadow,
    /// It takes back this version; 0 from an older program, which didn't say so.
    Rollback(u64),
}

impl Slot {
    /// What a file's name ends in.
    pub fn ending(self) -> String {
        match self {
            Self::Obeyed => String::new(),
            Self::Shadow => "@shadow".into(),
            Self::Rollback(version) => format!("@rollback-{version}"),
        }
    }
}

/// The key of a document; none where it says no edge.
pub fn key_of(head: &Head) -> Option<Key> {
    let order = head.policy.as_ref();
    let slot = match order.map(|order| order.action) {
        Some(Action::Shadow) => Slot::Shadow,
        Some(Action::Rollback) => Slot::Rollback(order.and_then(|order| order.takes_back).unwrap_or(0)),
        _ => Slot::Obeyed,
    };
    Some(Key { edge: head.edge.clone()?, site: head.site.clone(), kind: head.kind.clone(), slot })
}

type HasOfEdge = BTreeMap<(SiteId, String), u64>;

#[derive(Debug, Default)]
pub struct Content {
    pub heads: BTreeMap<Key, Head>,
    /// What each edge has said to have dealt with, and the bytes of that.
    has: BTreeMap<EdgeId, HasOfEdge>,
    has_bytes: usize,
    /// Files that the machine couldn't read.
    pub unread: Vec<std::path::PathBuf>,
}

impl Content {
    /// Takes what an edge has; whether that is something new. Of an entry that is there twice the newest counts.
    pub fn hear(&mut self, has: &Has) -> Result<bool, StoreError> {
        let heard = newest_of(has);
        let known = self.has.get(&has.edge);
        if known == Some(&heard) {
            return Ok(false);
        }
        let bytes = self.has_bytes - known.map_or(0, bytes_of) + bytes_of(&heard);
        if bytes > MOST_HAS_BYTES || known.is_none() && self.has.len() >= MOST {
            return Err(StoreError::MuchHeard);
        }
        self.has_bytes = bytes;
        self.has.insert(has.edge.clone(), heard);
        Ok(true)
    }

    /// Whether an edge of this name has ever dialled in.
    pub fn has_dialled_in(&self, edge: &EdgeId) -> bool {
        self.has.contains_key(edge)
    }

    /// All that an edge has.
    pub fn all_of(&self, edge: &EdgeId) -> Has {
        let has = self.has.get(edge).into_iter().flatten();
        let of = |((site, kind), version): (&(SiteId, String), &u64)| HasOf {
            site: site.clone(),
            kind: kind.clone(),
            version: *version,
        };
        Has { edge: edge.clone(), has: has.map(of).collect() }
    }

    /// The newest version that an edge has dealt with of a document's site and kind; none where nothing was heard.
    pub fn has(&self, key: &Key) -> Option<u64> {
        self.has.get(&key.edge)?.get(&(key.site.clone(), key.kind.clone())).copied()
    }

    /// The newest version that is known of a document's site and kind.
    pub fn newest(&self, key: &Key) -> u64 {
        let kept = self.of_the_site(key).map(|(_, head)| head.version).max();
        kept.unwrap_or(0).max(self.has(key).unwrap_or(0))
    }

    /// All documents of a site and kind.
    fn of_the_site(&self, key: &Key) -> impl Iterator<Item = (&Key, &Head)> {
        let (first, last) = (Slot::Obeyed, Slot::Rollback(u64::MAX));
        let of = |slot| Key { slot, ..key.clone() };
        self.heads.range(of(first)..=of(last))
    }

    /// The rollbacks of a site and kind.
    pub fn rollbacks(&self, key: &Key) -> impl Iterator<Item = (&Key, &Head)> {
        self.of_the_site(key).filter(|(key, _)| matches!(key.slot, Slot::Rollback(_)))
    }

    /// Those that the edge has dealt with, each behind what it has taken back: an edge that begins anew is to get neither.
    pub fn rollbacks_done(&self, key: &Key) -> Vec<Key> {
        let mut gone = Vec::new();
        for (rollback, _) in self.rollbacks(key).filter(|(key, head)| self.has(key) >= Some(head.version)) {
            let taken_back =
                self.of_the_site(key).filter(|(_, head)| Slot::Rollback(head.version) == rollback.slot);
            gone.extend(taken_back.map(|(key, _)| key.clone()));
            gone.push(rollback.clone());
        }
        gone
    }

    /// The document that waits for its edge and whose place one with this key takes, and its version.
    pub fn waiting_in_place_of(&self, key: &Key) -> Option<(Key, u64)> {
        let is_replaced = |other: &Key, head: &Head| match key.slot {
            Slot::Rollback(gone) => head.version == gone || head.was == Some(gone) || other == key,
            _ => other == key,
        };
        let mut waiting = self.of_the_site(key).filter(|(key, head)| self.has(key) < Some(head.version));
        waiting
            .find(|(other, head)| is_replaced(other, head))
            .map(|(other, head)| (other.clone(), head.version))
    }

    /// Documents that an edge which says this has gone past, each with what the edge has; the oldest first. It tells of each document that it
    /// is handed: so one that lies between what was known and what it says now was dealt with only if it is the last.
    pub fn passed_over(&self, has: &Has) -> Vec<(Key, u64)> {
        let heard = newest_of(has);
        let passed = |(key, head): (&Key, &Head)| {
            let newest = *heard.get(&(key.site.clone(), key.kind.clone()))?;
            let is_passed_now = match self.has(key) {
                None => head.after == Some(0),
                Some(before) => before < head.version,
            };
            let is_passed = is_passed_now && newest > head.version && !self.is_taken_back(key, head);
            is_passed.then(|| (head.version, (key.clone(), newest)))
        };
        let own = self.heads.iter().filter(|(key, _)| key.edge == has.edge);
        let mut all: Vec<_> = own.filter_map(passed).collect();
        all.sort_by_key(|(version, _)| *version);
        all.into_iter().map(|(_, passed)| passed).collect()
    }

    /// Whether a rollback is kept that names this version.
    fn is_taken_back(&self, key: &Key, head: &Head) -> bool {
        self.heads.contains_key(&Key { slot: Slot::Rollback(head.version), ..key.clone() })
    }

    /// Whether there is room for a document of this site and kind.
    pub fn has_room(&self, key: &Key) -> bool {
        let is_same = |other: &Key| (&other.site, &other.kind) == (&key.site, &key.kind);
        let own = self.heads.keys().filter(|other| other.edge == key.edge);
        let others: BTreeSet<_> =
            own.filter(|other| !is_same(other)).map(|other| (&other.site, &other.kind)).collect();
        self.heads.len() < MOST && others.len() < MOST_OF_EDGE
    }

    /// The one edge that runs a site.
    pub fn edge_of(&self, site: &SiteId) -> Result<EdgeId, StoreError> {
        let runs = |has: &HasOfEdge| has.keys().any(|(of, _)| of == site);
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

    /// For the status page.
    pub fn page(&self) -> Value {
        let of = |(key, head): (&Key, &Head)| {
            let order = head.policy.as_ref();
            json!({
                "edge": key.edge,
                "site": key.site,
                "kind": key.kind,
                "version": head.version,
                "action": order.map(|order| order.action.as_str()),
                "takes_back": order.and_then(|order| order.takes_back),
                "sha256": head.sha256,
                "sent_by": head.sent_by,
                "has_dialled_in": self.has_dialled_in(&key.edge),
                "state": match self.has(key) {
                    None => "waiting: the edge has never dialled in",
                    Some(has) if has < head.version => "waiting",
                    Some(_) => "dealt with",
                },
            })
        };
        self.heads.iter().map(of).collect()
    }
}

/// The newest version of each site and kind that an edge has.
fn newest_of(has: &Has) -> HasOfEdge {
    let mut heard = HasOfEdge::new();
    for HasOf { site, kind, version } in &has.has {
        let newest = heard.entry((site.clone(), kind.clone())).or_default();
        *newest = (*newest).max(*version);
    }
    heard
}

fn bytes_of(has: &HasOfEdge) -> usize {
    has.keys().map(|(site, kind)| site.as_str().len() + kind.len() + ENTRY_BYTES).sum::<usize>() + ENTRY_BYTES
}
