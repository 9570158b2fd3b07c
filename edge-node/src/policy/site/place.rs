//! Versions that somebody has deployed, in the place of those that the site file names.
//!
//! A file that changes is offered only where the site runs what that file holds: what was deployed stands until it is taken back.
//! What becomes of each version is told ([`Standing`]), so that who keeps the deployments keeps that too.
//!
//! What is taken back decides no more, whatever stands below it ([`Back`]): where that declines to go on from the state, it begins
//! with nothing, which is an event; where it can't be loaded, the built-in equal share decides. On the way back to the site file's
//! policy the version that its file held when it decided last decides at once, and what the file holds now is offered as any new
//! version is.

use wattle_wire::row::EventKind;

use super::super::line::{Step, Versioned as _};
use super::super::retry::Retry;
use super::super::{Source, Version};
use super::{MOST_NOTES, Role, SitePolicy};

/// A version in the place of the one before.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Which of the site's policies it is.
    pub role: Role,
    /// The newest document that was dealt with when this was said.
    pub document: u64,
    /// Where it comes from; none for no policy in shadow.
    pub source: Option<Source>,
    /// The version; none where what runs goes on, and only its source is another.
    pub version: Option<Version>,
    /// Whether it is active without a trial.
    pub at_once: bool,
    /// Where it takes the place of what was taken back. Then no version means that nothing below that can be used.
    pub back: Option<Back>,
}

/// What was taken back.
#[derive(Debug, Clone)]
pub struct Back {
    /// The mark of what is to decide no more.
    pub gone: [u8; 32],
    /// Who stands in for what decides now.
    pub stand_in: Option<Version>,
    /// Why something that stands couldn't be loaded; empty where all could.
    pub missing: String,
}

/// What has become of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// As which of the site's policies.
    pub role: Role,
    /// Which, by its component and settings; see [`super::super::version::mark`].
    pub mark: [u8; 32],
    /// The newest document that the site had heard of; of a later one this says nothing.
    pub heard: u64,
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
    /// It is to decide, and was late at taking over the state; it is asked again.
    Late,
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
            Self::Late => "late",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl SitePolicy {
    /// Puts a version into its place. `state` is what the core keeps.
    pub fn place(&mut self, placed: Placed, state: &[u8]) {
        let Placed { role, document, source, version, at_once, back } = placed;
        self.heard = self.heard.max(document);
        match role {
            Role::Active => {
                self.active = source;
                let gone = back.as_ref().map(|back| back.gone);
                let is_gone = |(late, _): &mut (Version, bool)| gone.is_none_or(|gone| late.digest() == gone);
                if version.is_some() && self.late.take_if(is_gone).is_some() {
                    self.retry = Retry::default();
                }
                match (back, version) {
                    (Some(back), version) => self.go_back(back, version, state),
                    (None, Some(version)) => self.offer_active(version, at_once, state),
                    (None, None) => {}
                }
            }
            Role::Shadow => {
                if source.is_none() || back.is_some() && version.is_none() {
                    self.beside = None;
                }
                self.shadow = source;
                if let Some(version) = version {
                    self.offer_shadow(version);
                }
            }
        }
    }

    /// Lets what was taken back decide no more.
    fn go_back(&mut self, back: Back, version: Option<Version>, state: &[u8]) {
        let is_file = self.active.is_some() && self.active == self.of_the_file;
        let ran = self.ran_of_the_file.clone().filter(|ran| is_file && ran.digest() != back.gone);
        let (decides, untried) = match (ran, version) {
            (Some(ran), Some(version)) if ran.digest() != version.digest() => (Some(ran), Some(version)),
            (ran, version) => (version.or(ran), None),
        };
        if !back.missing.is_empty() {
            self.note(EventKind::PolicyRefused, back.missing.clone());
            self.missing = back.missing;
        }
        match self.line.withdraw(back.gone, decides, back.stand_in) {
            Some(Step::Active(before)) => self.is_back(before, state),
            Some(Step::Withdrawn(trial)) => {
                let decides = self.line.active().cloned();
                if let Some(decides) = &decides {
                    self.stands(Role::Active, decides.digest(), Stands::Active, "");
                }
                let name = decides.map_or("the built-in equal share".into(), |decides| decides.name());
                self.note_withdrawn(&trial, &name);
            }
            _ => {}
        }
        if let Some(untried) = untried {
            self.offer_active(untried, false, state);
        }
    }

    /// Another decides from now on; whatever it says to the state that is left.
    fn is_back(&mut self, before: Option<Version>, state: &[u8]) {
        self.proof.begin(false);
        (self.rests, self.is_taken_back) = (0, true);
        if let Some(active) = self.line.active().cloned()
            && let Err(declined) = self.taken_over(&active, state)
        {
            self.note_given_up(&active, state, &declined);
        }
        self.note_active(before);
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
    pub(super) fn stands(&mut self, role: Role, mark: [u8; 32], stands: Stands, reason: &str) {
        if self.standings.len() < MOST_NOTES {
            let heard = self.heard;
            self.standings.push(Standing { role, mark, heard, stands, reason: reason.to_owned() });
        }
    }
}
