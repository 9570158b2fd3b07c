//! What a charger was measured to draw over the last moments, so that a meter's reading can be set against
//! the draw of the same moment.

use std::collections::VecDeque;

use wattle_wire::{Micros, Milliamps, PerPhase};

/// Buckets that are kept; the oldest goes first. A bucket spans half a guard time at most when readings come
/// fast, so that the track reaches back over several guard times whatever their rate.
const MAX_BUCKETS: usize = 24;

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) least: PerPhase<Milliamps>,
    pub(super) most: PerPhase<Milliamps>,
    pub(super) last: PerPhase<Milliamps>,
}

/// Between which bounds a draw was, and whether a reading after the moment confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: PerPhase<Milliamps>,
    pub(super) most: PerPhase<Milliamps>,
    pub(super) is_complete: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Track(pub(super) VecDeque<Bucket>);

impl Track {
    pub(super) fn push(&mut self, draw: PerPhase<Milliamps>, now: Micros, guard: Micros) {
        if let Some(last) = self.0.back_mut()
            && (now - last.from).0 < guard.0 / 2
        {
            last.to = now;
            last.least = last.least.zip(draw, Milliamps::min);
            last.most = last.most.zip(draw, Milliamps::max);
            last.last = draw;
            return;
        }
        if self.0.len() == MAX_BUCKETS {
            self.0.pop_front();
        }
        self.0.push_back(Bucket { from: now, to: now, least: draw, most: draw, last: draw });
    }

    /// The last reading, with its moment.
    pub(super) fn last(&self) -> Option<(PerPhase<Milliamps>, Micros)> {
        self.0.back().map(|bucket| (bucket.last, bucket.to))
    }

    /// The least and the most of the readings since `from`, or of the last one.
    pub(super) fn bounds_since(&self, from: Micros) -> (PerPhase<Milliamps>, PerPhase<Milliamps>) {
        let nothing = PerPhase::all(Milliamps::ZERO);
        let mut latest = self.0.iter().rev();
        let last = latest.next().map_or((nothing, nothing), |bucket| (bucket.least, bucket.most));
        latest.take_while(|bucket| bucket.to >= from).fold(last, |(least, most), bucket| {
            (least.zip(bucket.least, Milliamps::min), most.zip(bucket.most, Milliamps::max))
        })
    }

    /// The bounds from the last reading before `from` to the last one before `until`; none if there is no
    /// reading before `from`.
    pub(super) fn bounds_until(
        &self,
        from: Micros,
        until: Micros,
    ) -> Option<(PerPhase<Milliamps>, PerPhase<Milliamps>)> {
        let mut bounds: Option<(PerPhase<Milliamps>, PerPhase<Milliamps>)> = None;
        for bucket in self.0.iter().rev().filter(|bucket| bucket.from <= until) {
            let (least, most) = bounds.unwrap_or((bucket.least, bucket.most));
            bounds = Some((least.zip(bucket.least, Milliamps::min), most.zip(bucket.most, Milliamps::max)));
            if bucket.from <= from {
                return bounds;
            }
        }
        None
    }

    /// The bounds from the last reading before `from` to the first one after `to`. Before the first reading
    /// the draw may have been nothing.
    pub(super) fn range(&self, from: Micros, to: Micros) -> Range {
        let nothing = PerPhase::all(Milliamps::ZERO);
        let mut range: Option<Range> = None;
        for bucket in self.0.iter().rev() {
            let is_after = bucket.to >= to;
            let joined = match range {
                // Of what came after, only the first counts.
                Some(_) | None if is_after => {
                    Range { least: bucket.least, most: bucket.most, is_complete: true }
                }
                Some(range) => Range {
                    least: range.least.zip(bucket.least, Milliamps::min),
                    most: range.most.zip(bucket.most, Milliamps::max),
                    ..range
                },
                None => Range { least: bucket.least, most: bucket.most, is_complete: false },
            };
            range = Some(joined);
            if bucket.from <= from {
                return joined;
            }
        }
        let known = range.unwrap_or(Range { least: nothing, most: nothing, is_complete: false });
        Range { least: nothing, ..known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Micros = Micros::from_millis(100);

    fn at(ms: i64) -> Micros {
        Micros::from_millis(ms)
    }

    fn track(readings: &[(i64, i32)]) -> Track {
        let mut track = Track::default();
        for (ms, amps) in readings {
            track.push(PerPhase::all(Milliamps::from_amps(*amps)), at(*ms), GUARD);
        }
        track
    }

    fn check(readings: &[(i64, i32)], moment: i64, expected: (i32, i32, bool)) {
        let range = track(readings).range(at(moment) - GUARD, at(moment) + GUARD);
        assert_eq!((range.least.0[0].0 / 1000, range.most.0[0].0 / 1000, range.is_complete), expected);
    }

    #[test]
    fn a_steady_draw_is_known_exactly_once_a_later_reading_confirms_it() {
        check(&[(0, 8), (200, 8), (400, 8)], 250, (8, 8, true));
        check(&[(0, 8), (200, 8)], 250, (8, 8, false));
    }

    #[test]
    fn a_change_about_the_moment_gives_both_values_and_one_well_before_or_after_does_not() {
        check(&[(0, 8), (200, 8), (400, 3), (600, 3)], 290, (3, 8, true));
        check(&[(0, 8), (200, 8), (400, 8), (600, 3)], 290, (8, 8, true));
        check(&[(0, 8), (200, 3), (400, 3), (600, 3)], 350, (3, 3, true));
    }

    #[test]
    fn before_the_first_reading_the_draw_may_have_been_nothing() {
        check(&[], 100, (0, 0, false));
        check(&[(100, 8), (300, 8)], 150, (0, 8, true));
    }

    #[test]
    fn fast_readings_share_a_bucket_and_keep_their_extremes() {
        let readings: Vec<(i64, i32)> = (0..400).map(|i| (i * 2, if i == 200 { 20 } else { 8 })).collect();
        check(&readings, 400, (8, 20, true));
        check(&readings, 650, (8, 8, true));
    }
}
