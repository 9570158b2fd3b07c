//! A site as the worker knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use wattle_site::Control;
use wattle_wire::row::Event;

use super::board::Unloaded;
use super::judge::No;
use super::kept::Kept;
use super::with_settings;
use crate::policy::{Placed, Retry, Source};

/// What a site is told.
pub struct Order {
    /// A version for its place, if that changes.
    pub placed: Option<Placed>,
    /// The text that keyframes hold of the configuration from now on.
    pub configuration: String,
    /// What is journaled of it.
    pub event: Option<Event>,
}

/// Tells a site's actor.
pub type Tell = Box<dyn Fn(Order) + Send>;

/// A site as the worker knows it.
pub struct Place {
    /// What its file says.
    pub control: Control,
    /// Its file.
    pub text: Arc<str>,
    /// Where its file's policy and shadow come from.
    pub sources: (Option<Source>, Option<Source>),
    /// What is kept of it.
    pub kept: Kept,
    /// What couldn't be read or loaded.
    pub missed: BTreeMap<Missing, Missed>,
    /// Its actor.
    pub tell: Tell,
}

/// Something of a site that couldn't be read or loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// What is kept of it.
    Kept,
    /// What was deployed, by the version of its document.
    Deployed(u64),
    /// The policy of its file.
    OfTheFile,
}

/// Why, and when it is tried again.
#[derive(Debug, Clone)]
pub struct Missed {
    /// Why.
    pub why: String,
    /// None where that doesn't pass.
    pub retry: Option<Retry>,
}

impl Missed {
    /// What may pass, tried again after a pause that is longer each time.
    pub fn may_pass(why: String, before: Option<Self>) -> Self {
        let mut retry = before.and_then(|before| before.retry).unwrap_or_default();
        retry.later();
        Self { why, retry: Some(retry) }
    }

    /// Of something that was looked at.
    pub fn of(no: No, before: Option<Self>) -> Self {
        match no {
            No::Refused(why) => Self { why, retry: None },
            No::Failed(why) => Self::may_pass(why, before),
        }
    }
}

impl Place {
    /// The site file's settings, as its policy is told them.
    pub fn own_settings(&self) -> Arc<str> {
        Source::with_settings("".into(), &self.control, &self.control.settings).settings().into()
    }

    /// What keyframes hold of the configuration.
    pub fn configuration(&self) -> String {
        let standing = self.kept.standing.iter();
        with_settings(&self.text, standing.filter_map(|deployment| deployment.settings.as_deref()))
    }

    /// Tells the site's actor.
    pub fn say(&self, placed: Option<Placed>, event: Option<Event>) {
        (self.tell)(Order { placed, configuration: self.configuration(), event });
    }

    /// What stands and is not loaded.
    pub fn unloaded(&self) -> Unloaded {
        let deployed = |(what, missed): (&Missing, &Missed)| match what {
            Missing::Deployed(version) => Some((*version, missed.why.clone())),
            _ => None,
        };
        self.missed.iter().filter_map(deployed).collect()
    }

    /// Forgets what is missing of what stands no more.
    pub fn prune(&mut self) {
        let (standing, missed) = (&self.kept.standing, &mut self.missed);
        missed.retain(|what, _| match what {
            Missing::Deployed(version) => standing.iter().any(|deployment| deployment.version == *version),
            _ => true,
        });
    }
}
