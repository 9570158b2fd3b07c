//! Memory: what a policy keeps of each stay from one decision to the next, as bytes of state.
//!
//! One mark per stay: a flag, and since when something holds. What is remembered of a stay ends with it. A policy keeps what the
//! next decision shall find, also of a vehicle that doesn't ask: one that has to rest is shown so. At most
//! [`Memory::MOST`] stays are remembered, further ones are not. Bytes that this version hasn't written
//! are as good as none, so a policy starts anew rather than on rubbish.
//!
//! The layout: one byte of version, then per stay 8 bytes of key (FNV-1a of the charger's and the
//! session's id), 8 of `since` (little-endian, the least number for none) and one of flag, in ascending order of key.

use std::collections::BTreeMap;

use crate::Charger;

const VERSION: u8 = 1;
const MARK_BYTES: usize = 17;

/// What is kept of a stay.
///
/// ```
/// use wattle_policy::memory::Mark;
///
/// let waiting = Mark { flag: false, since: Some(5_000_000) };
/// assert_eq!(waiting.seconds(8_000_000), Some(3));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Whatever the policy means by it.
    pub flag: bool,
    /// Since when something holds, as the time of a snapshot.
    pub since: Option<i64>,
}

impl Mark {
    /// For how many whole seconds it holds at `now`. A clock that went back makes that none.
    ///
    /// ```
    /// use wattle_policy::memory::Mark;
    ///
    /// let held = Mark { flag: true, since: Some(0) };
    /// assert_eq!(held.seconds(2_900_000), Some(2));
    /// assert_eq!(Mark::default().seconds(2_900_000), None);
    /// ```
    pub fn seconds(self, now: i64) -> Option<i64> {
        self.since.map(|since| (now.saturating_sub(since) / 1_000_000).max(0))
    }
}

/// The marks of all stays.
///
/// ```
/// use wattle_policy::{kit::Site, memory::{Mark, Memory}};
///
/// let chargers = Site::new([20_000; 3]).asking("a").asking("b").snapshot().chargers;
/// let mut memory = Memory::default();
/// memory.keep(&chargers[0], Mark { flag: true, since: None });
/// assert_eq!((memory.of(&chargers[0]).is_some(), memory.of(&chargers[1])), (true, None));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    marks: BTreeMap<u64, Mark>,
}

impl Memory {
    /// The most stays that are remembered; their bytes fit into the state that a host keeps.
    ///
    /// ```
    /// use wattle_policy::memory::Memory;
    ///
    /// assert_eq!(Memory::MOST, 3_000);
    /// ```
    pub const MOST: usize = 3_000;

    /// Reads what [`Memory::bytes`] has written; nothing is remembered if that isn't what it is.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, memory::{Mark, Memory}};
    ///
    /// let charger = &Site::new([20_000; 3]).asking("a").snapshot().chargers[0];
    /// let mut memory = Memory::default();
    /// memory.keep(charger, Mark { flag: true, since: Some(7) });
    /// assert_eq!(Memory::read(&memory.bytes()).of(charger), Some(Mark { flag: true, since: Some(7) }));
    /// assert_eq!(Memory::read(b"rubbish"), Memory::default());
    /// ```
    pub fn read(bytes: &[u8]) -> Self {
        Self { marks: read(bytes).unwrap_or_default() }
    }

    /// What is remembered of the stay at a charger.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, memory::{Mark, Memory}};
    ///
    /// let charger = &Site::new([20_000; 3]).asking("a").snapshot().chargers[0];
    /// let mut memory = Memory::default();
    /// assert_eq!(memory.of(charger), None);
    /// memory.keep(charger, Mark::default());
    /// assert_eq!(memory.of(charger), Some(Mark::default()));
    /// ```
    pub fn of(&self, charger: &Charger) -> Option<Mark> {
        self.marks.get(&key(charger)).copied()
    }

    /// Remembers the stay at a charger.
    ///
    /// ```
    /// use wattle_policy::{kit::Site, memory::{Mark, Memory}};
    ///
    /// let snapshot = Site::new([20_000; 3]).asking("a").snapshot();
    /// let mut memory = Memory::default();
    /// memory.keep(&snapshot.chargers[0], Mark { flag: false, since: Some(snapshot.now) });
    /// assert_eq!(memory.of(&snapshot.chargers[0]).unwrap().seconds(snapshot.now), Some(0));
    /// ```
    pub fn keep(&mut self, charger: &Charger, mark: Mark) {
        if self.marks.len() < Self::MOST {
            self.marks.insert(key(charger), mark);
        }
    }

    /// The bytes of state; none if nothing is remembered.
    ///
    /// ```
    /// use wattle_policy::memory::Memory;
    ///
    /// assert!(Memory::default().bytes().is_empty());
    /// ```
    pub fn bytes(&self) -> Vec<u8> {
        if self.marks.is_empty() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(1 + self.marks.len() * MARK_BYTES);
        bytes.push(VERSION);
        for (key, mark) in &self.marks {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&mark.since.unwrap_or(i64::MIN).to_le_bytes());
            bytes.push(mark.flag.into());
        }
        bytes
    }
}

fn read(bytes: &[u8]) -> Option<BTreeMap<u64, Mark>> {
    let (version, marks) = bytes.split_first()?;
    let (marks, rest) = marks.as_chunks::<MARK_BYTES>();
    if *version != VERSION || !rest.is_empty() || marks.len() > Memory::MOST {
        return None;
    }
    let mut read = BTreeMap::new();
    for mark in marks {
        let (key, mark) = mark.split_first_chunk::<8>()?;
        let (since, flag) = mark.split_first_chunk::<8>()?;
        let since = Some(i64::from_le_bytes(*since)).filter(|since| *since != i64::MIN);
        let flag = match flag {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        read.insert(u64::from_le_bytes(*key), Mark { flag, since });
    }
    (read.len() == marks.len()).then_some(read)
}

/// FNV-1a of the charger's and the session's id, by which a stay is found again.
fn key(charger: &Charger) -> u64 {
    let session = charger.session.as_ref().map_or("", |session| &session.id);
    let bytes = charger.id.bytes().chain([0]).chain(session.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Site;

    fn chargers(count: usize) -> Vec<Charger> {
        let site = (0..count).fold(Site::new([0; 3]), |site, n| site.asking(&format!("c{n}")));
        site.snapshot().chargers
    }

    #[test]
    fn a_mark_is_found_again_by_charger_and_session() {
        let mut chargers = chargers(2);
        let mut memory = Memory::default();
        memory.keep(&chargers[0], Mark { flag: false, since: None });
        memory.keep(&chargers[1], Mark { flag: true, since: Some(-5) });
        let read = Memory::read(&memory.bytes());
        assert_eq!(read.of(&chargers[0]), Some(Mark::default()));
        assert_eq!(read.of(&chargers[1]), Some(Mark { flag: true, since: Some(-5) }));
        chargers[1].session.as_mut().expect("it asks").id = "another".into();
        assert_eq!(read.of(&chargers[1]), None);
    }

    #[test]
    fn bytes_that_are_cut_damaged_or_of_another_version_are_nothing() {
        let mut memory = Memory::default();
        memory.keep(&chargers(1)[0], Mark { flag: true, since: Some(9) });
        let whole = memory.bytes();
        assert_eq!(whole.len(), 1 + MARK_BYTES);
        for length in 0..whole.len() {
            assert_eq!(Memory::read(&whole[..length]), Memory::default(), "{length} bytes");
        }
        for (at, value) in [(0, 2), (17, 2)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            assert_eq!(Memory::read(&damaged), Memory::default(), "byte {at}");
        }
        let twice: Vec<u8> = whole.iter().chain(&whole[1..]).copied().collect();
        assert_eq!(Memory::read(&twice), Memory::default());
    }

    #[test]
    fn as_much_is_remembered_as_fits_into_a_state() {
        let mut memory = Memory::default();
        for charger in chargers(Memory::MOST + 10) {
            memory.keep(&charger, Mark::default());
        }
        assert_eq!(memory.bytes().len(), 1 + Memory::MOST * MARK_BYTES);
        assert!(memory.bytes().len() <= 64 * 1024);
        assert_eq!(Memory::read(&memory.bytes()), memory);
    }

    #[test]
    fn seconds_are_whole_and_never_negative() {
        let since = |since| Mark { since, ..Mark::default() };
        assert_eq!(since(Some(1_000_000)).seconds(2_999_999), Some(1));
        assert_eq!(since(Some(5_000_000)).seconds(0), Some(0));
        assert_eq!(since(Some(i64::MIN + 1)).seconds(i64::MAX), Some(i64::MAX / 1_000_000));
        assert_eq!(since(None).seconds(0), None);
    }
}
