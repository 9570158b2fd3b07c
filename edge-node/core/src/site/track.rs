//! What a charger was measured to draw over the last moments, so that a meter's reading can be set against
//! the draw of the same moment.

use std::collections::VecDeque;

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

/// Buckets that are kept; the oldest goes first. A bucket spans a length that is given when readings come fast, so that the track
/// reaches back so many lengths whatever their rate.
pub(super) const MAX_BUCKETS: usize = 24;

/// So many readings tell how often they come.
const READINGS_OF_A_PACE: usize = 4;

/// The least of a bucket on a phase of which a reading said nothing: below all that can be measured, so that it is the
/// least of whatever it is joined with.
const NOT_MEASURED: Milliamps = Milliamps(-1);

/// What a reading says of a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drawn {
    /// Phase by phase; none where it was not measured.
    pub(super) measured: PerPhase<Option<Milliamps>>,
    /// What it may have been at most where it was not measured.
    pub(super) at_most: PerPhase<Milliamps>,
}

/// Whether a bound from a track is of readings that measured something.
pub(super) fn is_measured(least: Milliamps) -> bool {
    least > NOT_MEASURED
}

/// Readings of a short time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) from: Micros,
    /// Less than the length of a bucket after `from`.
    pub(super) to: Micros,
    pub(super) least: PerPhase<Milliamps>,
    pub(super) most: PerPhase<Milliamps>,
}

/// Between which bounds a draw was, and whether a reading after the moment confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: PerPhase<Milliamps>,
    pub(super) most: PerPhase<Milliamps>,
    pub(super) is_complete: bool,
}

/// The numbers of a bucket before those of its phases.
const HEAD: usize = 3;

/// The buckets of a charger. There are as many as chargers times [`MAX_BUCKETS`], so they are kept short: only
/// the phases that were ever drawn on stand in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// Bucket after bucket: two numbers of its beginning, its length in microseconds, then of each phase of `phases` the
    /// least and the most.
    numbers: VecDeque<i32>,
    /// A bit for each phase that was drawn on; L1 is the lowest.
    phases: u8,
    /// The last reading; nothing where it was not measured.
    last: PerPhase<Milliamps>,
}

impl Track {
    /// One of these buckets, the oldest first, and of this last reading.
    pub(super) fn new(
        buckets: impl ExactSizeIterator<Item = Bucket> + Clone,
        last: PerPhase<Milliamps>,
    ) -> Self {
        let mut track = Self { last, ..Self::default() };
        for bucket in buckets.clone() {
            track.widen(bucket.least);
            track.widen(bucket.most);
        }
        let spare = buckets.len().saturating_sub(MAX_BUCKETS);
        buckets.skip(spare).for_each(|bucket| track.append(&bucket));
        track
    }

    /// Takes a reading of the whole draw.
    #[cfg(test)]
    pub(super) fn push(&mut self, draw: PerPhase<Milliamps>, now: Micros, length: Micros) {
        let drawn = Drawn { measured: draw.map(Some), at_most: PerPhase::all(Milliamps::ZERO) };
        self.take(drawn, now, length);
    }

    /// Takes a reading; a bucket is shorter than `length`.
    pub(super) fn take(&mut self, drawn: Drawn, now: Micros, length: Micros) {
        let least = drawn.measured.map(|measured| measured.unwrap_or(NOT_MEASURED));
        let most = drawn.measured.zip(drawn.at_most, Option::unwrap_or);
        self.widen(least);
        self.widen(most);
        self.last = drawn.measured.map(Option::unwrap_or_default);
        let last = self.buckets().next_back();
        if let Some(last) = last
            && now - last.from < length
        {
            let (least, most) = (last.least.zip(least, Milliamps::min), last.most.zip(most, Milliamps::max));
            self.numbers.truncate(self.numbers.len() - self.size());
            self.append(&Bucket { to: now, least, most, ..last });
            return;
        }
        if self.buckets().len() == MAX_BUCKETS {
            self.numbers.drain(..self.size());
        }
        self.append(&Bucket { from: now, to: now, least, most });
    }

    /// The last reading, with its moment.
    pub(super) fn last(&self) -> Option<(PerPhase<Milliamps>, Micros)> {
        self.buckets().next_back().map(|bucket| (self.last, bucket.to))
    }

    /// Whether something was measured on one of these phases at this moment or since.
    pub(super) fn measures(&self, phases: &[Phase], since: Micros) -> bool {
        let last = self.buckets().next_back().filter(|bucket| bucket.to >= since);
        last.is_some_and(|last| phases.iter().any(|phase| is_measured(last.least[*phase])))
    }

    /// The shortest time between two of the last few readings, if there are that many.
    pub(super) fn shortest_pause(&self) -> Option<Micros> {
        let last: Vec<Bucket> = self.buckets().rev().take(READINGS_OF_A_PACE).collect();
        let pauses = last.windows(2).map(|pair| pair[0].from - pair[1].to);
        pauses.min().filter(|_| last.len() == READINGS_OF_A_PACE)
    }

    /// When the oldest reading was that is kept.
    pub(super) fn first(&self) -> Option<Micros> {
        self.buckets().next().map(|bucket| bucket.from)
    }

    /// The buckets, the oldest first.
    pub(super) fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + ExactSizeIterator {
        (0..self.numbers.len() / self.size()).map(|index| self.bucket(index))
    }

    /// How many numbers a bucket has.
    fn size(&self) -> usize {
        HEAD + 2 * self.phases.count_ones() as usize
    }

    fn bucket(&self, index: usize) -> Bucket {
        let at = index * self.size();
        let number = |offset: usize| self.numbers[at + offset];
        let from = Micros(i64::from(number(0)) << 32 | i64::from(number(1) as u32));
        let (mut least, mut most) = (PerPhase::all(Milliamps::ZERO), PerPhase::all(Milliamps::ZERO));
        for (place, phase) in loaded(self.phases).enumerate() {
            least[phase] = Milliamps(number(HEAD + 2 * place));
            most[phase] = Milliamps(number(HEAD + 2 * place + 1));
        }
        Bucket { from, to: Micros(from.0.wrapping_add(number(2).into())), least, most }
    }

    fn append(&mut self, bucket: &Bucket) {
        let from = bucket.from.0;
        let length = i32::try_from(bucket.to.0.wrapping_sub(from)).unwrap_or(i32::MAX);
        self.numbers.extend([(from >> 32) as i32, from as i32, length]);
        for phase in loaded(self.phases) {
            self.numbers.extend([bucket.least[phase].0, bucket.most[phase].0]);
        }
    }

    /// Makes room for the phases of a draw.
    fn widen(&mut self, draw: PerPhase<Milliamps>) {
        let drawn = Phase::ALL.iter().filter(|phase| draw[**phase] != Milliamps::ZERO);
        let phases = drawn.fold(self.phases, |phases, phase| phases | 1 << phase.index());
        if phases != self.phases {
            let buckets: Vec<Bucket> = self.buckets().collect();
            (self.phases, self.numbers) = (phases, VecDeque::new());
            buckets.iter().for_each(|bucket| self.append(bucket));
        }
    }

    /// The least and the most of the readings since `from`, or of the last one.
    pub(super) fn bounds_since(&self, from: Micros) -> (PerPhase<Milliamps>, PerPhase<Milliamps>) {
        let nothing = PerPhase::all(Milliamps::ZERO);
        let mut latest = self.buckets().rev();
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
        for bucket in self.buckets().rev().filter(|bucket| bucket.from <= until) {
            let (least, most) = bounds.unwrap_or((bucket.least, bucket.most));
            bounds = Some((least.zip(bucket.least, Milliamps::min), most.zip(bucket.most, Milliamps::max)));
            if bucket.from <= from {
                return bounds;
            }
        }
        None
    }

    /// The bounds from the last reading before `from` to the first one after `to`. Before the first reading
    /// the draw may have been nothing; before the oldest that is kept it is taken to have been as in that.
    pub(super) fn range(&self, from: Micros, to: Micros) -> Range {
        let nothing = PerPhase::all(Milliamps::ZERO);
        let mut range: Option<Range> = None;
        for bucket in self.buckets().rev() {
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
        if self.buckets().len() == MAX_BUCKETS { known } else { Range { least: nothing, ..known } }
    }
}

/// The phases of these bits.
fn loaded(phases: u8) -> impl Iterator<Item = Phase> {
    Phase::ALL.into_iter().filter(move |phase| phases & (1 << phase.index()) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Micros = Micros::from_millis(100);
    const LENGTH: Micros = Micros::from_millis(50);

    fn at(ms: i64) -> Micros {
        Micros::from_millis(ms)
    }

    fn track(readings: &[(i64, i32)]) -> Track {
        let mut track = Track::default();
        for (ms, amps) in readings {
            track.push(PerPhase::all(Milliamps::from_amps(*amps)), at(*ms), LENGTH);
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

    #[test]
    fn buckets_are_kept_as_they_are_when_another_phase_is_drawn_on_and_in_any_year() {
        let mut track = Track::default();
        let on = |l1: i32, l2: i32, l3: i32| PerPhase([l1, l2, l3].map(Milliamps));
        let moments = [-1, 0, 5_000_000_000, 1_790_000_000_000_000, i64::MAX / 2];
        let draws = [on(0, 0, 0), on(0, 7, 0), on(0, 8, 0), on(9, 0, 1_000_000), on(1, 2, 3)];
        for (moment, draw) in moments.iter().zip(draws) {
            track.push(draw, Micros(*moment), LENGTH);
        }
        let bucket = |(from, draw): (&i64, PerPhase<Milliamps>)| Bucket {
            from: Micros(*from),
            to: Micros(*from),
            least: draw,
            most: draw,
        };
        let expected: Vec<Bucket> = moments.iter().zip(draws).map(bucket).collect();
        // The first two are closer than a bucket is long.
        let first = Bucket { from: Micros(-1), to: Micros(0), least: on(0, 0, 0), most: on(0, 7, 0) };
        let found: Vec<Bucket> = track.buckets().collect();
        assert_eq!((found[0], &found[1..]), (first, &expected[2..]));
        assert_eq!(track.last(), Some((on(1, 2, 3), Micros(i64::MAX / 2))));
    }

    #[test]
    fn a_track_that_is_made_of_buckets_goes_on_like_the_one_that_had_them_and_takes_no_more_than_the_bound() {
        let mut first = track(&(0..40).map(|i| (i * 70, i as i32 % 3)).collect::<Vec<_>>());
        let buckets: Vec<Bucket> = first.buckets().collect();
        let (last, _) = first.last().expect("pushed");
        let mut again = Track::new(buckets.iter().copied(), last);
        first.push(PerPhase::all(Milliamps(5)), at(2_750), LENGTH);
        again.push(PerPhase::all(Milliamps(5)), at(2_750), LENGTH);
        assert_eq!(
            (again.last(), again.buckets().collect::<Vec<_>>()),
            (first.last(), first.buckets().collect())
        );

        let many = buckets.iter().cycle().take(100).copied().collect::<Vec<_>>();
        let kept: Vec<Bucket> = Track::new(many.iter().copied(), last).buckets().collect();
        assert_eq!(kept, many[100 - MAX_BUCKETS..]);
    }

    #[test]
    fn before_the_oldest_reading_that_is_kept_it_drew_as_in_that() {
        let readings: Vec<(i64, i32)> = (0..100).map(|i| (i * 200, 8)).collect();
        check(&readings, 200, (8, 8, true));
    }

    #[test]
    fn no_more_buckets_are_kept_than_the_bound() {
        let readings: Vec<(i64, i32)> = (0..100).map(|i| (i * 200, 8)).collect();
        let track = track(&readings);
        assert_eq!((track.buckets().len(), track.buckets().next().map(|b| b.from)), (24, Some(at(76 * 200))));
    }
}
