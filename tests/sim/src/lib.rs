//! The whole line on virtual time: devices, brokers, edges, fog nodes and a lake, from a seed, with everything that can go
//! wrong. After each run every reading that was acknowledged is in the lake exactly once, or in a gap record.
//!
//! # What is real and what is modelled
//! Real, the code that ships: the firmware's machines; the edge's device and site machines, its batches, group commit,
//! journal, recovery and the sender of the way up; the segments' bytes; the fog node's checks, its intake from
//! Kafka, admission and commit. They run over
//! the journal's disk in memory, which forgets what was not synced.
//!
//! Modelled, since it keeps its own time or stands outside: the MQTT broker (QoS 1, a persistent session, a window, a bounded
//! queue), Kafka's (partitions, a group, a compacted topic), the network, the lake's tables (versions, conflicts, positions, fsync), and the order in which an actor's mailbox
//! is emptied. MQTT's and Kafka's client libraries are tested with real processes.
//!
//! # Rules
//! - One thread, one source of chance, one clock that jumps to what comes next: a seed gives the same run, event by event.
//! - A process dies before any change of its disk, or between any two steps of its commit; what it was about to say is
//!   not said.
//! - What holds is named in [`Invariant`]; [`Switch`] takes one rule away, to show that its absence would be noticed.
//! - After the last fault the world comes to rest within ten minutes of its own time, or that is a violation.

mod agenda;
mod broker;
mod check;
mod consumer;
mod device;
mod disk;
mod edge;
mod event;
mod fog;
mod invariant;
mod kafka;
mod lake;
mod link;
mod plan;
mod process;
mod random;
mod site;
mod store;
mod switch;
mod truth;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

pub use invariant::{Invariant, Violation};
pub use plan::{Fault, Plan};
pub use random::Random;
pub use switch::Switch;
pub use world::Report;

/// Runs the world of a seed to its end.
///
/// # Errors
/// What doesn't hold.
pub fn run(seed: u64) -> Result<Report, Violation> {
    world::World::new(seed, None).run(None)
}

/// Runs the world of a seed without what `switch` takes away.
///
/// # Errors
/// What doesn't hold.
pub fn run_without(switch: Switch, seed: u64) -> Result<Report, Violation> {
    world::World::new(seed, Some(switch)).run(None)
}

/// Runs the world of a seed, without something if so told, and writes down each event.
///
/// # Errors
/// What doesn't hold.
pub fn run_aloud(
    switch: Option<Switch>,
    seed: u64,
    mut write: impl FnMut(String),
) -> Result<Report, Violation> {
    world::World::new(seed, switch).run(Some(&mut write))
}

/// The command that replays a seed.
pub fn replay(seed: u64) -> String {
    format!("make sim SEED={seed}")
}

/// What became of a seed.
pub type Outcome = (u64, Result<Report, Violation>);

/// Runs many seeds from `from` on, on as many threads as the machine has; gives what became of them in order.
pub fn many(from: u64, count: u64, run: impl Fn(u64) -> Result<Report, Violation> + Sync) -> Vec<Outcome> {
    let next = AtomicU64::new(from);
    let work = || {
        let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let seeds = seeds.take_while(|seed| *seed < from + count);
        seeds.map(|seed| (seed, run(seed))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run doesn't panic")).collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}
