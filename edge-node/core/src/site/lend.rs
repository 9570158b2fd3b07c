//! What a vehicle leaves of its share is lent to others until it wants it back.
//!
//! A vehicle that for the lending time has drawn less than it may, by more than a step, gets a *ceiling*: the most that it drew in
//! that time, rounded up to a step, and a step; never below its minimum. The policy sees the ceiling as the charger's
//! maximum and the envelope holds it, so what is above it goes to the others. A vehicle that draws what it may, to
//! within a step, wants more: the ceiling is gone at once.
//!
//! Nobody swings by it:
//! - The least step between draw and ceiling is above the noise, so a steady draw never asks.
//! - A draw that still rises is a ramp: with each rise the lending time begins anew.
//! - A ceiling falls, by two steps or more; it never rises but by being asked away.
//! - Each time that it is asked away the next one takes twice as long, up to [`MOST_DOUBLINGS`] times, until the vehicle
//!   stops asking.

use wattle_wire::{Micros, Milliamps};

use super::Charger;
use super::station::DRAW_TOLERANCE;

/// How often the lending time is doubled at most.
pub(super) const MOST_DOUBLINGS: u32 = 4;

/// What is known of a vehicle's appetite.
#[derive(Debug, Clone, Default)]
pub(super) struct Lending {
    pub(super) ceiling: Option<Milliamps>,
    pub(super) watched: Option<Watched>,
    pub(super) doublings: u32,
}

/// A vehicle that draws less than it may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) since: Micros,
    /// What it may draw.
    pub(super) limit: Milliamps,
    /// What it drew first, and at most.
    pub(super) first: Milliamps,
    pub(super) most: Milliamps,
}

impl Lending {
    /// The most that is of use to it; none if that isn't known.
    pub(super) fn ceiling(&self) -> Option<Milliamps> {
        self.ceiling
    }

    /// Takes a draw, measured while the charger obeyed `limit`. `after` is the lending time; zero for none.
    pub(super) fn hear(
        &mut self,
        charger: &Charger,
        draw: Milliamps,
        limit: Milliamps,
        now: Micros,
        after: Micros,
    ) {
        let step = charger.step_ma.max(Milliamps(1));
        if after <= Micros::ZERO || limit < charger.min_ma {
            self.watched = None;
            return;
        }
        if draw > limit - step {
            self.ask_back();
            return;
        }
        let anew = Watched { since: now, limit, first: draw, most: draw };
        let watched = self.watched.get_or_insert(anew);
        if watched.limit != limit || draw > watched.first + DRAW_TOLERANCE {
            *watched = anew;
        }
        watched.most = watched.most.max(draw);
        if now - watched.since >= Micros(after.0.saturating_mul(1 << self.doublings)) {
            let whole = (watched.most + DRAW_TOLERANCE + step - Milliamps(1)).floor_to(step);
            let ceiling = (whole + step).max(charger.min_ma);
            *watched = anew;
            if ceiling < limit && self.ceiling.is_none_or(|before| ceiling + step + step <= before) {
                self.ceiling = Some(ceiling);
            }
        }
    }

    fn ask_back(&mut self) {
        self.watched = None;
        if self.ceiling.take().is_some() {
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        }
    }
}
