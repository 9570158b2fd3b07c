//! What the host grants a policy.

use std::time::Duration;

/// The longest that a call may take whatever its fuel, in deadlines: with the defaults a second, the usual control interval.
const MOST_TIMES: u32 = 20;

/// The bounds that a policy runs in. `Default` is right for an edge node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest component that is read at all, bytes. Default 4 MiB.
    pub component_bytes: usize,
    /// Fuel per call; about one unit per WebAssembly instruction. The limit that is meant to bind, because it
    /// ends a replay at the same instruction. Default 20 million.
    pub fuel: u64,
    /// How long a call may take that has so much fuel; one that has more may take as many times as long, but no more than
    /// 20 times. Checked every fifth of it. Default 50 ms.
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

/// What a policy may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// The most linear memory that it may ask for, all of an instance together, bytes; one that doesn't ask has
    /// [`Limits::memory_bytes`]. Where this is more, the component may be as large: what brings the runtime of a language with
    /// it needs both.
    pub memory_bytes: usize,
    /// The most fuel per call that it may ask for.
    pub fuel: u64,
    /// The fuel per call that it has if it doesn't ask.
    pub unasked_fuel: u64,
}

impl Limits {
    /// What a policy gets that asks for nothing.
    pub fn usual(&self) -> Grants {
        Grants { memory_bytes: self.memory_bytes, fuel: self.fuel, unasked_fuel: self.fuel }
    }

    /// The largest component that is read for a policy with these grants, bytes.
    pub fn most_component_bytes(&self, grants: Grants) -> usize {
        let granted = if grants.memory_bytes > self.memory_bytes { grants.memory_bytes } else { 0 };
        self.component_bytes.max(granted)
    }

    /// How long a call with so much fuel may take.
    pub(crate) fn deadline_of(&self, fuel: u64) -> Duration {
        self.deadline * self.times(fuel)
    }

    /// How many times as long as the deadline that is; [`MOST_TIMES`] at most.
    pub(crate) fn times(&self, fuel: u64) -> u32 {
        let times = fuel.div_ceil(self.fuel.max(1)).clamp(1, MOST_TIMES.into());
        u32::try_from(times).unwrap_or(MOST_TIMES)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_take_50_ms_and_with_more_fuel_as_many_times_as_long_up_to_a_second() {
        let limits = Limits::default();
        let check = |fuel: u64, ms: u64| {
            assert_eq!(limits.deadline_of(fuel), Duration::from_millis(ms), "{fuel} units");
        };
        check(0, 50);
        check(20_000_000, 50);
        check(20_000_001, 100);
        check(40_000_000, 100);
        check(40_000_001, 150);
        check(400_000_000, 1_000);
        check(400_000_001, 1_000);
        check(u64::MAX, 1_000);
        assert_eq!(Limits { fuel: 0, ..limits }.deadline_of(7), Duration::from_millis(350));
    }

    /// As the table of docs/policies/writing.md says.
    #[test]
    fn the_default_bounds_are_those_that_authors_are_told() {
        let expected = Limits {
            component_bytes: 4 * 1024 * 1024,
            fuel: 20_000_000,
            deadline: Duration::from_millis(50),
            memory_bytes: 16 * 1024 * 1024,
            output_bytes: 1024 * 1024,
            reason_bytes: 256,
            state_bytes: 64 * 1024,
            log_lines: 100,
            line_bytes: 512,
        };
        assert_eq!(Limits::default(), expected);
        let usual = Grants { memory_bytes: 16 << 20, fuel: 20_000_000, unasked_fuel: 20_000_000 };
        assert_eq!(expected.usual(), usual);
    }

    #[test]
    fn a_component_may_be_as_large_as_the_memory_that_was_granted_beyond_the_usual() {
        let limits = Limits::default();
        let most = |memory_bytes| limits.most_component_bytes(Grants { memory_bytes, ..limits.usual() });
        assert_eq!([8, 16, 17, 32].map(|mib| most(mib << 20) >> 20), [4, 4, 17, 32]);
    }
}
