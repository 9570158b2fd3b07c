//! Loads, checks and runs load policies inside limits.
//!
//! A policy is a WebAssembly component of the interface `wattle:load-policy`. Its bytes are hostile, and so is
//! all that it gives. What a [`Host`] promises:
//!
//! - **Checked before compiled.** Size, the stamped interface version and the imports are read from the bytes;
//!   nothing of an unknown version or with an import other than the log reaches the compiler.
//! - **A decision is a function.** Each call starts from a fresh instance, prepared once; NaNs are canonical; there is
//!   no clock, network, file or randomness to import. The same snapshot, settings and state give the same plan and
//!   use the same fuel.
//! - **Bounded.** Fuel ends a decision at the same instruction each time. Behind it stand a deadline, for a
//!   machine so slow that the fuel outlasts it, and limits on memory, on the stack, on the log and on
//!   everything that the policy gives; [`Limits`] has them all. What breaks one is a [`RunError`] that names it.
//! - **Compiled once.** Who loads the same bytes shares the code, in memory and, with a [`Cache`], over restarts.
//!
//! ```no_run
//! # fn example(snapshot: wattle_wire::policy::Snapshot) -> Result<(), Box<dyn std::error::Error>> {
//! let host = wattle_policy_host::Host::new(wattle_policy_host::Limits::default())?;
//! let policy = host.load(&std::fs::read("target/policies/equal-share.wasm")?)?;
//! let decided = policy.decide(&snapshot, "", &[])?;
//! for allocation in decided.plan.allocations {
//!     println!("{}: {}", snapshot.chargers[allocation.charger as usize].id, allocation.reason);
//! }
//! # Ok(()) }
//! ```
//!
//! Loading compiles, which takes two tenths of a second and more for a small policy: do it on a thread that may. Deciding takes well under
//! a millisecond for a site of a hundred chargers. No type of the runtime below is public here.

mod cache;
mod check;
mod error;
mod guest;
mod host;
mod limits;
mod policy;
mod run;
pub mod schema;
mod shelf;
pub mod sign;

pub use cache::{Cache, CacheError};
pub use error::{HostError, LoadError, RunError};
pub use host::Host;
pub use limits::{Grants, Limits};
pub use policy::{Decided, Description, Need, Policy};
pub use shelf::Loads;

/// The interface versions that this host runs.
pub const INTERFACE_VERSIONS: [&str; 1] = ["1"];

/// A SHA-256.
pub type Digest = [u8; 32];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
