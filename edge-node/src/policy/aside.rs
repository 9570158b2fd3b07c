//! The thread on which shadows decide, so that a slow one keeps no site from its own decisions.
//!
//! A site has one [`Errand`] under way at most; a decision that is made meanwhile goes without its shadows. At most [`QUEUE`]
//! errands of all sites wait; where there is no room the decision goes without them too. Both are counted as
//! `wattle_edge_shadows_left_out_total`.

use std::sync::mpsc::{self, SyncSender};

use wattle_edge_core::SiteMachine;
use wattle_edge_core::replay::Asked;
use wattle_wire::Micros;
use wattle_wire::policy::Snapshot;
use wattle_wire::row::Row;

use super::Version;
use super::shadow::{Moment, Shadow};

/// Errands that wait, each with a copy of its site's machine.
const QUEUE: usize = 64;

/// What the shadows of a site are to decide on.
#[derive(Debug)]
pub struct Errand {
    pub(super) trial: Option<(Version, Shadow)>,
    pub(super) beside: Option<(Version, Shadow)>,
    pub(super) snapshot: Snapshot,
    /// The site's machine before the plan that was obeyed.
    pub(super) machine: SiteMachine,
    pub(super) now: Micros,
    pub(super) is_recorded: bool,
}

/// What the shadows of a site would have done.
#[derive(Debug)]
pub struct Imagined {
    /// When the decision was made that they decided beside.
    pub at: Micros,
    /// Whether a vehicle asked.
    pub(super) is_about_something: bool,
    pub(super) trial: Option<Answer>,
    pub(super) beside: Option<Answer>,
}

/// How one of them has decided.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) version: Version,
    pub(super) shadow: Shadow,
    /// What is to be recorded, or why it gave no plan.
    pub(super) decided: Result<Option<Row>, String>,
}

impl Errand {
    /// Who is asked, by place, with what, and whether the state is what it has left itself.
    pub fn asked(&self) -> Vec<(usize, Asked, bool)> {
        let places = [&self.trial, &self.beside].into_iter().enumerate();
        let asked = places.filter_map(|(place, shadow)| Some((place, shadow.as_ref()?)));
        asked
            .map(|(place, (version, shadow))| {
                let (asked, follows) = shadow.asked(version);
                (place, asked, follows)
            })
            .collect()
    }

    /// Lets the shadows decide.
    pub fn run(self) -> Imagined {
        let Self { trial, beside, snapshot, machine, now, is_recorded } = self;
        let moment = Moment { snapshot: &snapshot, machine: &machine, now, is_recorded };
        let ask = |(version, mut shadow): (Version, Shadow)| {
            let decided = shadow.decide(&version, moment).map_err(|error| error.to_string());
            Answer { version, shadow, decided }
        };
        let is_about_something = super::site::somebody_asks(&snapshot);
        Imagined { at: now, is_about_something, trial: trial.map(ask), beside: beside.map(ask) }
    }
}

/// Who is told of what was imagined.
type Tell = Box<dyn FnOnce(Imagined) + Send>;

/// The way to the thread. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct Aside {
    waiting: SyncSender<(Errand, Tell)>,
}

impl Aside {
    /// Starts the thread.
    ///
    /// # Errors
    /// When that can't be.
    pub fn start() -> std::io::Result<Self> {
        let (waiting, taken) = mpsc::sync_channel::<(Errand, Tell)>(QUEUE);
        std::thread::Builder::new().name("policy-shadow".into()).spawn(move || {
            while let Ok((errand, tell)) = taken.recv() {
                tell(errand.run());
            }
        })?;
        Ok(Self { waiting })
    }

    /// Has the shadows decide and `tell` told of it; false if there is no room.
    pub fn send(&self, errand: Errand, tell: impl FnOnce(Imagined) + Send + 'static) -> bool {
        self.waiting.try_send((errand, Box::new(tell))).is_ok()
    }
}
