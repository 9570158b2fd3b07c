//! Whether a process does its work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What keeps a process from its work, by name. Clones share it. Empty means healthy.
#[derive(Debug, Clone, Default)]
pub struct Health {
    faults: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    /// Healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `part` fails, and why. One reason per part: the newest.
    pub fn fail(&self, part: &'static str, why: impl Into<String>) {
        self.lock().insert(part, why.into());
    }

    /// Says that `part` works again.
    pub fn clear(&self, part: &'static str) {
        self.lock().remove(part);
    }

    /// What fails, as `(part, why)`.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        self.lock().iter().map(|(part, why)| (*part, why.clone())).collect()
    }

    // The map is whole after each single call, so a panic elsewhere can't have left it half changed.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
