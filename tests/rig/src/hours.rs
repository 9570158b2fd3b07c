//! Hours of random operation on virtual time, by several threads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use wattle_wire::Micros;

use crate::cases::{self, case_of};
use crate::tally::Tally;

/// What so many hours were.
#[derive(Debug, Clone, Default)]
pub struct Hours {
    /// Sites that were played.
    pub sites: u64,
    /// Virtual time.
    pub played: Micros,
    /// What has happened.
    pub tally: Tally,
}

/// Plays random sites with intervals of a second, each for about a quarter of an hour, until they come to `hours` together.
/// The same `seed` gives the same sites.
pub fn play(hours: i64, seed: u64, threads: usize) -> Hours {
    let wanted = Micros::from_secs(hours * 3_600).0;
    let (next, played) = (AtomicU64::new(0), AtomicI64::new(0));
    let all = Mutex::new(Hours::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while played.load(Ordering::Relaxed) < wanted {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let (length, mut tally) = site(seed, index).count();
                    (tally.worst.site, tally.worst_with_noise.site) = (index, index);
                    if let Some(breach) = &mut tally.first_breach {
                        *breach = format!("site {index}: {breach}");
                    }
                    played.fetch_add(length.0, Ordering::Relaxed);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.sites += 1;
                    all.played += length;
                    all.tally.add(tally);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Plays one of those sites, with its number.
pub fn play_one(seed: u64, index: u64) -> Hours {
    let (played, tally) = site(seed, index).count();
    Hours { sites: 1, played, tally }
}

/// One of the random sites.
fn site(seed: u64, index: u64) -> cases::Case {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&index.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(cases::random(1), rng);
    // A strategy without a filter refuses nothing.
    case_of(5, 300..600).new_tree(&mut runner).expect("nothing is refused").current()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_random_operation_pass_without_a_breach_and_are_the_same_each_time() {
        let (first, second) = (play(1, 7, 1), play(1, 7, 1));
        assert!(first.played >= Micros::from_secs(3_600));
        assert_eq!((first.tally.breaches, first.tally.first_breach), (0, None));
        assert!(first.tally.decisions > 3_600 && first.tally.setpoints > 0);
        assert_eq!((first.sites, first.tally.decisions), (second.sites, second.tally.decisions));
    }
}
