//! What stands at a site, as its file in the folder `deployed` says ([`super::folder`]).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wattle_process::inbox::token_digest;
use wattle_wire::Micros;
use wattle_wire::document::{Action, Head};

use crate::policy::{Role, Stands, mark};

/// The most deployments that stand at a site; beyond it the oldest that has a successor goes.
pub const MOST_STANDING: usize = 4;
/// The most deployments that stand no more whose components are kept for a replay.
pub const MOST_WITHDRAWN: usize = 8;

/// What is kept of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The newest version that was applied or refused.
    pub newest: u64,
    /// What became of it.
    pub told: Option<Told>,
    /// The version of the last document that a person has sent to this node itself and that was applied.
    pub local: u64,
    /// What was deployed and not taken back, the newest last.
    pub standing: Vec<Deployment>,
    /// What stood and stands no more, the last one last, so that what it has decided can be replayed.
    pub withdrawn: Vec<Deployment>,
}

/// What became of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which version.
    pub version: u64,
    /// What it asked for.
    pub action: Option<Action>,
    /// Of which bytes, hexadecimal.
    pub sha256: String,
    /// Who has sent it.
    pub sent_by: String,
    /// When it was dealt with.
    pub at_us: Micros,
    /// Why it was refused or rolled back; empty where it was applied.
    pub refused: String,
}

/// A policy that was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The document's version.
    pub version: u64,
    /// What it asked for.
    pub action: Action,
    /// Name and version of the policy.
    pub policy: String,
    /// SHA-256 of the component, hexadecimal.
    pub sha256: String,
    /// What it is told, JSON; none for the site file's settings.
    pub settings: Option<String>,
    /// Who has sent it.
    pub sent_by: String,
    /// The key that has signed it.
    pub signed_by: Option<String>,
    /// When it was applied.
    pub applied_us: Micros,
    /// Whether it may decide without a trial: it was active once, or was to be at once.
    pub proven: bool,
    /// How it stands, and since when.
    pub stands: Stand,
    /// See `stands`.
    pub since_us: Micros,
}

/// How a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It proves itself, or was late at taking over the state and is asked again.
    Trial,
    /// It decides, or did before the next one.
    Active,
    /// It is in shadow for good.
    Shadow,
}

impl Stand {
    /// Of what the policy says; none where it stands no more.
    pub fn of(stands: Stands) -> Option<Self> {
        match stands {
            Stands::Trial | Stands::Late => Some(Self::Trial),
            Stands::Active => Some(Self::Active),
            Stands::Shadow => Some(Self::Shadow),
            Stands::Refused | Stands::RolledBack => None,
        }
    }

    /// As pages write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Shadow => "shadow",
        }
    }
}

/// Which of a site's policies a document is about that asks for this.
pub fn role_of(action: Action) -> Role {
    if action == Action::Shadow { Role::Shadow } else { Role::Active }
}

impl Deployment {
    /// Which of the site's policies it is.
    pub fn role(&self) -> Role {
        role_of(self.action)
    }

    /// As pages and events say it.
    pub fn json(&self) -> Value {
        let settings = self.settings.as_deref().map(serde_json::from_str::<Value>);
        json!({
            "version": self.version,
            "action": self.action.as_str(),
            "policy": self.policy,
            "sha256": self.sha256,
            "settings": settings.and_then(Result::ok),
            "sent_by": self.sent_by,
            "signed_by": self.signed_by,
        })
    }

    /// What tells it from others, under the site file's settings where it has none of its own.
    pub fn mark(&self, of_the_site: &str) -> Option<[u8; 32]> {
        Some(mark(&unhex(&self.sha256)?, self.settings.as_deref().unwrap_or(of_the_site)))
    }
}

impl Kept {
    /// The newest that stands in a role.
    pub fn newest_of(&self, role: Role) -> Option<&Deployment> {
        self.standing.iter().rev().find(|deployment| deployment.role() == role)
    }

    /// Adds one. The same with the same settings goes from its role, what has never decided too, and what is too many, but never the newest
    /// of a role. What decides is not on trial again.
    pub fn push(&mut self, mut deployment: Deployment, of_the_site: &str) {
        let (role, mark) = (deployment.role(), deployment.mark(of_the_site));
        let decides = self.standing.iter().rev().find(|before| before.role() == role && before.proven);
        deployment.proven |= decides.is_some_and(|decides| decides.mark(of_the_site) == mark);
        let now = deployment.applied_us;
        self.take_out(now, |before| {
            before.role() == role && (!before.proven || before.mark(of_the_site) == mark)
        });
        self.standing.push(deployment);
        while self.standing.len() > MOST_STANDING {
            let has_successor = |at: usize| {
                self.standing[at + 1..].iter().any(|later| later.role() == self.standing[at].role())
            };
            let oldest = (0..self.standing.len()).find(|at| has_successor(*at)).unwrap_or_default();
            let version = self.standing[oldest].version;
            self.take_out(now, |before| before.version == version);
        }
    }

    /// Takes out what stands no more; gives it.
    pub fn take_out(&mut self, now: Micros, is_gone: impl Fn(&Deployment) -> bool) -> Vec<Deployment> {
        let (gone, standing) = std::mem::take(&mut self.standing).into_iter().partition(is_gone);
        self.standing = standing;
        for deployment in &gone {
            let deployment: &Deployment = deployment;
            let is_same = |before: &Deployment| {
                before.sha256 == deployment.sha256 && before.settings == deployment.settings
            };
            self.withdrawn.retain(|before| !is_same(before));
            self.withdrawn.push(Deployment { since_us: now, ..deployment.clone() });
        }
        let too_many = self.withdrawn.len().saturating_sub(MOST_WITHDRAWN);
        self.withdrawn.drain(..too_many);
        gone
    }
}

impl Told {
    /// Of a document, and why it was refused; empty where it was applied.
    pub fn of(head: &Head, at_us: Micros, refused: &str) -> Self {
        Self {
            version: head.version,
            action: head.policy.as_ref().map(|order| order.action),
            sha256: head.sha256.clone(),
            sent_by: head.sent_by.clone(),
            at_us,
            refused: refused.to_owned(),
        }
    }

    /// As pages and events say it.
    pub fn json(&self) -> Value {
        json!({
            "version": self.version,
            "action": self.action.map(Action::as_str),
            "sha256": self.sha256,
            "sent_by": self.sent_by,
        })
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    token_digest(text).ok()
}
