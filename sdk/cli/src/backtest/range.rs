//! Which stays are counted, and from when on the site is run.
//!
//! Counted are stays that begin in the range, each to its end. Others that stand at the site meanwhile are run too, since they take
//! their share. A run begins with an empty site: at the last moment up to the range's begin at which nobody stood there, but at most
//! [`MOST_BEFORE`] before it. Who stood there already then comes at that moment, with all of its demand.

use wattle_wire::Micros;

use super::demand::Past;

/// How long before the range a run may begin.
pub const MOST_BEFORE: Micros = Micros::from_secs(7 * 86_400);

/// What is run and what is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// All stays that are run, in order of arrival.
    pub run: Vec<Past>,
    /// Those of them that are counted.
    pub counted: Vec<Past>,
    /// When the first vehicle comes.
    pub begin: Micros,
    /// When the last that is counted leaves.
    pub end: Micros,
    /// How many of those that are run stood there before the run begins.
    pub cut: usize,
}

impl Range {
    /// Of stays in order of arrival; none if no stay begins in the range.
    pub fn of(stays: &[Past], from: Micros, to: Micros) -> Option<Self> {
        let counted: Vec<Past> =
            stays.iter().filter(|stay| (from..to).contains(&stay.arrival)).cloned().collect();
        let (first, end) = (counted.first()?.arrival, counted.iter().map(|stay| stay.departure).max()?);
        let mut begin = first;
        loop {
            let is_there = |stay: &&Past| stay.arrival < begin && stay.departure > begin;
            let came = stays.iter().filter(is_there).map(|stay| stay.arrival);
            let Some(earlier) = came.filter(|came| first - *came <= MOST_BEFORE).min() else { break };
            begin = earlier;
        }
        let mut run: Vec<Past> =
            stays.iter().filter(|stay| stay.departure > begin && stay.arrival < end).cloned().collect();
        let cut = run.iter().filter(|stay| stay.arrival < begin).count();
        for stay in &mut run {
            (stay.arrival, stay.start) = (stay.arrival.max(begin), stay.start.max(begin));
        }
        run.sort_by(|a, b| (a.arrival, &a.station).cmp(&(b.arrival, &b.station)));
        Some(Self { run, counted, begin, end, cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_wire::WattHours;

    const DAY: i64 = 86_400_000_000;

    fn stays(times: &[(i64, i64)]) -> Vec<Past> {
        let past = |(index, (arrival, departure)): (usize, &(i64, i64))| Past {
            station: format!("c{index}").parse().expect("name"),
            session: format!("s{index}").parse().expect("name"),
            user: None,
            arrival: Micros(*arrival),
            start: Micros(*arrival),
            departure: Micros(*departure),
            ended_by_itself: true,
            drawn: WattHours(1),
            requested: None,
            estimated_departure: None,
        };
        times.iter().enumerate().map(past).collect()
    }

    fn check(times: &[(i64, i64)], from: i64, to: i64, expected: (i64, i64, usize, usize, usize)) {
        let range = Range::of(&stays(times), Micros(from), Micros(to)).expect("somebody comes");
        let found = (range.begin.0, range.end.0, range.run.len(), range.counted.len(), range.cut);
        assert_eq!(found, expected, "{times:?} {from} {to}");
        assert!(range.run.iter().all(|stay| stay.arrival >= range.begin && stay.start >= stay.arrival));
    }

    #[test]
    fn a_run_begins_when_nobody_stands_there_and_ends_with_the_last_that_is_counted() {
        let times = [(0, 10), (20, 40), (30, 60), (50, 70), (65, 99), (80, 90)];
        check(&times, 0, 100, (0, 99, 6, 6, 0));
        check(&times, 45, 60, (20, 70, 4, 1, 0));
        check(&times, 15, 25, (20, 40, 2, 1, 0));
    }

    #[test]
    fn one_that_stands_there_for_ever_does_not_move_the_begin_for_ever() {
        let times = [(0, 30 * DAY), (20 * DAY, 20 * DAY + 5), (20 * DAY + 3, 21 * DAY)];
        check(&times, 20 * DAY + 1, 30 * DAY, (20 * DAY, 21 * DAY, 3, 1, 1));
    }

    #[test]
    fn a_range_in_which_nobody_comes_is_none() {
        assert_eq!(Range::of(&stays(&[(0, 10)]), Micros(5), Micros(100)), None);
        assert_eq!(Range::of(&[], Micros(0), Micros(100)), None);
    }
}
