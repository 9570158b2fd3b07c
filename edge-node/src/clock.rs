//! The edge's clock: the wall clock as it was at the start, and the time that has passed since.
//!
//! Everything that counts a length of time runs on it: decisions, how long a setpoint binds a charger, when a meter
//! is stale. So it must pass as time does in the chargers, whatever becomes of the wall clock. It never goes
//! back and never jumps: towards a wall clock that was set, it goes at most [`SLEW_PERCENT`] percent faster or
//! slower until it has reached it, twenty seconds for each second of difference. Were a jump of minutes followed
//! at once, every reservation would lapse while the chargers still obey it.
//!
//! **Rows are stamped with it.** After a jump of the wall clock their times are wrong by what is left of the
//! difference. A machine without a clock chip should start the edge only after its time was set
//! (`time-sync.target`); where it was started before, a restart takes the wall clock as it is then. A difference above a second
//! stands in the log when it begins and when it has passed.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wattle_wire::Micros;

/// How much faster or slower than time it goes towards the wall clock.
const SLEW_PERCENT: i64 = 5;
/// How often it compares itself with the wall clock.
const PERIOD_US: i64 = 1_000_000;
/// The most that it makes good in one period.
const MAX_SLEW_US: i64 = PERIOD_US / 100 * SLEW_PERCENT;
/// A difference that is worth a line in the log: one second.
const NOTABLE_US: i64 = 1_000_000;

/// A clock that never goes back and never jumps; shared by the whole node.
pub struct Clock {
    state: Mutex<State>,
}

struct State {
    anchor: Anchor,
    taken: Instant,
    is_off: bool,
}

/// Where the clock stood, and how much it makes good in the period from there: all of its arithmetic, for who brings
/// times of another origin.
#[derive(Clone, Copy)]
pub struct Anchor {
    now_us: i64,
    slew_us: i64,
}

impl Clock {
    /// A clock that begins at the wall clock.
    pub fn start() -> Self {
        let anchor = Anchor { now_us: wall_us(), slew_us: 0 };
        Self { state: Mutex::new(State { anchor, taken: Instant::now(), is_off: false }) }
    }

    /// The moment, UTC microseconds; never before one that was given earlier.
    pub fn now(&self) -> Micros {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = Instant::now();
        let elapsed_us = i64::try_from(taken.duration_since(state.taken).as_micros()).unwrap_or(i64::MAX);
        let now_us = state.anchor.after(elapsed_us);
        if elapsed_us >= PERIOD_US {
            let wall_us = wall_us();
            state.anchor = Anchor::towards(now_us, wall_us);
            state.taken = taken;
            state.report(wall_us.saturating_sub(now_us));
        }
        Micros(now_us)
    }
}

impl State {
    fn report(&mut self, behind_us: i64) {
        let is_off = behind_us.saturating_abs() > NOTABLE_US;
        if is_off && !self.is_off {
            tracing::warn!(
                behind_us,
                "the wall clock was set; following it slowly, a restart takes it at once"
            );
        } else if self.is_off && !is_off {
            tracing::info!("in step with the wall clock again");
        }
        self.is_off = is_off;
    }
}

impl Anchor {
    /// From where it stands towards a wall clock, both in UTC microseconds. To be made anew after each second.
    pub fn towards(now_us: i64, wall_us: i64) -> Self {
        Self { now_us, slew_us: wall_us.saturating_sub(now_us).clamp(-MAX_SLEW_US, MAX_SLEW_US) }
    }

    /// Where the clock stands when this time has passed: what there is to make good is spread over one period.
    pub fn after(self, elapsed_us: i64) -> i64 {
        let slewed_us = self.slew_us * elapsed_us.min(PERIOD_US) / PERIOD_US;
        self.now_us.saturating_add(elapsed_us).saturating_add(slewed_us)
    }
}

fn wall_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Where a clock at 0 stands after so many seconds with a wall clock that is so far ahead of it.
    fn check(seconds: i64, ahead_us: i64, expected_us: i64) {
        let mut anchor = Anchor::towards(0, ahead_us);
        for second in 1..=seconds {
            anchor = Anchor::towards(anchor.after(SECOND), second * SECOND + ahead_us);
        }
        assert_eq!(anchor.now_us, expected_us);
    }

    #[test]
    fn a_wall_clock_that_was_set_forward_by_minutes_is_followed_slowly() {
        check(10, 300 * SECOND, 10 * SECOND + SECOND / 2);
    }

    #[test]
    fn a_wall_clock_that_was_set_back_is_waited_for_slowly() {
        check(10, -300 * SECOND, 10 * SECOND - SECOND / 2);
    }

    #[test]
    fn a_difference_is_made_good_and_not_more() {
        check(10, 120_000, 10 * SECOND + 120_000);
        check(10, -120_000, 10 * SECOND - 120_000);
    }

    #[test]
    fn between_two_looks_at_the_wall_clock_it_neither_jumps_nor_goes_back() {
        for ahead_us in [i64::MAX / 2, i64::MIN / 2, 7, -7, 0] {
            let anchor = Anchor::towards(0, ahead_us);
            let mut last = 0;
            for elapsed_us in (1..3 * SECOND).step_by(997) {
                let now = anchor.after(elapsed_us);
                assert!(
                    now >= last && (now - elapsed_us).abs() <= MAX_SLEW_US,
                    "{ahead_us} {elapsed_us} {now}"
                );
                last = now;
            }
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(second >= first);
    }
}
