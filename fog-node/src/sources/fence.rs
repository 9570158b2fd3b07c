//! What keeps work in flight from being committed once it is no longer ours.
//!
//! A partition that is assigned gets a generation, and gets another each time that it is read from another place. Whoever has
//! taken work from it carries the generation, and the writer asks right before each try to commit. That spares work; what
//! keeps rows from being there twice is the position in the table's own commit, which is compared and written as one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The generations of the partitions that are ours.
#[derive(Debug, Default)]
pub struct Fences(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    ours: BTreeMap<i32, u64>,
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

    /// No partition is ours any more.
    pub fn revoke_all(&self) {
        self.lock().ours.clear();
    }

    /// The generation of a partition; none when it isn't ours.
    pub fn generation(&self, partition: i32) -> Option<u64> {
        self.lock().ours.get(&partition).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
