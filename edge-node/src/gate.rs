//! How often a line may be written to the log.
//!
//! A broken device can send a thousand bad payloads a second. Each becomes a row in the journal, bounded by
//! the journal's budget; in the log only the first few stand, and then how many were left out.

use std::time::{Duration, Instant};

/// Lines that may be written at once.
const BURST: u32 = 10;
/// After how long all of them may be written again.
const WINDOW: Duration = Duration::from_secs(10);

/// Lets through ten lines per ten seconds.
#[derive(Debug)]
pub struct Gate {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Gate {
    /// A gate that has let nothing through yet.
    pub fn new(now: Instant) -> Self {
        Self { since: now, written: 0, left_out: 0 }
    }

    /// Whether a line may be written; if so, how many were left out since the last one.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.written) = (now, 0);
        }
        if self.written >= BURST {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_lines_the_rest_is_counted() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let written = (0..100).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(gate.pass(start + WINDOW), Some(90));
        assert_eq!(gate.pass(start + WINDOW), Some(0));
    }
}
