//! A vehicle for simulations: what hangs on a charger's cable. Not part of any firmware image.
//!
//! It draws, on the charger's phases, the least of its own most, and what it may; below its least it draws
//! nothing. Where it is told how much energy it takes, it never takes more: a moment is found by rounding down.

use wattle_wire::{Milliamps, Millivolts};

/// A vehicle that is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vehicle {
    /// The least that it charges with.
    pub min_ma: Milliamps,
    /// The most that it charges with.
    pub max_ma: Milliamps,
    /// On how many phases, 1 to 3.
    pub phases: u8,
    /// What it still takes, in microjoules; none for as much as there is.
    pub need_uj: Option<u64>,
}

impl Vehicle {
    /// A vehicle of 6 to `max_ma` on one phase that takes as much as there is.
    pub const fn single_phase(max_ma: Milliamps) -> Self {
        Self { min_ma: Milliamps::from_amps(6), max_ma, phases: 1, need_uj: None }
    }

    /// What it draws on each of its phases when it may draw `limit_ma`.
    pub fn draw_ma(&self, limit_ma: Milliamps) -> Milliamps {
        let most = limit_ma.min(self.max_ma);
        if most < self.min_ma || self.need_uj == Some(0) { Milliamps::ZERO } else { most }
    }

    /// The power of that current on all of its phases at `voltage_mv`, in mW.
    pub fn power_mw(&self, current_ma: Milliamps, voltage_mv: Millivolts) -> i64 {
        i64::from(current_ma.0) * i64::from(voltage_mv.0) / 1000 * i64::from(self.phases)
    }

    /// It has drawn `power_mw` for `length_ms`.
    pub fn advance(&mut self, power_mw: i64, length_ms: u64) {
        let drawn = power_mw.max(0).unsigned_abs().saturating_mul(length_ms);
        if let Some(need) = &mut self.need_uj {
            *need = need.saturating_sub(drawn);
        }
    }

    /// For how long it can go on drawing `power_mw` until it is full, rounded down to the millisecond; none for
    /// ever. At 0 it is full.
    pub fn full_in_ms(&self, power_mw: i64) -> Option<u64> {
        let power = u64::try_from(power_mw).ok().filter(|p| *p > 0)?;
        self.need_uj.map(|need| need / power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vehicle_draws_the_least_of_all_limits_and_nothing_below_its_least() {
        let vehicle = Vehicle::single_phase(Milliamps(20_000));
        for (limit, expected) in [(0, 0), (5_999, 0), (6_000, 6_000), (13_000, 13_000), (32_000, 20_000)] {
            assert_eq!(vehicle.draw_ma(Milliamps(limit)), Milliamps(expected), "{limit}");
        }
    }

    #[test]
    fn a_vehicle_takes_no_more_than_it_needs_and_misses_less_than_a_millisecond_of_it() {
        let power = 7_360_001;
        let mut vehicle =
            Vehicle { need_uj: Some(36_000_000_000), ..Vehicle::single_phase(Milliamps(32_000)) };
        let length = vehicle.full_in_ms(power).expect("it has a need");
        vehicle.advance(power, length);
        assert!(vehicle.need_uj.expect("it has a need") < power as u64);
        assert_eq!(vehicle.full_in_ms(power), Some(0));
    }
}
