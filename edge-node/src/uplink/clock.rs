//! The time of one connection: microseconds since it began.

use std::time::{Duration, Instant};

use wattle_wire::Micros;

/// Never goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Micros {
        Micros(i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// How long it is until a moment; nothing when it is past.
    pub(super) fn until(&self, moment: Micros) -> Duration {
        Duration::from_micros(u64::try_from((moment - self.now()).0).unwrap_or(0))
    }
}
