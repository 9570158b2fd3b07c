//! What keeps work in flight from being committed once it is no longer ours.
//!
//! A partition that is assigned gets a generation, and gets another each time that it is read from another place. Whoever has
//! taken work from it carries the generation, begins its commit here ([`Fence::begin`]), and asks again right before each try. Whoever
//! gives the partition up revokes it, and then waits until no commit of its work is under way ([`Fences::wait_for_commits`]): so
//! none is once it is another's. That spares work; what keeps rows from being there twice, also when a commit outlasts the wait or
//! a partition was lost unheard, is the position in the table's own commit, which is compared and written as one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The generations of the partitions that are ours.
#[derive(Debug, Default)]
pub struct Fences {
    state: Mutex<State>,
    /// Rung when a commit is over.
    over: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    ours: BTreeMap<i32, u64>,
    /// How many commits of work from a partition are under way, whosever it is by now.
    under_way: BTreeMap<i32, usize>,
}

impl Fences {
    /// Gives a partition a new generation: what was taken from it before is no longer ours to commit.
    pub fn renew(&self, partition: i32) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let generation = state.last;
        state.ours.insert(partition, generation);
        generation
    }

    /// The partition is no longer ours.
    pub fn revoke(&self, partition: i32) {
        self.lock().ours.remove(&partition);
    }

    /// No partition is ours any more. Gives those that were.
    pub fn revoke_all(&self) -> Vec<i32> {
        std::mem::take(&mut self.lock().ours).into_keys().collect()
    }

    /// The generation of a partition; none when it isn't ours.
    pub fn generation(&self, partition: i32) -> Option<u64> {
        self.lock().ours.get(&partition).copied()
    }

    /// Waits until no commit of work from these partitions is under way, for `limit` at most. Whether none is.
    pub fn wait_for_commits(&self, partitions: &[i32], limit: Duration) -> bool {
        let is_under_way =
            |state: &mut State| partitions.iter().any(|partition| state.under_way.contains_key(partition));
        let waited = self.over.wait_timeout_while(self.lock(), limit, is_under_way);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a piece of work carries.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Where to ask.
    pub fences: Arc<Fences>,
    /// From which partition it was taken.
    pub partition: i32,
    /// In which generation.
    pub generation: u64,
}

impl Fence {
    /// Whether the work may still be committed.
    pub fn holds(&self) -> bool {
        self.fences.generation(self.partition) == Some(self.generation)
    }
    /// Begins a commit of the work, unless it isn't ours any more. Until what this gives is dropped, whoever gives the partition up
    /// waits.
    pub fn begin(&self) -> Option<UnderWay> {
        let mut state = self.fences.lock();
        if state.ours.get(&self.partition) != Some(&self.generation) {
            return None;
        }
        *state.under_way.entry(self.partition).or_default() += 1;
        Some(UnderWay { fences: self.fences.clone(), partition: self.partition })
    }
}

/// A commit of work from a partition.
#[derive(Debug)]
pub struct UnderWay {
    fences: Arc<Fences>,
    partition: i32,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.fences.lock();
        if let Some(count) = state.under_way.get_mut(&self.partition) {
            *count -= 1;
            if *count == 0 {
                state.under_way.remove(&self.partition);
            }
        }
        drop(state);
        self.fences.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(10);

    fn fence(fences: &Arc<Fences>, partition: i32) -> Fence {
        Fence { fences: fences.clone(), partition, generation: fences.renew(partition) }
    }

    #[test]
    fn whoever_gives_a_partition_up_waits_for_the_commits_of_its_work_and_for_no_others() {
        let fences = Arc::new(Fences::default());
        let (ours, other) = (fence(&fences, 0), fence(&fences, 1));
        let (first, second, others) = (ours.begin(), ours.begin(), other.begin());
        assert!(first.is_some() && second.is_some() && others.is_some());
        fences.revoke(0);
        assert!(!fences.wait_for_commits(&[0], SHORT), "two are under way");
        drop(first);
        assert!(!fences.wait_for_commits(&[2, 0], SHORT), "one is");
        let waiting = std::thread::spawn({
            let fences = fences.clone();
            move || fences.wait_for_commits(&[0], LONG)
        });
        drop(second);
        assert!(waiting.join().expect("no panic"), "none is");
        assert!(!fences.wait_for_commits(&[0, 1], SHORT));
        assert!(fences.wait_for_commits(&[], SHORT));
    }

    #[test]
    fn what_is_no_longer_ours_is_not_begun() {
        let fences = Arc::new(Fences::default());
        let before = fence(&fences, 0);
        let now = fence(&fences, 0);
        assert!(before.begin().is_none() && now.begin().is_some());
        fences.revoke_all();
        assert!(now.begin().is_none());
        assert!(fences.wait_for_commits(&[0], SHORT), "nothing was begun that is not over");
    }

    #[test]
    fn a_commit_that_was_begun_before_a_partition_came_again_is_waited_for() {
        let fences = Arc::new(Fences::default());
        let before = fence(&fences, 0).begin();
        fences.revoke(0);
        fence(&fences, 0);
        assert!(!fences.wait_for_commits(&[0], SHORT));
        drop(before);
        assert!(fences.wait_for_commits(&[0], LONG));
    }
}
