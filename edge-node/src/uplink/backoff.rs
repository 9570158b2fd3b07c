//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each cut by a random part of up to a half, so that the edges of a
/// region don't all come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait; `random` is between 0 and 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// Something has worked: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let waits: Vec<_> = (0..8).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST);
    }

    #[test]
    fn chance_cuts_a_wait_by_at_most_a_half() {
        for random in [-1.0, 0.0, 0.5, 1.0, 2.0] {
            let wait = Backoff::new(FIRST, LONGEST).next(random);
            assert!((FIRST / 2..=FIRST).contains(&wait), "{wait:?}");
        }
    }
}
