//! How time passes for a machine, whatever becomes of the clock that it is given.
//!
//! The clock should never go back and should pass as time does in the chargers. Should it jump all the same, then
//! what was heard grows old by every step forward, and what was told by none that is longer than [`Passing::longest`]:
//! after a jump meters are stale, and reservations last as long as the setpoints do. A step back counts for nothing: behind
//! one that is longer the clock goes on from where it was set to, and behind a shorter one time stands still until the clock is
//! where it was. So what is told with the times at which it came, after a decision at a later time, makes no time pass twice.

use wattle_wire::Micros;

#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    /// The clock as it was given last, without short steps back.
    pub(super) clock: Micros,
    pub(super) now: Micros,
    pub(super) sure: Micros,
    pub(super) longest: Micros,
}

impl Passing {
    /// Steps up to two intervals are believed to be time that has passed.
    pub(super) fn new(clock: Micros, interval: Micros) -> Self {
        let longest = Micros(interval.0.saturating_mul(2));
        Self { clock, now: clock, sure: clock, longest }
    }

    /// The clock stands at `clock`; gives the moment by which all but reservations grow old.
    pub(super) fn pass(&mut self, clock: Micros) -> Micros {
        if clock < self.clock && !self.is_set_back(clock) {
            return self.now;
        }
        let step = (clock - self.clock).max(Micros::ZERO);
        self.clock = clock;
        self.now += step;
        if step <= self.longest {
            self.sure += step;
        }
        self.now
    }

    /// Whether the clock is behind where it was by more than an input may be late.
    pub(super) fn is_set_back(&self, clock: Micros) -> bool {
        self.clock - clock > self.longest
    }

    /// The clock as it was given last, without short steps back.
    pub(super) fn clock(&self) -> Micros {
        self.clock
    }

    /// The moment by which reservations end.
    pub(super) fn sure(&self) -> Micros {
        self.sure
    }

    /// The moment by which a setpoint of this validity that begins now surely binds nobody any more. The clock may go a
    /// sixteenth faster than the charger's (it is slewed by a twentieth), and one step that was believed may have been a jump.
    pub(super) fn binds_until(&self, validity: Micros) -> Micros {
        self.sure + validity + Micros(validity.0 / 16) + self.longest
    }

    /// What the clock will show at a moment of this machine.
    pub(super) fn clock_at(&self, moment: Micros) -> Micros {
        self.clock + (moment - self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ages_what_was_heard_and_not_what_was_told() {
        let at = Micros::from_secs;
        let mut passing = Passing::new(at(100), at(1));
        assert_eq!(passing.pass(at(102)), at(102));
        assert_eq!((passing.pass(at(3_702)), passing.sure()), (at(3_702), at(102)));
        assert_eq!((passing.pass(at(50)), passing.sure()), (at(3_702), at(102)));
        assert_eq!((passing.pass(at(51)), passing.sure()), (at(3_703), at(103)));
        assert_eq!((passing.clock(), passing.clock_at(at(3_704))), (at(51), at(52)));
    }

    #[test]
    fn a_step_back_that_is_made_good_again_and_again_makes_no_time_pass() {
        let at = Micros::from_millis;
        let mut passing = Passing::new(at(1_000), at(1_000));
        for step in 0..100 {
            assert_eq!(passing.pass(at(1_000 + step)), at(1_000 + step));
            assert_eq!(passing.pass(at(1_000)), at(1_000 + step));
        }
        assert_eq!((passing.clock(), passing.sure()), (at(1_099), at(1_099)));
    }
}
