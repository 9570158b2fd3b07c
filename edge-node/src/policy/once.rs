//! What goes on and on is said once in a while.

use wattle_wire::Micros;

/// The shortest time between two notes of the same kind of failure.
const BETWEEN_FAILURES: Micros = Micros::from_secs(60);

/// Whether the last time is long enough ago, or the clock was set back; then it is now.
pub fn is_time(last: &mut Option<Micros>, now: Micros) -> bool {
    let is_recent = last.is_some_and(|last| last <= now && now - last < BETWEEN_FAILURES);
    if !is_recent {
        *last = Some(now);
    }
    !is_recent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_noted_once_a_minute_and_again_when_the_clock_was_set_back() {
        let mut last = None;
        let mut check = |seconds, expected| {
            assert_eq!(is_time(&mut last, Micros::from_secs(seconds)), expected, "{seconds}");
        };
        for (seconds, expected) in
            [(100, true), (100, false), (159, false), (160, true), (219, false), (50, true)]
        {
            check(seconds, expected);
        }
    }
}
