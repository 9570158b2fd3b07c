//! What a device did in each minute.
//!
//! - A reading belongs to the minute that its moment falls in; minutes begin at full minutes UTC.
//! - Energy is the difference of two successive registers and belongs to the minute of the later one. A fall of
//!   the register is a reset: no energy, counted in `resets`. So is a rise that no supply could have made
//!   ([`MAX_POWER`] all the time, and 1 kWh): a register that was set.
//! - `covered_ms` is how much of the minute lies between successive readings that are at most [`MAX_SPAN`] apart;
//!   60,000 is a minute without a gap.
//! - A minute without a reading has no row. The energy over a gap stands in the minute that ends it, whose
//!   `energy_span_ms` says over how long it was drawn.

use wattle_wire::{Micros, WattHours, Watts};

use crate::MINUTE;
use crate::clean::MAX_POWER;

/// The furthest that two readings may be apart for the time between them to count as covered: 150 s, so that a
/// device that reports once a minute may miss one.
pub const MAX_SPAN: Micros = Micros::from_secs(150);

/// What of a good reading counts for intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Its moment.
    pub at: Micros,
    /// Active power.
    pub power: Option<Watts>,
    /// Energy register.
    pub register: Option<WattHours>,
}

/// One device in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Where the minute begins.
    pub start: Micros,
    /// How many good readings it has.
    pub readings: i64,
    /// Energy by register; none when the device has no register here or nothing to compare it with.
    pub energy: Option<WattHours>,
    /// Over how long that energy was drawn, ms.
    pub energy_span_ms: i64,
    /// Mean of the readings' power, rounded to the nearest watt.
    pub power_mean: Option<Watts>,
    /// Lowest power.
    pub power_min: Option<Watts>,
    /// Highest power.
    pub power_max: Option<Watts>,
    /// How much of the minute was observed, ms.
    pub covered_ms: i64,
    /// How often the register fell or leapt.
    pub resets: i64,
}

/// The minute that a moment falls in.
pub fn minute_of(at: Micros) -> Micros {
    Micros(at.0 - at.0.rem_euclid(MINUTE.0))
}

/// The intervals of one device, in order, from its good readings in order of time.
///
/// `complete` says that `samples` begins with the device's first reading ever. Otherwise the minute of the first
/// sample can't be known, and is left out.
pub fn intervals(samples: &[Sample], complete: bool) -> Vec<Interval> {
    let mut found: Vec<Interval> = Vec::new();
    let mut register: Option<(Micros, WattHours)> = None;
    for (index, sample) in samples.iter().enumerate() {
        let start = minute_of(sample.at);
        let minute_is_new = found.last().is_none_or(|last| last.start != start);
        if let Some(previous) = index.checked_sub(1).and_then(|i| samples.get(i)) {
            let observed = (sample.at - previous.at <= MAX_SPAN).then_some((previous.at, sample.at));
            if let (Some(span), Some(last)) = (observed, found.last_mut()) {
                last.covered_ms += overlap_ms(last.start, span);
            }
            if minute_is_new {
                found.push(Builder::open(start));
                if let (Some(span), Some(last)) = (observed, found.last_mut()) {
                    last.covered_ms += overlap_ms(start, span);
                }
            }
        } else {
            found.push(Builder::open(start));
        }
        let Some(current) = found.last_mut() else { continue };
        Builder::add_power(current, sample.power);
        if let Some(value) = sample.register {
            Builder::add_energy(current, register, (sample.at, value));
            register = Some((sample.at, value));
        }
    }
    finish(found, samples, complete)
}

/// Whether `samples` reach far enough back to compute, without being complete, every interval that a first new
/// reading at `new` can change: that of the reading before it, and for that one a register of an earlier minute.
pub fn reaches_back(samples: &[Sample], new: Micros) -> bool {
    let Some(before) = samples.iter().rev().find(|sample| sample.at < new) else { return false };
    let minute = minute_of(before.at);
    let has_register = samples.iter().any(|sample| sample.register.is_some());
    let earlier = |sample: &&Sample| minute_of(sample.at) < minute;
    samples.iter().filter(earlier).any(|sample| sample.register.is_some() || !has_register)
}

/// Means are sums until all readings of a minute are in; the incomplete first minute goes.
fn finish(mut found: Vec<Interval>, samples: &[Sample], complete: bool) -> Vec<Interval> {
    let mut samples = samples.iter().peekable();
    for interval in &mut found {
        let (mut sum, mut count) = (0_i64, 0_i64);
        while let Some(sample) = samples.next_if(|sample| minute_of(sample.at) == interval.start) {
            sum += sample.power.map_or(0, |power| i64::from(power.0));
            count += i64::from(sample.power.is_some());
        }
        interval.power_mean = (count > 0).then(|| Watts(rounded(sum, count)));
    }
    if !complete && !found.is_empty() {
        found.remove(0);
    }
    found
}

fn rounded(sum: i64, count: i64) -> i32 {
    let twice = 2 * sum + if sum >= 0 { count } else { -count };
    i32::try_from(twice / (2 * count)).unwrap_or(i32::MAX)
}

fn overlap_ms(start: Micros, (from, to): (Micros, Micros)) -> i64 {
    let overlap = to.min(start + MINUTE) - from.max(start);
    overlap.0.max(0) / 1000
}

/// An interval while its readings come in.
struct Builder;

impl Builder {
    fn open(start: Micros) -> Interval {
        Interval {
            start,
            readings: 0,
            energy: None,
            energy_span_ms: 0,
            power_mean: None,
            power_min: None,
            power_max: None,
            covered_ms: 0,
            resets: 0,
        }
    }

    fn add_power(interval: &mut Interval, power: Option<Watts>) {
        interval.readings += 1;
        if let Some(power) = power {
            interval.power_min = Some(interval.power_min.map_or(power, |least| least.min(power)));
            interval.power_max = Some(interval.power_max.map_or(power, |most| most.max(power)));
        }
    }

    fn add_energy(interval: &mut Interval, before: Option<(Micros, WattHours)>, now: (Micros, WattHours)) {
        let Some(before) = before else { return };
        match drawn(before, now) {
            Some(energy) => {
                interval.energy = Some(interval.energy.unwrap_or_default() + energy);
                interval.energy_span_ms += (now.0 - before.0).0 / 1000;
            }
            None => interval.resets += 1,
        }
    }
}

/// The energy between two registers of one device, or nothing when the register was reset or set between them.
pub fn drawn(before: (Micros, WattHours), now: (Micros, WattHours)) -> Option<WattHours> {
    let energy = now.1 - before.1;
    let seconds = (now.0 - before.0).0.max(0) / 1_000_000;
    let most = i128::from(seconds) * i128::from(MAX_POWER.0) / 3600 + 1000;
    (energy.0 >= 0 && i128::from(energy.0) <= most).then_some(energy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_040;

    fn sample(second: i64, power: i32, register: i64) -> Sample {
        Sample {
            at: Micros::from_secs(START + second),
            power: Some(Watts(power)),
            register: Some(WattHours(register)),
        }
    }

    fn energies(samples: &[Sample]) -> Vec<(i64, Option<i64>, i64)> {
        intervals(samples, true)
            .iter()
            .map(|i| (i.start.0 / 1_000_000 - START, i.energy.map(|e| e.0), i.resets))
            .collect()
    }

    #[test]
    fn a_minute_begins_at_a_full_minute_even_before_1970() {
        assert_eq!(minute_of(Micros::from_secs(START + 59)), Micros::from_secs(START));
        assert_eq!(minute_of(Micros(-1)), Micros::from_secs(-60));
    }

    #[test]
    fn energy_belongs_to_the_minute_of_the_later_register() {
        let samples = [sample(10, 1000, 100), sample(50, 3000, 130), sample(70, 0, 150), sample(250, 0, 160)];
        assert_eq!(energies(&samples), [(0, Some(30), 0), (60, Some(20), 0), (240, Some(10), 0)]);
        let all = intervals(&samples, true);
        assert_eq!(all[0].power_mean, Some(Watts(2000)));
        assert_eq!((all[0].power_min, all[0].power_max), (Some(Watts(1000)), Some(Watts(3000))));
        assert_eq!(all[2].energy_span_ms, 180_000);
    }

    #[test]
    fn the_sum_of_all_energies_is_the_difference_of_the_first_and_the_last_register() {
        let samples: Vec<_> = (0..500).map(|i| sample(i * 7, 5000, 1000 + i * 9)).collect();
        let sum: i64 = intervals(&samples, true).iter().filter_map(|i| i.energy).map(|e| e.0).sum();
        assert_eq!(sum, 499 * 9);
    }

    #[test]
    fn a_register_that_falls_or_leaps_is_a_reset_and_no_energy() {
        assert_eq!(energies(&[sample(0, 0, 5000), sample(30, 0, 3), sample(40, 0, 10)]), [(0, Some(7), 1)]);
        assert_eq!(energies(&[sample(0, 0, 5000), sample(30, 0, i64::MAX)]), [(0, None, 1)]);
    }

    #[test]
    fn a_reading_without_a_register_does_not_break_the_chain() {
        let mut between = sample(20, 100, 0);
        between.register = None;
        assert_eq!(energies(&[sample(0, 0, 10), between, sample(40, 0, 15)]), [(0, Some(5), 0)]);
    }

    #[test]
    fn a_minute_is_covered_as_far_as_readings_stand_close() {
        let every_second: Vec<_> = (0..=120).map(|s| sample(s, 0, 0)).collect();
        let covered: Vec<_> = intervals(&every_second, true).iter().map(|i| i.covered_ms).collect();
        assert_eq!(covered, [60_000, 60_000, 0]);
        let once_a_minute = [sample(30, 0, 0), sample(90, 0, 0), sample(150, 0, 0)];
        let covered: Vec<_> = intervals(&once_a_minute, true).iter().map(|i| i.covered_ms).collect();
        assert_eq!(covered, [30_000, 60_000, 30_000]);
        let a_gap = [sample(30, 0, 0), sample(330, 0, 0)];
        assert!(intervals(&a_gap, true).iter().all(|i| i.covered_ms == 0));
    }

    #[test]
    fn a_minute_whose_beginning_is_not_known_is_left_out() {
        let samples = [sample(10, 0, 5), sample(20, 0, 6), sample(65, 0, 7)];
        let later = intervals(&samples, false);
        assert_eq!(later, intervals(&samples, true)[1..]);
        assert!(intervals(&[], false).is_empty());
    }

    #[test]
    fn a_tail_that_reaches_back_gives_the_same_intervals_as_the_whole() {
        let samples: Vec<_> = (0..60).map(|i| sample(i * 17, 100 + i as i32, i * 3)).collect();
        let whole = intervals(&samples, true);
        for first_new in 1..samples.len() {
            let new = samples[first_new].at;
            let affected_from = minute_of(samples[first_new - 1].at);
            for from in 0..=first_new {
                let tail = &samples[from..];
                if !reaches_back(tail, new) {
                    continue;
                }
                let ours: Vec<_> =
                    intervals(tail, false).into_iter().filter(|i| i.start >= affected_from).collect();
                let all: Vec<_> = whole.iter().filter(|i| i.start >= affected_from).copied().collect();
                assert_eq!(ours, all);
            }
        }
        assert!(reaches_back(&samples, samples[40].at));
        assert!(!reaches_back(&samples[39..], samples[40].at));
        assert!(!reaches_back(&[], Micros(0)));
    }

    #[test]
    fn a_mean_is_rounded_to_the_nearest_watt_on_both_sides_of_zero() {
        assert_eq!([rounded(3, 2), rounded(-3, 2), rounded(1, 3), rounded(-1, 3)], [2, -2, 0, 0]);
    }
}
