//! Which numbered messages of a device were taken already.
//!
//! Per start of the device a sorted list of ranges without overlap. Bounds:
//!
//! - [`MAX_BOOTS`] starts; the one that was met first is forgotten first. A start that is not remembered is a
//!   new one, whatever its number: a unit that was replaced begins with a low one, and what it sends is
//!   journaled. What a forgotten start would send again would be journaled once more.
//! - [`MAX_RANGES`] ranges per start; when one more is needed the lowest hole closes, so that what is missing
//!   there counts as taken. That needs holes that are never filled although the device resends in order.

use wattle_wire::message::Number;

/// Starts of a device that are told apart.
pub const MAX_BOOTS: usize = 32;

/// Ranges that are kept for one start.
pub const MAX_RANGES: usize = 128;

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
        if insert(&mut self.boots[index].1, number.seq) { Taken::New } else { Taken::Before }
    }

    pub(super) fn to_parts(&self) -> Vec<Boot> {
        self.boots.clone()
    }

    /// Takes what [`Self::to_parts`] gave; nothing if it breaks an invariant.
    pub(super) fn from_parts(boots: Vec<Boot>) -> Option<Self> {
        let orderly = |ranges: &[(u64, u64)]| {
            ranges.len() <= MAX_RANGES
                && ranges.iter().all(|(from, to)| from <= to)
                && ranges.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0))
        };
        let once = |index: usize| boots[..index].iter().all(|(boot, _)| *boot != boots[index].0);
        let sound = boots.len() <= MAX_BOOTS
            && (0..boots.len()).all(once)
            && boots.iter().all(|(_, ranges)| orderly(ranges));
        sound.then_some(Self { boots })
    }
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
        (false, false) => {
            ranges.insert(after, (seq, seq));
            if ranges.len() > MAX_RANGES {
                ranges[0].1 = ranges[1].1;
                ranges.remove(1);
            }
        }
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

    #[test]
    fn when_there_are_too_many_ranges_the_lowest_hole_closes() {
        let mut numbers = Numbers::default();
        for i in 0..=MAX_RANGES as u64 {
            assert_eq!(numbers.take(n(1, i * 2)), Taken::New);
        }
        let ranges = &numbers.to_parts()[0].1;
        assert_eq!((ranges.len(), ranges[0]), (MAX_RANGES, (0, 2)));
        assert!(numbers.contains(n(1, 1)), "the lowest hole counts as taken");
        assert!(!numbers.contains(n(1, 3)));
    }

    #[test]
    fn parts_that_break_an_invariant_are_not_taken() {
        assert!(Numbers::from_parts(vec![(1, vec![(1, 5), (6, 7)])]).is_none(), "ranges that touch");
        assert!(Numbers::from_parts(vec![(1, vec![(5, 1)])]).is_none(), "a range backwards");
        assert!(Numbers::from_parts(vec![(1, vec![]), (1, vec![])]).is_none(), "a start twice");
        let too_many = (0..=MAX_BOOTS as u32).map(|boot| (boot, vec![])).collect();
        assert!(Numbers::from_parts(too_many).is_none(), "too many starts");
        assert!(Numbers::from_parts(vec![(9, vec![]), (3, vec![(1, 5), (7, 7)])]).is_some());
    }
}
