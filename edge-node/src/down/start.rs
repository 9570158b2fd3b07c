//! What stands at a node's start.

use wattle_policy_host::Host;
use wattle_site::Control;
use wattle_wire::SiteId;
use wattle_wire::document::Action;
use wattle_wire::row::{EventKind, Row};

use super::judge::{Judge, No};
use super::kept::{Deployment, Folder, Kept};
use super::worker::{applied, event};
use crate::policy::{Placed, Role, SitePolicy};

/// Puts what stands into its place, the version before the newest first; gives what is journaled of it.
pub fn place(
    host: &Host,
    folder: &Folder,
    (site, control): (&SiteId, &Control),
    kept: &Kept,
    policy: &mut SitePolicy,
) -> Vec<Row> {
    let judge = Judge { host, folder, control };
    for deployment in to_load(kept) {
        let role = deployment.role();
        let placed = match judge.standing(deployment) {
            Ok((source, version)) => {
                // What had not proven itself begins its trial anew.
                let at_once = deployment.proven || deployment.action == Action::Activate;
                Placed { role, source: Some(source), version: Some(version), at_once }
            }
            Err(No::Refused(reason) | No::Failed(reason)) => {
                let what = format!("{}, which was deployed: {reason}", deployment.policy);
                policy.offer(role, Err(what), &[]);
                continue;
            }
        };
        policy.place(placed, &[]);
    }
    rows(site, kept)
}

/// The two newest that may be obeyed and the newest in shadow.
fn to_load(kept: &Kept) -> impl Iterator<Item = &Deployment> {
    let of = |role| kept.standing.iter().filter(move |deployment| deployment.role() == role);
    let obeyed: Vec<_> = of(Role::Active).rev().take(2).collect();
    // One on trial stands behind one that is proven.
    obeyed.into_iter().rev().chain(of(Role::Shadow).next_back())
}

/// What stands, said again: whether it was journaled before the node was killed nobody knows.
fn rows(site: &SiteId, kept: &Kept) -> Vec<Row> {
    let standing = kept.standing.iter();
    let mut rows: Vec<_> = standing
        .map(|deployment| Row::Event(event(site, EventKind::DocumentApplied, &applied(deployment))))
        .collect();
    let refused = kept.told.as_ref().filter(|told| !told.refused.is_empty());
    rows.extend(refused.map(|told| {
        let detail = serde_json::json!({
            "kind": "policy",
            "version": told.version,
            "action": told.action.map(|action| action.as_str()),
            "sha256": told.sha256,
            "sent_by": told.sent_by,
            "reason": told.refused,
        });
        Row::Event(event(site, EventKind::DocumentRefused, &detail))
    }));
    rows
}
