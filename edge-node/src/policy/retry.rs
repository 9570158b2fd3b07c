//! When what failed for a reason that passes is tried again.

/// The first pause, in looks or decisions.
pub const FIRST_PAUSE: u32 = 5;
/// The longest one.
const LONGEST_PAUSE: u32 = 640;

/// Pauses that double from failure to failure.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    pause: u32,
    /// Of the pause; 0 when nothing is to be tried again.
    left: u32,
}

impl Retry {
    /// A try has failed; another one is due after a pause.
    pub fn later(&mut self) {
        self.pause = (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.left = self.pause;
    }

    /// Counts down the pause; whether it has just ended.
    pub fn is_due(&mut self) -> bool {
        let before = self.left;
        self.left = before.saturating_sub(1);
        before == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_each_ends_once() {
        let mut retry = Retry::default();
        assert!((0..1_000).all(|_| !retry.is_due()), "nothing has failed");
        for pause in [5, 10, 20, 40, 80, 160, 320, 640, 640] {
            retry.later();
            assert_eq!((1..).find(|_| retry.is_due()), Some(pause));
            assert!((0..1_000).all(|_| !retry.is_due()), "it is over");
        }
    }
}
