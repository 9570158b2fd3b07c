//! A digest of what a numbered message said, computed from its row so that a replay finds the same.
//!
//! It tells an honest repetition from the same number with other values. It is no defence against someone
//! who looks for collisions: that device could as well send the other values first.

use std::collections::VecDeque;

use wattle_wire::message::{Number, Phases, Values};
use wattle_wire::row::{Event, EventKind, Reading};

use super::numbers::MAX_BOOTS;

/// Digests that are kept of the last messages, and, so that a start whose number is used again shows, of the
/// first message of as many starts as are remembered. All others are dropped as duplicates without a
/// comparison.
pub const MAX_DIGESTS: usize = 256;

/// The digests of the last messages, and of the first one of each start. A node has one of these for each device, and most
/// numbers follow on each other: so numbers are kept by the run, and digests are cut to 32 bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Digests {
    last: Bounded<MAX_DIGESTS>,
    firsts: Bounded<MAX_BOOTS>,
}

/// A list as a checkpoint has it, the oldest first: of each run its start, its first number, and four bytes for each digest, the
/// lowest first.
pub(super) type Parts = Vec<(u32, u64, Vec<u8>)>;

/// The same as checkpoints of version 2 had it, with digests of 64 bits.
pub(super) type LongParts = Vec<(Number, u64)>;

impl Digests {
    pub(super) fn push(&mut self, number: Number, digest: u64) {
        if self.firsts.runs.iter().all(|run| run.boot != number.boot) {
            self.firsts.push(number, short(digest));
        }
        self.last.push(number, short(digest));
    }

    /// Whether the message with this number is known to have said something else.
    pub(super) fn contradict(&self, number: Number, digest: impl FnOnce() -> u64) -> bool {
        let before = self.last.get(number).or_else(|| self.firsts.get(number));
        before.is_some_and(|before| before != short(digest()))
    }

    /// The last ones, and the first of each start.
    pub(super) fn to_parts(&self) -> (Parts, Parts) {
        (self.last.to_parts(), self.firsts.to_parts())
    }

    pub(super) fn from_parts((last, firsts): (Parts, Parts)) -> Self {
        Self { last: Bounded::from_parts(last), firsts: Bounded::from_parts(firsts) }
    }

    pub(super) fn from_long_parts((last, firsts): (LongParts, LongParts)) -> Self {
        Self { last: Bounded::from_long_parts(last), firsts: Bounded::from_long_parts(firsts) }
    }
}

fn short(digest: u64) -> u32 {
    (digest ^ digest >> 32) as u32
}

/// Digests with their numbers, the oldest first, at most so many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bounded<const MOST: usize> {
    runs: VecDeque<Run>,
    digests: VecDeque<u32>,
}

/// Numbers that follow on each other; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    boot: u32,
    count: u32,
    first: u64,
}

impl Run {
    fn place(self, number: Number) -> Option<usize> {
        let place = number.seq.checked_sub(self.first).filter(|place| *place < self.count.into())?;
        (self.boot == number.boot).then_some(place as usize)
    }

    fn is_followed_by(self, number: Number) -> bool {
        self.boot == number.boot && self.first.checked_add(self.count.into()) == Some(number.seq)
    }
}

impl<const MOST: usize> Bounded<MOST> {
    fn push(&mut self, number: Number, digest: u32) {
        if self.digests.len() == MOST {
            self.forget_oldest();
        }
        match self.runs.back_mut() {
            Some(run) if run.is_followed_by(number) => run.count += 1,
            _ => self.runs.push_back(Run { boot: number.boot, count: 1, first: number.seq }),
        }
        self.digests.push_back(digest);
    }

    fn forget_oldest(&mut self) {
        self.digests.pop_front();
        let Some(run) = self.runs.front_mut() else { return };
        // A run may have reached the last number that there is.
        (run.count, run.first) = (run.count - 1, run.first.saturating_add(1));
        if run.count == 0 {
            self.runs.pop_front();
        }
    }

    /// The newest of a number.
    fn get(&self, number: Number) -> Option<u32> {
        let mut behind = 0;
        for run in self.runs.iter().rev() {
            behind += run.count as usize;
            if let Some(place) = run.place(number) {
                return self.digests.get(self.digests.len() - behind + place).copied();
            }
        }
        None
    }

    fn to_parts(&self) -> Parts {
        let mut digests = self.digests.iter();
        let part = |run: &Run| {
            let own = digests.by_ref().take(run.count as usize);
            (run.boot, run.first, own.flat_map(|digest| digest.to_le_bytes()).collect())
        };
        self.runs.iter().map(part).collect()
    }

    fn from_parts(parts: Parts) -> Self {
        let mut all = Self::default();
        for (boot, first, bytes) in parts {
            let (digests, _) = bytes.as_chunks::<4>();
            for (place, digest) in digests.iter().enumerate() {
                let Some(seq) = first.checked_add(place as u64) else { break };
                all.push(Number { boot, seq }, u32::from_le_bytes(*digest));
            }
        }
        all
    }

    fn from_long_parts(parts: LongParts) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|(number, digest)| all.push(number, short(digest)));
        all
    }
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn option(&mut self, value: Option<i64>) {
        match value {
            None => self.word(0x0bad_5eed),
            Some(value) => {
                self.word(1);
                self.word(value as u64);
            }
        }
    }

    fn phases<T: Copy>(&mut self, values: Option<Phases<T>>, number: impl Fn(T) -> i64) {
        self.option(values.map(|v| v.len() as i64));
        for value in values.iter().flat_map(|v| v.iter()) {
            self.option(value.map(&number));
        }
    }

    fn text(&mut self, text: Option<&str>) {
        self.option(text.map(|t| t.len() as i64));
        for byte in text.unwrap_or_default().bytes() {
            self.word(byte.into());
        }
    }
}

/// What a reading said.
pub(super) fn of_reading(row: &Reading) -> u64 {
    let mut hash = Hash(1);
    hash.option(row.measured_us.map(|at| at.0));
    hash.option(row.state.map(|state| state as i64));
    hash.option(row.setpoint.map(|number| number as i64));
    let Values {
        current_ma,
        voltage_mv,
        power_w,
        register_wh,
        soc_percent,
        temperature_mc,
        humidity_percent,
        signal_dbm,
    } = row.values;
    hash.phases(current_ma, |a| a.0.into());
    hash.phases(voltage_mv, |v| v.0.into());
    hash.option(power_w.map(|w| w.0.into()));
    hash.option(register_wh.map(|wh| wh.0));
    for value in [soc_percent, temperature_mc, humidity_percent, signal_dbm] {
        hash.option(value.map(i64::from));
    }
    hash.0
}

/// What a step in a stay said. The name of the stay is left out: the edge may have given it. Who, how much
/// and until when count with a start only, as elsewhere the edge fills them in.
pub(super) fn of_step(row: &Event) -> u64 {
    let mut hash = Hash(2);
    hash.word(row.kind as u64);
    hash.option(row.measured_us.map(|at| at.0));
    hash.option(row.register_wh.map(|wh| wh.0));
    if row.kind == EventKind::Started {
        hash.text(row.user.as_ref().map(|user| user.as_str()));
        hash.option(row.requested_wh.map(|wh| wh.0));
        hash.option(row.departure_us.map(|at| at.0));
    }
    hash.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine is told, the newest last: numbers with what was said.
    fn check(said: &[(u32, u64, u64)]) {
        let (mut digests, mut model) = (Digests::default(), Vec::new());
        for &(boot, seq, digest) in said {
            let number = Number { boot, seq };
            digests.push(number, digest);
            model.push((number, digest));
            let known = &model[model.len().saturating_sub(MAX_DIGESTS)..];
            for (number, _) in &model {
                let newest = known.iter().rev().find(|(n, _)| n == number);
                let Some((_, digest)) = newest else { continue };
                assert!(!digests.contradict(*number, || *digest), "{number:?}");
                assert!(digests.contradict(*number, || *digest + 1), "{number:?}");
            }
        }
        assert_eq!(Digests::from_parts(digests.to_parts()), digests);
    }

    #[test]
    fn of_each_of_the_last_numbers_it_is_known_what_it_said_in_whatever_order_they_came() {
        check(&(1..=600).map(|seq| (1, seq, seq * seq)).collect::<Vec<_>>());
        check(&(1..=300).map(|seq| (seq as u32 % 3, seq, seq)).collect::<Vec<_>>());
        check(&(1..=300).rev().map(|seq| (7, seq * 2, seq)).collect::<Vec<_>>());
        check(&[(1, 5, 1), (1, 6, 2), (2, 7, 3), (1, 7, 4), (1, 5, 5), (1, u64::MAX, 6), (1, 0, 7)]);
        check(&(0..=300).map(|back| (1, u64::MAX - 300 + back, back)).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_message_of_a_start_is_known_for_longer_than_those_after_it() {
        let mut digests = Digests::default();
        (1..=1000).for_each(|seq| digests.push(Number { boot: 1, seq }, seq));
        let contradicts = |seq| digests.contradict(Number { boot: 1, seq }, || 1 << 20);
        assert_eq!([1, 2, 744, 745, 1000].map(contradicts), [true, false, false, true, true]);
        for boot in 2..40 {
            digests.push(Number { boot, seq: 1 }, 1);
        }
        assert!(!digests.contradict(Number { boot: 1, seq: 1 }, || 9), "of so many starts it is forgotten");
    }

    #[test]
    fn a_list_from_a_checkpoint_is_cut_to_its_bound_and_takes_no_number_behind_the_last() {
        let long = vec![(1, 10, vec![7; 4 * 1000 + 3])];
        let digests = Digests::from_parts((long.clone(), long));
        assert_eq!((digests.last.digests.len(), digests.firsts.digests.len()), (MAX_DIGESTS, MAX_BOOTS));
        let behind = vec![(1, u64::MAX, vec![7; 12]), (2, 1, Vec::new())];
        assert_eq!(Digests::from_parts((behind, Vec::new())).last.digests.len(), 1);
    }

    #[test]
    fn numbers_that_follow_on_each_other_cost_four_bytes_each() {
        let mut digests = Digests::default();
        (1..=1000).for_each(|seq| digests.push(Number { boot: 1, seq }, seq));
        assert_eq!((digests.last.runs.len(), digests.last.digests.capacity()), (1, MAX_DIGESTS));
    }
}
