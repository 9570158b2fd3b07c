//! Series: which value holds when.

use crate::Series;

impl Series {
    /// The value that holds at `time`; none before the first and after the last.
    ///
    /// ```
    /// let series = wattle_policy::Series { start: 0, step_ms: 1_000, values: vec![7, 9] };
    /// assert_eq!(series.at(1_500_000), Some(9));
    /// assert_eq!(series.at(2_000_000), None);
    /// ```
    pub fn at(&self, time: i64) -> Option<i64> {
        self.values.get(self.index(time)?).copied()
    }

    /// The index of the value that would hold at `time` if the series went on; none before its start, and none
    /// at all if its values hold for no time.
    ///
    /// ```
    /// let series = wattle_policy::Series { start: 0, step_ms: 1_000, values: vec![7] };
    /// assert_eq!((series.index(-1), series.index(0), series.index(5_000_000)), (None, Some(0), Some(5)));
    /// ```
    pub fn index(&self, time: i64) -> Option<usize> {
        let since = time.checked_sub(self.start).filter(|since| *since >= 0)?;
        let step = self.step_ms.checked_mul(1_000).filter(|step| *step > 0)?;
        usize::try_from(since / step).ok()
    }

    /// When the value of an index begins to hold.
    ///
    /// ```
    /// let hourly = wattle_policy::Series { start: 10, step_ms: 3_600_000, values: vec![7, 9] };
    /// assert_eq!(hourly.begins(1), 3_600_000_010);
    /// ```
    pub fn begins(&self, index: usize) -> i64 {
        let steps = i64::try_from(index).unwrap_or(i64::MAX);
        self.start.saturating_add(self.step_ms.saturating_mul(1_000).saturating_mul(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_from_its_beginning_to_that_of_the_next() {
        let series = Series { start: 10_000_000, step_ms: 5_000, values: vec![1, 2] };
        let at = |time| series.at(time);
        assert_eq!(
            [9_999_999, 10_000_000, 14_999_999, 15_000_000, 19_999_999, 20_000_000].map(at),
            [None, Some(1), Some(1), Some(2), Some(2), None]
        );
        assert_eq!(series.begins(1), 15_000_000);
    }

    #[test]
    fn absurd_series_have_no_value() {
        for (start, step_ms) in [(0, 0), (0, -1), (0, i64::MAX), (i64::MIN, 1)] {
            let series = Series { start, step_ms, values: vec![1] };
            assert_eq!(series.at(i64::MAX), None, "{start} {step_ms}");
        }
        assert_eq!(Series { start: 0, step_ms: 1, values: vec![] }.at(0), None);
        assert_eq!(Series { start: 1, step_ms: i64::MAX, values: vec![] }.begins(usize::MAX), i64::MAX);
    }
}
