//! Which numbered messages of a device were taken already.
//!
//! Per start of the device a sorted list of ranges without overlap. Bounds:
//!
//! - [`MAX_BOOTS`] starts; the one that was met first is forgotten first. A start that is not remembered is a
//!   new one, whatever its number: a unit that was replaced begins with a low one, and what it sends is
//!   journaled. What a forgotten start would send again would be journaled once more.
//! - [`MAX_RANGES`] ranges of all starts together; when one more is needed, the start that has most forgets its
//!   lowest. What comes of a forgotten range can't be told from a repetition any more: it is journaled once
//!   more, never acknowledged without a row. A number is only ever said to be taken if it was.

use wattle_wire::message::Number;

/// Starts of a device that are told apart.
pub const MAX_BOOTS: usize = 32;

/// Ranges that are kept of all starts together. While what a device was not told of spans less than twice as many
/// numbers, none of it is forgotten.
pub const MAX_RANGES: usize = 4096;

/// A start with its ranges.
pub(super) type Boot = (u32, Vec<(u64, u64)>);

/// The numbers taken, as ranges per start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// In the order in which they were met, each start once.
    boots: Vec<Boot>,
}

/// What a number is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Not seen before; it is now.
    New,
    /// Seen before.
    Before,
}

impl Numbers {
    pub(super) fn contains(&self, number: Number) -> bool {
        self.boots.iter().any(|(boot, ranges)| *boot == number.boot && covers(ranges, number.seq))
    }

    /// The highest start that is remembered.
    pub(super) fn highest_boot(&self) -> Option<u32> {
        self.boots.iter().map(|(boot, _)| *boot).max()
    }

    pub(super) fn take(&mut self, number: Number) -> Taken {
        // Nearly always it is the start that was met last.
        let known = self.boots.iter().rposition(|(boot, _)| *boot == number.boot);
        let index = known.unwrap_or_else(|| {
            if self.boots.len() == MAX_BOOTS {
                self.boots.remove(0);
            }
            self.boots.push((number.boot, Vec::new()));
            self.boots.len() - 1
        });
        if !insert(&mut self.boots[index].1, number.seq) {
            return Taken::Before;
        }
        if count(&self.boots) > MAX_RANGES {
            self.forget_lowest(number);
        }
        Taken::New
    }

    /// Forgets the lowest range of the start that has most, but not what was just taken: where a device sends
    /// again from below, its range grows by all that comes next.
    fn forget_lowest(&mut self, taken: Number) {
        if let Some((boot, ranges)) = self.boots.iter_mut().max_by_key(|(_, ranges)| ranges.len()) {
            let is_lowest = *boot == taken.boot && ranges[0].0 == taken.seq;
            ranges.remove(usize::from(is_lowest));
        }
    }

    pub(super) fn to_parts(&self) -> Vec<Boot> {
        self.boots.clone()
    }

    /// Takes what [`Self::to_parts`] gave; nothing if it breaks an invariant.
    pub(super) fn from_parts(boots: Vec<Boot>) -> Option<Self> {
        let orderly = |ranges: &[(u64, u64)]| {
            ranges.iter().all(|(from, to)| from <= to)
                && ranges.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0))
        };
        let once = |index: usize| boots[..index].iter().all(|(boot, _)| *boot != boots[index].0);
        let sound = boots.len() <= MAX_BOOTS
            && count(&boots) <= MAX_RANGES
            && (0..boots.len()).all(once)
            && boots.iter().all(|(_, ranges)| orderly(ranges));
        sound.then_some(Self { boots })
    }
}

fn count(boots: &[Boot]) -> usize {
    boots.iter().map(|(_, ranges)| ranges.len()).sum()
}

fn covers(ranges: &[(u64, u64)], seq: u64) -> bool {
    let after = ranges.partition_point(|(from, _)| *from <= seq);
    after > 0 && ranges[after - 1].1 >= seq
}

fn insert(ranges: &mut Vec<(u64, u64)>, seq: u64) -> bool {
    // The usual case: the next number of the last range.
    if let Some(last) = ranges.last_mut()
        && last.1.checked_add(1) == Some(seq)
    {
        last.1 = seq;
        return true;
    }
    let after = ranges.partition_point(|(from, _)| *from <= seq);
    if after > 0 && ranges[after - 1].1 >= seq {
        return false;
    }
    let joins_before = after > 0 && ranges[after - 1].1 + 1 == seq;
    let joins_after = ranges.get(after).is_some_and(|(from, _)| seq + 1 == *from);
    match (joins_before, joins_after) {
        (true, true) => {
            ranges[after - 1].1 = ranges[after].1;
            ranges.remove(after);
        }
        (true, false) => ranges[after - 1].1 = seq,
        (false, true) => ranges[after].0 = seq,
        (false, false) => ranges.insert(after, (seq, seq)),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(boot: u32, seq: u64) -> Number {
        Number { boot, seq }
    }

    #[test]
    fn a_number_is_new_once_in_whatever_order_it_comes() {
        let mut numbers = Numbers::default();
        for seq in [5, 1, 3, 2, 4, u64::MAX, 0, u64::MAX - 1] {
            assert_eq!(numbers.take(n(1, seq)), Taken::New, "{seq}");
            assert_eq!(numbers.take(n(1, seq)), Taken::Before, "{seq}");
        }
        assert_eq!(numbers.to_parts(), [(1, vec![(0, 5), (u64::MAX - 1, u64::MAX)])]);
    }

    #[test]
    fn starts_are_told_apart_until_there_are_too_many_and_the_first_met_is_forgotten_first() {
        let mut numbers = Numbers::default();
        for boot in 10..10 + MAX_BOOTS as u32 {
            assert_eq!(numbers.take(n(boot, 1)), Taken::New);
        }
        assert_eq!(numbers.take(n(1, 1)), Taken::New, "a lower start is a new one");
        assert_eq!(numbers.take(n(1, 1)), Taken::Before);
        assert_eq!(numbers.take(n(11, 1)), Taken::Before);
        assert!(!numbers.contains(n(10, 1)));
        assert_eq!(numbers.highest_boot(), Some(9 + MAX_BOOTS as u32));
    }

    /// Numbers with a hole before each, then what is missing.
    fn check_holes(boots: u32, holes: u64) {
        let mut numbers = Numbers::default();
        for parity in [0, 1] {
            for number in (0..holes).flat_map(|i| (1..=boots).map(move |boot| n(boot, i * 2 + parity))) {
                assert_eq!(numbers.take(number), Taken::New, "{number:?} never came");
                assert_eq!(numbers.take(number), Taken::Before, "{number:?} came just now");
                assert!(count(&numbers.boots) <= MAX_RANGES);
            }
        }
        assert_eq!(Numbers::from_parts(numbers.to_parts()), Some(numbers));
    }

    #[test]
    fn however_many_holes_there_are_no_number_that_never_came_counts_as_taken() {
        check_holes(1, 300);
        check_holes(1, 3 * MAX_RANGES as u64);
        check_holes(MAX_BOOTS as u32, 300);
    }

    #[test]
    fn all_numbers_of_twice_as_many_as_there_are_ranges_are_remembered_in_whatever_order_they_come() {
        let mut numbers = Numbers::default();
        let span = 2 * MAX_RANGES as u64;
        // Below it stands what was acknowledged long ago.
        (0..100).for_each(|seq| assert_eq!(numbers.take(n(1, seq)), Taken::New));
        let scattered: Vec<u64> = (100..100 + span).step_by(2).chain((101..100 + span).step_by(2)).collect();
        for seq in &scattered {
            assert_eq!(numbers.take(n(1, *seq)), Taken::New);
        }
        assert!(scattered.iter().all(|seq| numbers.take(n(1, *seq)) == Taken::Before));
        assert_eq!(numbers.to_parts(), [(1, vec![(0, 99 + span)])]);
    }

    #[test]
    fn when_there_are_too_many_ranges_the_start_that_has_most_forgets_its_lowest() {
        let mut numbers = Numbers::default();
        numbers.take(n(7, 5));
        (0..MAX_RANGES as u64).for_each(|i| assert_eq!(numbers.take(n(1, 10 + i * 2)), Taken::New));
        assert!(numbers.contains(n(7, 5)), "it has one only");
        assert!(!numbers.contains(n(1, 10)) && numbers.contains(n(1, 12)));
        // From below a device sends again what it was not told of; what is taken now is not what is forgotten.
        (1..=3).for_each(|seq| assert_eq!(numbers.take(n(1, seq)), Taken::New));
        assert!((1..=3).all(|seq| numbers.contains(n(1, seq))));
        assert!(!numbers.contains(n(1, 12)) && numbers.contains(n(1, 14)));
    }

    #[test]
    fn parts_that_break_an_invariant_are_not_taken() {
        assert!(Numbers::from_parts(vec![(1, vec![(1, 5), (6, 7)])]).is_none(), "ranges that touch");
        assert!(Numbers::from_parts(vec![(1, vec![(5, 1)])]).is_none(), "a range backwards");
        assert!(Numbers::from_parts(vec![(1, vec![]), (1, vec![])]).is_none(), "a start twice");
        let too_many = (0..=MAX_BOOTS as u32).map(|boot| (boot, vec![])).collect();
        assert!(Numbers::from_parts(too_many).is_none(), "too many starts");
        let too_many = (0..=MAX_RANGES as u64).map(|i| (i * 2, i * 2)).collect();
        assert!(Numbers::from_parts(vec![(1, too_many)]).is_none(), "too many ranges");
        assert!(Numbers::from_parts(vec![(9, vec![]), (3, vec![(1, 5), (7, 7)])]).is_some());
    }
}
