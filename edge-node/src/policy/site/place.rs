//! Versions that somebody has deployed, in the place of those that the site file names.
//!
//! A file that changes is offered only where the site runs what that file holds: what was deployed stands until it is taken back.
//! What becomes of each version is told ([`Standing`]), so that who keeps the deployments keeps that too.

use super::super::{Source, Version};
use super::{MOST_NOTES, Role, SitePolicy};

/// A version in the place of the one before.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Which of the site's policies it is.
    pub role: Role,
    /// Where it comes from; none for no policy in shadow.
    pub source: Option<Source>,
    /// The version; none where what runs goes on, and only its source is another.
    pub version: Option<Version>,
    /// Whether it is active without a trial.
    pub at_once: bool,
}

/// What has become of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which, by its component and settings; see [`super::super::version::mark`].
    pub mark: [u8; 32],
    /// How it stands.
    pub stands: Stands,
    /// Why, where it was refused or rolled back.
    pub reason: String,
}

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It proves itself beside the active one.
    Trial,
    /// It decides.
    Active,
    /// It is in shadow for good.
    Shadow,
    /// It is no more: it could not go on from the state, or failed too often before it was active.
    Refused,
    /// It is no more: it failed too often while it was active.
    RolledBack,
}

impl Stands {
    /// As pages and files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Shadow => "shadow",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl SitePolicy {
    /// Puts a version into its place. `state` is what the core keeps.
    pub fn place(&mut self, placed: Placed, state: &[u8]) {
        let Placed { role, source, version, at_once } = placed;
        match role {
            Role::Active => {
                self.active = source;
                (self.late, self.retry) = Default::default();
                if let Some(version) = version {
                    self.offer_active(version, at_once, state);
                }
            }
            Role::Shadow => {
                if source.is_none() {
                    self.beside = None;
                }
                self.shadow = source;
                if let Some(version) = version {
                    self.offer_shadow(version);
                }
            }
        }
    }

    /// Takes what was found in a file, if the site runs what that file holds.
    pub fn offer_from(&mut self, role: Role, source: &Source, found: Result<Version, String>, state: &[u8]) {
        if self.sources().any(|(of, own)| of == role && own == source) {
            self.offer(role, found, state);
        }
    }

    /// What has become of versions since the last call.
    pub fn take_standings(&mut self) -> Vec<Standing> {
        std::mem::take(&mut self.standings)
    }

    /// Notes how a version stands.
    pub(super) fn stands(&mut self, mark: [u8; 32], stands: Stands, reason: &str) {
        if self.standings.len() < MOST_NOTES {
            self.standings.push(Standing { mark, stands, reason: reason.to_owned() });
        }
    }
}
