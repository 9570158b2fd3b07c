//! What the status page and the stream of documents know of the way down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use wattle_wire::SiteId;
use wattle_wire::document::{HasOf, POLICY};

use super::kept::{Deployment, Kept};
use crate::policy::Role;

/// The most sites that are none of ours whose documents are remembered as refused.
const MOST_STRANGERS: usize = 1_000;

/// Shared by whoever writes and reads it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    sites: BTreeMap<SiteId, Kept>,
    /// Documents that were refused because of their site or kind, so that nobody brings them again at once.
    strangers: BTreeMap<(SiteId, String), u64>,
    /// How the stream of documents is.
    stream: Option<Value>,
}

impl Board {
    /// Takes what is kept of a site.
    pub fn keep(&self, site: &SiteId, kept: &Kept) {
        self.lock().sites.insert(site.clone(), kept.clone());
    }

    /// Takes that a document of a site or kind that is none of ours was refused.
    pub fn refused(&self, site: SiteId, kind: String, version: u64) {
        let mut inner = self.lock();
        if inner.strangers.len() < MOST_STRANGERS {
            inner.strangers.insert((site, kind), version);
        }
    }

    /// Takes how the stream of documents is.
    pub fn stream(&self, address: &str, state: &str, reason: &str) {
        self.lock().stream = Some(json!({ "address": address, "state": state, "reason": reason }));
    }

    /// The newest version that was dealt with, of each site and kind.
    pub fn has(&self) -> Vec<HasOf> {
        let inner = self.lock();
        let own = inner.sites.iter().map(|(site, kept)| HasOf {
            site: site.clone(),
            kind: POLICY.into(),
            version: kept.newest,
        });
        let strangers = inner.strangers.iter().map(|((site, kind), version)| HasOf {
            site: site.clone(),
            kind: kind.clone(),
            version: *version,
        });
        own.chain(strangers).collect()
    }

    /// How the stream is, for the status page; null where there is none.
    pub fn stream_page(&self) -> Value {
        self.lock().stream.clone().unwrap_or_default()
    }

    /// A site's part of the status page; null where nothing ever came.
    pub fn page(&self, site: &SiteId) -> Value {
        let inner = self.lock();
        let Some(kept) = inner.sites.get(site).filter(|kept| kept.newest > 0) else { return Value::Null };
        let told = kept.told.as_ref().map(|told| {
            json!({
                "version": told.version,
                "action": told.action.map(|action| action.as_str()),
                "sha256": told.sha256,
                "sent_by": told.sent_by,
                "at_us": told.at_us.0,
                "outcome": if told.refused.is_empty() { "applied" } else { "refused" },
                "reason": told.refused,
            })
        });
        let newest = |role| kept.newest_of(role).map(|newest| newest.version);
        let newest = [newest(Role::Active), newest(Role::Shadow)];
        let standing: Vec<_> = kept
            .standing
            .iter()
            .map(|deployment| page(deployment, newest.contains(&Some(deployment.version))))
            .collect();
        json!({ "newest": told, "standing": standing })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole after each single call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page(deployment: &Deployment, is_newest: bool) -> Value {
    let settings = deployment.settings.as_deref().map(serde_json::from_str::<Value>);
    json!({
        "version": deployment.version,
        "action": deployment.action.as_str(),
        "policy": deployment.policy,
        "sha256": deployment.sha256,
        "settings": settings.and_then(Result::ok),
        "sent_by": deployment.sent_by,
        "signed_by": deployment.signed_by,
        "applied_us": deployment.applied_us.0,
        "state": if is_newest { deployment.stands.as_str() } else { "before" },
        "since_us": deployment.since_us.0,
    })
}
