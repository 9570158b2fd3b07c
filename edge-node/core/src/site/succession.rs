//! Series of one kind that take over from each other: today's, and tomorrow's that is told ahead.
//!
//! What a series says holds until one that was told later begins. From then on the later one alone counts, also where it says
//! nothing. So a new one takes the place of those that begin no earlier, and of all before it once it has begun.
//!
//! Bound: [`MOST`] of a kind; one more takes the place of the one that begins last.

use wattle_wire::policy::Series;
use wattle_wire::{Micros, Millis};

use super::outside::MAX_VALUES;

/// Series of one kind that are kept.
pub(crate) const MOST: usize = 8;

/// Puts a new one behind those that it leaves some time. They stand in the order in which they begin.
pub(crate) fn take_over<T>(line: &mut Vec<T>, new: T, begins: impl Fn(&T) -> Micros, clock: Micros) {
    line.retain(|before| begins(before) < begins(&new));
    line.push(new);
    drop_past(line, begins, clock);
    if line.len() > MOST {
        line.remove(MOST - 1);
    }
}

/// Drops those from which another has taken over.
pub(crate) fn drop_past<T>(line: &mut Vec<T>, begins: impl Fn(&T) -> Micros, clock: Micros) {
    let begun = line.iter().filter(|one| begins(one) <= clock).count();
    line.drain(..begun.saturating_sub(1));
}

/// What they say of a moment.
pub(super) fn at(line: &[Series], moment: Micros) -> Option<i64> {
    line.iter().rev().find(|series| series.start_us <= moment)?.at(moment)
}

/// All that they say as one series. Where that is none, as for a gap between two or for too many values, the one that counts at
/// this moment, or else the next.
pub(super) fn shown(line: &[Series], now: Micros) -> Option<Series> {
    joined(line).or_else(|| {
        let begun = line.iter().rposition(|series| series.start_us <= now);
        let counts = begun.filter(|index| line[*index].at(now).is_some());
        line.get(counts.unwrap_or(begun.map_or(0, |index| index + 1))).or(line.last()).cloned()
    })
}

fn joined(line: &[Series]) -> Option<Series> {
    let [first, others @ ..] = line else { return None };
    let Some(last) = others.last() else { return Some(first.clone()) };
    let steps = line.iter().map(|series| Micros::from(series.step_ms));
    let starts = others.iter().map(|series| series.start_us - first.start_us);
    let step_ms = Millis(steps.chain(starts).fold(0, |step, length| common(step, length.0 / 1_000)));
    let step = Micros::from(step_ms);
    let is_whole = others.iter().all(|series| (series.start_us - first.start_us).0 % step.0.max(1) == 0);
    if step <= Micros::ZERO || !is_whole {
        return None;
    }
    let length = (last.start_us - first.start_us).0 / step.0;
    let length = length.saturating_add((last.step_ms.0 / step_ms.0).saturating_mul(last.values.len() as i64));
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_VALUES)?;
    let moments = (0..length).map(|index| first.start_us + Micros(step.0.saturating_mul(index as i64)));
    let values = moments.map(|moment| at(line, moment)).collect::<Option<Vec<i64>>>()?;
    Some(Series { start_us: first.start_us, step_ms, values })
}

/// The greatest length that both are whole numbers of.
fn common(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { common(b, a.checked_rem(b).unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    /// One that begins so many hours from the first moment, with a step of so many minutes.
    fn series(hours: i64, minutes: i64, values: &[i64]) -> Series {
        let start_us = Micros::from_secs(hours * HOUR);
        Series { start_us, step_ms: Millis(minutes * 60_000), values: values.to_vec() }
    }

    fn line(told: &[Series], clock_hours: i64) -> Vec<Series> {
        let mut line = Vec::new();
        for series in told {
            take_over(
                &mut line,
                series.clone(),
                |series| series.start_us,
                Micros::from_secs(clock_hours * HOUR),
            );
        }
        line
    }

    fn says(line: &[Series], hours: i64) -> Option<i64> {
        at(line, Micros::from_secs(hours * HOUR))
    }

    #[test]
    fn one_holds_until_the_next_begins_and_not_again_after_it() {
        let line = line(&[series(0, 60, &[1; 6]), series(2, 60, &[2])], 0);
        let said: Vec<_> = (0..5).map(|hours| says(&line, hours)).collect();
        assert_eq!(said, [Some(1), Some(1), Some(2), None, None]);
    }

    #[test]
    fn one_that_begins_earlier_than_what_was_told_before_takes_its_place() {
        let told = [series(0, 60, &[1; 9]), series(6, 60, &[2; 9]), series(3, 60, &[3])];
        assert_eq!(line(&told, 0), [told[0].clone(), told[2].clone()]);
        assert_eq!(line(&told, 3), [told[2].clone()], "it has begun");
    }

    #[test]
    fn of_too_many_the_one_that_begins_last_goes_for_a_new_one() {
        let told: Vec<_> = (0..20).map(|hours| series(hours, 60, &[hours])).collect();
        let line = line(&told, 0);
        let firsts: Vec<_> = line.iter().map(|series| series.values[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6, 19]);
    }

    #[test]
    fn they_are_shown_as_one_series_of_the_longest_step_that_fits_all() {
        let told = [series(0, 60, &[1, 2, 3, 4]), series(2, 30, &[5, 6])];
        assert_eq!(shown(&line(&told, 0), Micros::ZERO), Some(series(0, 30, &[1, 1, 2, 2, 5, 6])));
        assert_eq!(shown(&told[..1], Micros::ZERO), Some(told[0].clone()));
        assert_eq!(shown(&[], Micros::ZERO), None);
    }

    #[test]
    fn where_they_make_no_series_the_one_that_counts_is_shown_or_the_next() {
        let gap = [series(0, 60, &[1]), series(2, 60, &[2])];
        let odd = [series(0, 60, &[1; 4]), Series { start_us: Micros(7_200_000_001), ..series(0, 60, &[2]) }];
        let fine = [series(0, 60, &[1; 2_000]), series(1_900, 1, &[2; 2_000])];
        for line in [&gap, &odd, &fine] {
            assert_eq!(shown(line, Micros::ZERO), Some(line[0].clone()));
        }
        assert_eq!(
            shown(&gap, Micros::from_secs(HOUR)),
            Some(gap[1].clone()),
            "of the present nothing is said"
        );
        assert_eq!(shown(&gap, Micros::from_secs(9 * HOUR)), Some(gap[1].clone()), "all is over");
        assert_eq!(shown(&gap, Micros::from_secs(-HOUR)), Some(gap[0].clone()), "nothing has begun");
    }

    #[test]
    fn steps_and_moments_that_nobody_means_make_nothing_trip() {
        for (start, step) in
            [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, 0), (-1, -1), (i64::MIN, i64::MIN)]
        {
            let odd = Series { start_us: Micros(start), step_ms: Millis(step), values: vec![1; 9] };
            for line in [[odd.clone(), series(0, 60, &[1])], [series(0, 60, &[1]), odd.clone()]] {
                let shown = shown(&line, Micros::ZERO);
                assert!(shown.is_some_and(|shown| shown.values.len() <= MAX_VALUES));
            }
        }
    }
}
