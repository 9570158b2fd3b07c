//! When a reading is due: at the interval, at once for a change of state or limit, and soon for a changed
//! current.

use wattle_wire::Milliamps;
use wattle_wire::message::Phases;

use crate::config::PaceConfig;

#[derive(Debug, Clone)]
pub(crate) struct Pace {
    config: PaceConfig,
    last_ms: Option<u64>,
    last_ma: Option<Phases<Milliamps>>,
    changed: bool,
    moved: bool,
}

impl Pace {
    pub fn new(config: PaceConfig) -> Self {
        Self { config, last_ms: None, last_ma: None, changed: true, moved: false }
    }

    /// A state or a limit has changed: a reading is due now.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// A current was measured.
    pub fn measured(&mut self, current_ma: Option<Phases<Milliamps>>) {
        self.moved = (0..3).any(|i| {
            let (new, old) = (at(current_ma, i), at(self.last_ma, i));
            (new - old).0.unsigned_abs() >= self.config.change_ma.0.max(1).unsigned_abs()
        });
    }

    /// A reading with this current goes out.
    pub fn sent(&mut self, now_ms: u64, current_ma: Option<Phases<Milliamps>>) {
        self.last_ms = Some(now_ms);
        self.last_ma = current_ma;
        self.changed = false;
        self.moved = false;
    }

    /// When the next reading is due; none when only a change makes one.
    pub fn due_ms(&self, idle: bool) -> Option<u64> {
        let Some(last) = self.last_ms.filter(|_| !self.changed) else {
            return Some(0);
        };
        let interval = if idle { self.config.idle_interval_ms } else { Some(self.config.interval_ms) };
        let regular = interval.map(|interval| last.saturating_add(interval.max(1)));
        let early = self.moved.then(|| last.saturating_add(self.config.spacing_ms));
        [regular, early].into_iter().flatten().min()
    }
}

fn at(current_ma: Option<Phases<Milliamps>>, index: usize) -> Milliamps {
    current_ma.and_then(|phases| phases.get(index)).unwrap_or_default()
}
