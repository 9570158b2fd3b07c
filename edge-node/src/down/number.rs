//! Versions at this node: what a person's document gets, and what of a fog node's comes too late.
//!
//! Whatever a fog node says, a person at this node finds a version above it: one that leaves no room to count on is refused and not
//! remembered ([`is_given`]), and where a site's newest is such a one from before, what was applied is counted on.

use wattle_wire::Micros;
use wattle_wire::document::{Head, is_given, next_version};

use super::kept::{Deployment, Kept, role_of};
use super::worker::{Answer, From, Outcome};

/// Gives a person's document its version, and looks at that of another's; an answer where it is of no use.
pub fn numbered(head: &mut Head, kept: &Kept, from: &From, now: Micros) -> Option<Answer> {
    let version = head.version;
    match from {
        From::Person(name) => {
            let now = u64::try_from(now.0).unwrap_or(0);
            let next = next_version(now, kept.newest).or_else(|| next_version(now, applied(kept)));
            let Some(version) = next else {
                let text = format!("there is no version above {}, the newest that came here", kept.newest);
                return Some(Answer { outcome: Outcome::Refused, version: 0, text });
            };
            (head.version, head.after, head.was) = (version, None, None);
            head.sent_by.clone_from(name);
            None
        }
        From::Fog if version <= kept.newest => {
            let text = format!("version {version} came after {}, which is newer", kept.newest);
            Some(Answer { outcome: Outcome::Older, version, text })
        }
        From::Fog => unless_given(version, kept.newest),
    }
}

/// Refuses a version that no node gives; it isn't remembered.
pub fn unless_given(version: u64, newest: u64) -> Option<Answer> {
    (!is_given(version, newest)).then(|| {
        let text = format!("no node gives the version {version}, above which there would be none for others; it is not remembered");
        Answer { outcome: Outcome::Refused, version: 0, text }
    })
}

/// Why a document from a fog node doesn't hold, since something newer came here before it was handed down.
pub fn overtaken(head: &Head, kept: &Kept) -> Option<String> {
    if head.after.is_some_and(|after| kept.local > after) {
        return Some(format!(
            "a person has sent version {} to this node itself, which the fog node did not know when it took this; what decides goes on",
            kept.local
        ));
    }
    let was = head.was?;
    // The fog node may not have heard that this one came; another one's clock says nothing where this one knew nothing of the edge.
    let is_as_new = |deployment: &&Deployment| {
        deployment.version == was || deployment.version > was && head.after > Some(0)
    };
    let role = head.policy.as_ref().map(|order| role_of(order.action));
    let mut stood = kept.standing.iter().chain(&kept.withdrawn).filter(|before| Some(before.role()) == role);
    stood.find(is_as_new).map(|before| {
        format!(
            "the fog node took it as version {was}, and version {} came here since; what decides goes on",
            before.version
        )
    })
}

/// The newest version that was applied, as far as that is kept.
fn applied(kept: &Kept) -> u64 {
    let deployed = kept.standing.iter().chain(&kept.withdrawn).map(|deployment| deployment.version);
    deployed.max().unwrap_or(0).max(kept.local)
}
