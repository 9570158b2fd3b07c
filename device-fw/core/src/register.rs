//! The energy register: all that was ever drawn, exact to the millijoule.
//!
//! Power in mW times milliseconds is microjoules, a whole number; 3,600,000,000 of them are a watt-hour. Only
//! what is drawn counts: what is fed back doesn't turn the register.
//!
//! # What messages show
//! The whole watt-hours of the *stored* register. It is stored each time it has grown by a step, and exactly at
//! every step of a session and at a stop, always before the message that shows it. So after any restart, the
//! kill of a process and a cut of the power among them, the register is not below anything that was ever shown, and
//! energy that was counted before the restart is not counted again. What a cut may lose is what was drawn since
//! the last store: less than one step, never shown, never billed.

use wattle_wire::WattHours;

const MICROJOULES_PER_WATT_HOUR: u128 = 3_600_000_000;

/// The register with its remainder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Energy {
    /// Whole watt-hours.
    pub wh: WattHours,
    /// What is beyond them, in microjoules; below 3,600,000,000.
    pub rest_uj: u64,
}

impl Energy {
    /// Adds `power_mw` over `length_ms`; a negative power adds nothing.
    pub fn add(&mut self, power_mw: i64, length_ms: u64) {
        let drawn = u128::from(power_mw.max(0).unsigned_abs()) * u128::from(length_ms);
        let total = drawn + u128::from(self.rest_uj);
        let wh = i64::try_from(total / MICROJOULES_PER_WATT_HOUR).unwrap_or(i64::MAX);
        self.wh += WattHours(wh);
        self.rest_uj = (total % MICROJOULES_PER_WATT_HOUR) as u64;
    }
}

/// The register of a running device.
#[derive(Debug, Clone)]
pub struct Register {
    live: Energy,
    shown: WattHours,
    step: WattHours,
    power_mw: i64,
    since_ms: u64,
}

impl Register {
    /// Goes on from what was stored; `step` below 1 Wh counts as 1 Wh.
    pub fn new(stored: Energy, step: WattHours, now_ms: u64) -> Self {
        Self { live: stored, shown: stored.wh, step: step.max(WattHours(1)), power_mw: 0, since_ms: now_ms }
    }

    /// Counts the power of the last measurement up to now.
    pub fn count(&mut self, now_ms: u64) {
        self.live.add(self.power_mw, now_ms.saturating_sub(self.since_ms));
        self.since_ms = self.since_ms.max(now_ms);
    }

    /// From now on this power is drawn. [`Register::count`] comes first.
    pub fn set_power(&mut self, power_mw: i64) {
        self.power_mw = power_mw;
    }

    /// Whether it has grown by a step since it was last stored.
    pub fn store_due(&self) -> bool {
        self.live.wh - self.shown >= self.step
    }

    /// What has to be stored now, and from then on is shown.
    pub fn store(&mut self) -> Energy {
        self.shown = self.live.wh;
        self.live
    }

    /// What messages show.
    pub fn shown(&self) -> WattHours {
        self.shown
    }

    /// All that was counted, to the last digit.
    pub fn live(&self) -> Energy {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_at_a_kilowatt_is_a_kilowatt_hour_however_it_is_cut() {
        for slice_ms in [1_u64, 7, 1000, 3_600_000] {
            let mut energy = Energy::default();
            let mut left = 3_600_000_u64;
            while left > 0 {
                let length = slice_ms.min(left);
                energy.add(1_000_000, length);
                left -= length;
            }
            assert_eq!(energy, Energy { wh: WattHours(1000), rest_uj: 0 }, "in slices of {slice_ms} ms");
        }
    }

    #[test]
    fn what_is_fed_back_does_not_turn_the_register() {
        let mut energy = Energy { wh: WattHours(5), rest_uj: 1 };
        energy.add(-7_000_000, 3_600_000);
        assert_eq!(energy, Energy { wh: WattHours(5), rest_uj: 1 });
    }

    #[test]
    fn absurd_power_and_time_stop_at_the_end_of_the_range() {
        let mut energy = Energy::default();
        energy.add(i64::MAX, u64::MAX);
        assert_eq!(energy.wh, WattHours::MAX);
    }

    #[test]
    fn nothing_is_shown_before_it_was_stored() {
        let mut register = Register::new(Energy::default(), WattHours(10), 0);
        register.set_power(3_600_000);
        register.count(9_999);
        assert!(!register.store_due());
        assert_eq!(register.shown(), WattHours(0));
        register.count(10_000);
        assert!(register.store_due());
        assert_eq!(register.shown(), WattHours(0));
        assert_eq!(register.store().wh, WattHours(10));
        assert_eq!(register.shown(), WattHours(10));
    }

    #[test]
    fn a_clock_that_runs_back_counts_nothing_twice() {
        let mut register = Register::new(Energy::default(), WattHours(1), 0);
        register.set_power(3_600_000);
        register.count(5_000);
        register.count(1_000);
        register.count(5_000);
        assert_eq!(register.live().wh, WattHours(5));
    }
}
