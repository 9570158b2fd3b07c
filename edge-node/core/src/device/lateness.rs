//! Whether a reading tells of the present or of the past.
//!
//! After an outage a device resends what was not acknowledged. Those readings belong into the journal; taken
//! as the present they would make room that isn't there. The device's clock may be wrong, so a reading's lag
//! (arrival less measured) is compared with the device's *usual* lag: more than [`LATE`] above it is late,
//! and that for as long as it lasts. A meter of which only late readings come is stale.
//!
//! How the usual lag is found:
//!
//! - At first it is none: the device's clock agrees with the edge's. It is kept over a restart of the edge.
//! - A reading that is not late and at most [`LATE`] early makes it less at once, or more by as much as clocks
//!   drift, [`DRIFT`] of the time between two readings and at most [`MAX_DRIFT`].
//! - A lag that is further below (a clock that goes ahead) becomes the usual one once it has stood, to within
//!   [`STEADY`], for [`SETTLED`]; a single absurd time changes nothing.
//! - A lag that is further above (a clock that goes behind, or a backlog) does so too, but only if no reading
//!   was of the present yet since the device's start, or the edge's: a device that was of the present is
//!   never believed to be so later than before. A clock that is set back while the device runs is thus taken
//!   for a backlog until the device's next start.

use serde::{Deserialize, Serialize};
use wattle_wire::Micros;

/// A reading this much later than usual is not of the present.
const LATE: Micros = Micros::from_secs(3);

/// A new lag has to stand this long, to within [`STEADY`]. A backlog that is sent faster than it was measured
/// doesn't stand.
const SETTLED: Micros = Micros::from_secs(60);
const STEADY: i64 = 1_000_000;

/// The usual lag may grow by one part in this many of the time that passes, more than a cheap crystal needs.
const DRIFT: i64 = 10_000;
/// The most that it grows with one reading, however long the silence before it was.
const MAX_DRIFT: i64 = 2_000_000;

/// What is kept of it over a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usual {
    lag: Micros,
    /// When it was last found to hold.
    at: Micros,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Lateness {
    usual: Usual,
    /// Whether a reading was of the present since the device's start and the edge's.
    was_present: bool,
    /// A lag that is not the usual one, and since when it has stood.
    standing: Option<(Micros, Micros)>,
}

impl Lateness {
    pub(super) fn kept(&self) -> Usual {
        self.usual
    }

    pub(super) fn from_kept(usual: Usual) -> Self {
        Self { usual, ..Self::default() }
    }

    /// The device has started anew, so its clock may be another.
    pub(super) fn begin(&mut self) {
        (self.was_present, self.standing) = (false, None);
    }

    /// Takes a reading's times; whether it is of the present. Without a clock the arrival counts.
    pub(super) fn is_present(&mut self, measured: Option<Micros>, now: Micros) -> bool {
        let Some(measured) = measured else { return true };
        let lag = now - measured;
        let above = lag - self.usual.lag;
        let is_late = above > LATE;
        if !is_late && above >= Micros(-LATE.0) {
            let drift = ((now - self.usual.at).0.max(0) / DRIFT).min(MAX_DRIFT);
            self.usual = Usual { lag: lag.min(self.usual.lag + Micros(drift)), at: now };
            (self.was_present, self.standing) = (true, None);
            return true;
        }
        if (is_late && self.was_present) || !self.has_stood(lag, now) {
            return !is_late;
        }
        self.usual = Usual { lag, at: now };
        (self.was_present, self.standing) = (true, None);
        true
    }

    /// Takes the times of a reading from the journal: like [`Self::is_present`], but believes no later lag.
    pub(super) fn replay(&mut self, measured: Option<Micros>, at: Micros) {
        let was_present = std::mem::replace(&mut self.was_present, true);
        self.is_present(measured, at);
        (self.was_present, self.standing) = (was_present, None);
    }

    fn has_stood(&mut self, lag: Micros, now: Micros) -> bool {
        match self.standing {
            Some((first, since)) if (lag - first).0.saturating_abs() <= STEADY => now - since >= SETTLED,
            _ => {
                self.standing = Some((lag, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Micros {
        Micros::from_millis(ms)
    }

    /// Readings from a second to another, ten in each, with this lag: how many are of the present.
    fn present(lateness: &mut Lateness, secs: std::ops::Range<i64>, lag_ms: i64) -> usize {
        let times = (secs.start * 10..secs.end * 10).map(|i| at(i * 100));
        times.filter(|now| lateness.is_present(Some(*now - at(lag_ms)), *now)).count()
    }

    #[test]
    fn a_backlog_is_late_until_it_has_caught_up() {
        for heard_before in [true, false] {
            let mut lateness = Lateness::default();
            assert!(!heard_before || lateness.is_present(Some(at(0)), at(5)));
            for i in 1..100 {
                let caught_up = 100_000 + i - i * 1_000 <= 3_000;
                assert_eq!(lateness.is_present(Some(at(i * 1_000)), at(100_000 + i)), caught_up, "{i}");
            }
        }
    }

    #[test]
    fn a_steady_backlog_is_never_taken_for_the_present() {
        let mut lateness = Lateness::default();
        assert_eq!(present(&mut lateness, 0..1, 5), 10);
        assert_eq!(present(&mut lateness, 60..3_600, 60_000), 0);
        assert_eq!(present(&mut lateness, 3_600..3_601, 5), 10, "and the live ones behind it are");
    }

    #[test]
    fn after_a_restart_the_first_reading_of_a_backlog_is_late() {
        let mut before = Lateness::default();
        assert_eq!(present(&mut before, 0..1, 5), 10);
        let mut lateness = Lateness::from_kept(before.kept());
        assert_eq!(present(&mut lateness, 60..119, 60_000), 0);
        assert_eq!(present(&mut lateness, 119..120, 5), 10);
        assert_eq!(present(&mut lateness, 120..600, 60_000), 0);
    }

    #[test]
    fn a_clock_that_goes_behind_is_believed_a_minute_after_a_start_and_at_once_after_a_restart() {
        let mut lateness = Lateness::default();
        assert_eq!(present(&mut lateness, 0..60, 3_600_000), 0);
        assert_eq!(present(&mut lateness, 60..70, 3_600_000), 100);
        let mut again = Lateness::from_kept(lateness.kept());
        assert_eq!(present(&mut again, 70..71, 3_600_000), 10);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_the_next_start() {
        let mut lateness = Lateness::default();
        assert_eq!(present(&mut lateness, 0..10, 0), 100);
        assert_eq!(present(&mut lateness, 10..200, 10_000), 0);
        lateness.begin();
        assert_eq!(present(&mut lateness, 200..260, 10_000), 0);
        assert_eq!(present(&mut lateness, 260..270, 10_000), 100);
    }

    #[test]
    fn a_clock_that_goes_ahead_is_of_the_present_and_its_backlog_is_not() {
        let mut lateness = Lateness::default();
        assert_eq!(present(&mut lateness, 0..70, -3_600_000), 700);
        assert_eq!(present(&mut lateness, 70..71, -3_590_000), 0);
    }

    #[test]
    fn a_single_time_that_is_far_ahead_changes_nothing() {
        let mut lateness = Lateness::default();
        assert!(lateness.is_present(Some(at(3_600_000)), at(0)));
        assert_eq!(present(&mut lateness, 1..2, 5), 10);
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut lateness = Lateness::default();
        for second in 0..86_400 {
            // 50 parts in a million: four seconds in a day.
            assert!(lateness.is_present(Some(Micros(second * 999_950)), Micros(second * 1_000_000)));
        }
        assert!(!lateness.is_present(Some(at(86_400_000 - 10_000)), at(86_400_000)));
    }

    #[test]
    fn a_journaled_backlog_is_not_believed_either() {
        let mut lateness = Lateness::default();
        for i in 0..3_600 {
            lateness.replay(Some(at(i * 1_000 - 60_000)), at(i * 1_000));
        }
        assert_eq!(lateness.kept(), Usual::default());
        lateness.replay(Some(at(3_600_000)), at(3_600_500));
        assert_eq!(lateness.kept(), Usual { lag: Micros(360_050), at: at(3_600_500) });
    }

    #[test]
    fn a_device_without_a_clock_is_of_the_present_and_absurd_times_do_no_harm() {
        let mut lateness = Lateness::default();
        assert!(lateness.is_present(None, at(1)));
        assert!(!lateness.is_present(Some(Micros(i64::MIN)), at(1)));
        assert!(lateness.is_present(Some(Micros(i64::MAX)), at(2)));
        assert!(!lateness.is_present(Some(Micros(i64::MIN)), at(3)));
        assert!(lateness.is_present(Some(at(4)), at(4)));
    }
}
