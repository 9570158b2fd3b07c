//! What the host grants a policy.

use std::time::Duration;

/// The bounds that a policy runs in. `Default` is right for an edge node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest component that is read at all, bytes. Default 4 MiB.
    pub component_bytes: usize,
    /// Fuel per call; about one unit per WebAssembly instruction. The limit that is meant to bind, because it
    /// ends a replay at the same instruction. Default 20 million.
    pub fuel: u64,
    /// How long a call may take that has so much fuel; one that was granted more has as many times as long. Checked every
    /// fifth of it. Default 50 ms.
    pub deadline: Duration,
    /// All linear memory of an instance together, bytes. Default 16 MiB.
    pub memory_bytes: usize,
    /// The most that a policy may give back in one call, bytes, its log lines counted one by one. Default 1 MiB.
    pub output_bytes: usize,
    /// The longest reason of an allocation, bytes. Default 256.
    pub reason_bytes: usize,
    /// The longest state, bytes. Default 64 KiB.
    pub state_bytes: usize,
    /// Lines of log per call; further ones are dropped. Default 100.
    pub log_lines: usize,
    /// The longest line of log, refusal or fault, bytes; the rest is cut. Default 512.
    pub line_bytes: usize,
}

/// The most that a policy may have, where that is not what [`Limits`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// All linear memory of an instance together, bytes. A policy that doesn't ask for more has [`Limits::memory_bytes`].
    pub memory_bytes: usize,
    /// Fuel per call. A policy that doesn't ask for less has all of it.
    pub fuel: u64,
}

impl Limits {
    /// What a policy may have to which nothing else was granted.
    pub fn allowance(&self) -> Allowance {
        Allowance { memory_bytes: self.memory_bytes, fuel: self.fuel }
    }

    /// How long a call with so much fuel may take.
    pub(crate) fn deadline_of(&self, fuel: u64) -> Duration {
        self.deadline * self.times(fuel)
    }

    /// How many times as long as the deadline that is.
    pub(crate) fn times(&self, fuel: u64) -> u32 {
        u32::try_from(fuel.div_ceil(self.fuel.max(1))).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 4 << 20,
            fuel: 20_000_000,
            deadline: Duration::from_millis(50),
            memory_bytes: 16 << 20,
            output_bytes: 1 << 20,
            reason_bytes: 256,
            state_bytes: 64 << 10,
            log_lines: 100,
            line_bytes: 512,
        }
    }
}
