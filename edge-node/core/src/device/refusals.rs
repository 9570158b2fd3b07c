//! How many refusals of one device are journaled.
//!
//! At most [`PER_MINUTE`] in each minute by the clock, so that a broken device can't fill the disk; what is
//! beyond that is counted, and the next event that is journaled says how many there were. It is not
//! acknowledged either, so a numbered message comes again and finds room in a later minute.

use wattle_wire::Micros;

/// Refusals that are journaled per device and minute.
pub const PER_MINUTE: u32 = 10;

const MINUTE_US: i64 = 60_000_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    minute: i64,
    spent: u32,
    suppressed: u64,
}

impl Refusals {
    /// Whether one more is journaled now: then how many were not since the last one.
    pub(super) fn admit(&mut self, now: Micros) -> Option<u64> {
        let minute = now.0.div_euclid(MINUTE_US);
        if minute != self.minute {
            (self.minute, self.spent) = (minute, 0);
        }
        if self.spent == PER_MINUTE {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed
    }
}
