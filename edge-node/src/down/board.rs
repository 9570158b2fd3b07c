//! What the status page and the stream of documents know of the way down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;
use wattle_wire::SiteId;
use wattle_wire::document::{HasOf, MAX_TEXT_BYTES, POLICY};

use super::kept::{Deployment, Kept};
use crate::policy::Role;

/// The most sites and kinds that are none of ours whose documents are remembered as refused; a fog node has documents for half as many.
pub const MOST_STRANGERS: usize = 1_000;
/// The most bytes of them, as they are told to a fog node, which takes four times as much.
pub const MOST_STRANGERS_BYTES: usize = 1 << 20;

/// Shared by whoever writes and reads it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
    /// How often what was dealt with has changed.
    news: Arc<watch::Sender<u64>>,
}

/// Why what stands is not loaded, each by the version of its document.
pub type Unloaded = BTreeMap<u64, String>;

#[derive(Debug, Default)]
struct Inner {
    sites: BTreeMap<SiteId, (Kept, Unloaded)>,
    /// Documents that were refused because of their site or kind, so that nobody brings them again.
    strangers: BTreeMap<(SiteId, String), u64>,
    /// How the stream of documents is.
    stream: Option<Value>,
}

impl Board {
    /// Takes what is kept of a site, and what of that is not loaded.
    pub fn keep(&self, site: &SiteId, kept: &Kept, unloaded: Unloaded) {
        let before = self.lock().sites.insert(site.clone(), (kept.clone(), unloaded));
        if before.is_none_or(|(before, _)| before.newest != kept.newest) {
            self.news.send_modify(|changes| *changes += 1);
        }
    }

    /// Changes whenever something was dealt with that belongs to a site of this node.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Takes that documents of sites or kinds that are none of ours were refused; gives all that are remembered. Of what is too much
    /// the oldest go, whose fog node has most likely gone before; what was remembered already goes first. What is ours by now, or of a
    /// kind that is too long, is passed over.
    pub fn refused(&self, refused: impl IntoIterator<Item = HasOf>) -> Vec<HasOf> {
        let mut inner = self.lock();
        let mut new = BTreeSet::new();
        for HasOf { site, kind, version } in refused {
            let is_ours = kind == POLICY && inner.sites.contains_key(&site);
            if is_ours || kind.len() > MAX_TEXT_BYTES {
                continue;
            }
            let stranger = (site, kind);
            new.insert(stranger.clone());
            let newest = inner.strangers.entry(stranger).or_default();
            *newest = version.max(*newest);
        }
        let mut bytes = inner.strangers().map(|has| bytes_of(&has)).sum::<usize>();
        while inner.strangers.len() > MOST_STRANGERS || bytes > MOST_STRANGERS_BYTES {
            let oldest = inner
                .strangers()
                .min_by_key(|has| (new.contains(&(has.site.clone(), has.kind.clone())), has.version));
            let Some(oldest) = oldest else { break };
            bytes -= bytes_of(&oldest);
            inner.strangers.remove(&(oldest.site, oldest.kind));
        }
        inner.strangers().collect()
    }

    /// Takes how the stream of documents is.
    pub fn stream(&self, address: &str, state: &str, reason: &str) {
        self.lock().stream = Some(json!({ "address": address, "state": state, "reason": reason }));
    }

    /// The newest version that was dealt with, of each site and kind.
    pub fn has(&self) -> Vec<HasOf> {
        let inner = self.lock();
        let own = inner.sites.iter().map(|(site, (kept, _))| HasOf {
            site: site.clone(),
            kind: POLICY.into(),
            version: kept.newest,
        });
        own.chain(inner.strangers()).collect()
    }

    /// How the stream is, for the status page; null where there is none.
    pub fn stream_page(&self) -> Value {
        self.lock().stream.clone().unwrap_or_default()
    }

    /// A site's part of the status page; null where nothing ever came.
    pub fn page(&self, site: &SiteId) -> Value {
        let inner = self.lock();
        let known = inner.sites.get(site).filter(|(kept, _)| kept.newest > 0);
        let Some((kept, unloaded)) = known else { return Value::Null };
        let told = kept.told.as_ref().map(|told| {
            let mut page = told.json();
            page["at_us"] = told.at_us.0.into();
            page["outcome"] = if told.refused.is_empty() { "applied" } else { "refused" }.into();
            page["reason"] = told.refused.as_str().into();
            page
        });
        let newest = |role| kept.newest_of(role).map(|newest| newest.version);
        let newest = [newest(Role::Active), newest(Role::Shadow)];
        let page = |deployment: &Deployment| {
            let is_newest = newest.contains(&Some(deployment.version));
            page(deployment, is_newest, unloaded.get(&deployment.version))
        };
        let standing: Vec<_> = kept.standing.iter().map(page).collect();
        json!({ "newest": told, "standing": standing })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole after each single call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn strangers(&self) -> impl Iterator<Item = HasOf> {
        let strangers = self.strangers.iter();
        strangers.map(|((site, kind), version)| HasOf {
            site: site.clone(),
            kind: kind.clone(),
            version: *version,
        })
    }
}

/// The bytes of an entry in what a fog node is told, with its comma.
fn bytes_of(has: &HasOf) -> usize {
    serde_json::to_vec(has).expect("names and numbers can be written").len() + 1
}

fn page(deployment: &Deployment, is_newest: bool, unloaded: Option<&String>) -> Value {
    let mut page = deployment.json();
    page["applied_us"] = deployment.applied_us.0.into();
    page["since_us"] = deployment.since_us.0.into();
    page["state"] = match unloaded {
        Some(_) => "not loaded",
        None if is_newest => deployment.stands.as_str(),
        None => "before",
    }
    .into();
    page["reason"] = unloaded.map_or("", String::as_str).into();
    page
}
