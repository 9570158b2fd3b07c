//! How long to wait before the next try to connect: longer each time, and longer still where another client may be taking the
//! session away.

use std::time::{Duration, Instant};

pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A connection that has lasted this long was no short one.
const STEADY: Duration = Duration::from_secs(10);
/// So many short connections in a row are no chance.
const MANY_SHORT: u32 = 3;
/// The longest wait after them. Some of it is left to chance, so that two don't stay in step.
const LONGEST_DISPUTE: Duration = Duration::from_secs(60);

/// How long to wait before the next try.
#[derive(Debug)]
pub(super) struct Waits {
    may_be_shared: bool,
    next: Duration,
    connected_at: Option<Instant>,
    /// Short connections in a row.
    pub(super) short: u32,
}

impl Waits {
    pub(super) fn new(may_be_shared: bool) -> Self {
        Self { may_be_shared, next: FIRST_WAIT, connected_at: None, short: 0 }
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        if !self.may_be_shared {
            self.next = FIRST_WAIT;
        }
    }

    /// A connection or a try has ended; `chance` is from 0 to below 1.
    pub(super) fn ended(&mut self, now: Instant, chance: f64) -> Duration {
        match self.connected_at.take().map(|at| now.duration_since(at)) {
            Some(lasted) if lasted < STEADY => self.short += 1,
            Some(_) => (self.short, self.next) = (0, FIRST_WAIT),
            None => {}
        }
        let wait = self.next;
        let longest = if self.is_disputed() { LONGEST_DISPUTE } else { LONGEST_WAIT };
        self.next = (wait * 2).min(longest);
        if self.is_disputed() { wait.mul_f64(0.5 + chance / 2.0) } else { wait }
    }

    /// Whether the connection that is up, if one is, may be taken away again.
    pub(super) fn is_disputed(&self) -> bool {
        self.may_be_shared && self.short >= MANY_SHORT
    }

    /// Whether a dispute is over: the connection has lasted.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.connected_at.is_some_and(|at| now.duration_since(at) >= STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(1);

    /// The waits in ms after so many connections that last so long each, with tries that fail in between.
    fn waits(waits: &mut Waits, lasts: Duration, times: u32) -> Vec<u128> {
        let mut now = Instant::now();
        let wait = |_| {
            waits.connected(now);
            now += lasts;
            waits.ended(now, 0.99).as_millis()
        };
        (0..times).map(wait).collect()
    }

    #[test]
    fn whoever_is_thrown_out_again_and_again_comes_back_less_and_less_often() {
        let mut shared = Waits::new(true);
        assert_eq!(waits(&mut shared, LIFE, 2), [100, 200]);
        assert!(!shared.is_disputed());
        let later = waits(&mut shared, LIFE, 12);
        assert!(shared.is_disputed() && later.is_sorted());
        assert!((55_000..=60_000).contains(&later[11]), "{later:?}");
        assert_eq!(waits(&mut shared, STEADY, 1), [100], "a connection that has lasted is a new beginning");
        assert!(!shared.is_disputed());
    }

    #[test]
    fn a_broker_that_restarts_often_is_soon_found_again_when_the_session_is_the_edges_alone() {
        assert_eq!(waits(&mut Waits::new(false), LIFE, 5), [100; 5]);
    }

    #[test]
    fn tries_that_fail_wait_up_to_five_seconds_and_are_no_dispute() {
        let mut all = Waits::new(true);
        let waits: Vec<_> = (0..8).map(|_| all.ended(Instant::now(), 0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(!all.is_disputed());
    }
}
