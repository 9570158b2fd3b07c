//! Whether the active version has proved itself, so that it is kept for a restart; see [`keep`](super::keep).

use super::Version;
use super::keep::{Last, Place};

/// How far the active version has come.
#[derive(Debug)]
pub struct Proof {
    /// None where nothing is kept.
    place: Option<Place>,
    /// So many good decisions prove a version.
    needed: u32,
    good: u32,
    is_kept: bool,
}

impl Proof {
    /// Of a site whose versions make so many good decisions on trial.
    pub fn new(place: Option<Place>, trial_decisions: u32) -> Self {
        Self { place, needed: trial_decisions.max(1), good: 0, is_kept: false }
    }

    /// The version that was kept last.
    pub fn last(&self) -> Option<Last> {
        self.place.as_ref()?.read()
    }

    /// Another version is active from now on.
    pub fn begin(&mut self, has_proved_itself: bool) {
        (self.good, self.is_kept) = (if has_proved_itself { self.needed } else { 0 }, false);
    }

    /// The active version has made a good decision that was about something.
    pub fn take(&mut self, active: &Version) {
        self.good = self.good.saturating_add(1);
        if self.is_kept || self.good < self.needed {
            return;
        }
        self.is_kept = self.place.as_ref().is_none_or(|place| place.keep(active.bytes(), active.signature()));
    }
}
