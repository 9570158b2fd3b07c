//! What stands at a node's start.

use std::collections::BTreeMap;
use std::time::Duration;

use wattle_policy_host::Host;
use wattle_site::Control;
use wattle_wire::SiteId;
use wattle_wire::document::{Action, POLICY};
use wattle_wire::row::{EventKind, Row};

use super::folder::Folder;
use super::judge::Judge;
use super::kept::{Deployment, Kept};
use super::place::{Missed, Missing};
use super::worker::{applied, event, refused};
use crate::policy::{Placed, Role, SitePolicy, Source, Version};

/// What couldn't be read or loaded.
type AllMissed = BTreeMap<Missing, Missed>;

/// How often what is kept of a site is read at a start before the site begins without it, and the first pause, which doubles.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What is kept of a site, and whether that couldn't be read.
pub fn read(folder: &Folder, site: &SiteId) -> (Kept, AllMissed) {
    let mut pause = FIRST_PAUSE;
    let mut read = folder.read(site);
    for _ in 1..TRIES {
        if read.is_ok() {
            break;
        }
        std::thread::sleep(pause);
        pause *= 2;
        read = folder.read(site);
    }
    match read {
        Ok(kept) => (kept, AllMissed::new()),
        Err(error) => {
            tracing::error!(%site, %error, "what is deployed can't be read; the site file's policy decides until it can");
            (Kept::default(), [(Missing::Kept, Missed::may_pass(error.to_string(), None))].into())
        }
    }
}

/// Puts what stands into its place, the version before the newest first; gives what is journaled of it. What can't be loaded is `missed`.
pub fn place(
    host: &Host,
    folder: &Folder,
    (site, control): (&SiteId, &Control),
    (kept, missed): (&Kept, &mut AllMissed),
    policy: &mut SitePolicy,
) -> Vec<Row> {
    let judge = Judge { host, folder, control };
    for deployment in to_load(kept) {
        let role = deployment.role();
        match judge.standing(deployment) {
            Ok((source, version)) => policy.place(placed(deployment, kept.newest, source, version), &[]),
            Err(no) => {
                let what = format!("{}, which was deployed: {}", deployment.policy, no.why());
                policy.offer(role, Err(what), &[]);
                let source = Some(judge.standing_source(deployment));
                let document = kept.newest;
                policy
                    .place(Placed { role, document, source, version: None, at_once: false, back: None }, &[]);
                missed.insert(Missing::Deployed(deployment.version), Missed::of(no, None));
            }
        }
    }
    rows(site, kept)
}

/// A deployment that could be loaded, in its place. What had not proven itself begins its trial anew.
pub fn placed(deployment: &Deployment, document: u64, source: Source, version: Version) -> Placed {
    let at_once = deployment.proven || deployment.action == Action::Activate;
    let (source, version) = (Some(source), Some(version));
    Placed { role: deployment.role(), document, source, version, at_once, back: None }
}

/// The two newest that may be obeyed and the newest in shadow.
pub fn to_load(kept: &Kept) -> impl Iterator<Item = &Deployment> {
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
    let told = kept.told.as_ref().filter(|told| !told.refused.is_empty());
    rows.extend(told.map(|told| Row::Event(event(site, EventKind::DocumentRefused, &refused(told, POLICY)))));
    rows
}
