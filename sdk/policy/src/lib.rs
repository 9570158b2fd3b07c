//! The guest SDK: write a load policy as one trait.
//!
//! A load policy shares what a site has among the chargers that ask. It is a function of three things: the
//! [`Snapshot`] of the site, its settings (JSON text, from the site file) and the bytes of state that it has
//! left itself. It has no clock, no network, no file and no randomness, so every decision can be replayed. A
//! policy proposes; the edge node clamps, sheds and delays whatever would break a limit.
//!
//! ```
//! use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, settings};
//!
//! /// The first in line gets all that it can take.
//! struct FirstCome;
//!
//! impl Policy for FirstCome {
//!     fn describe() -> Description {
//!         Description { name: "first-come".into(), version: "1.0.0".into(), ..Description::default() }
//!     }
//!
//!     fn validate_settings(settings: &str) -> Vec<String> {
//!         settings::none(settings)
//!     }
//!
//!     fn decide(snapshot: &Snapshot, _settings: &str, _state: &[u8]) -> Result<Plan, String> {
//!         let first = snapshot.chargers.iter().position(|charger| charger.asks());
//!         let allocations = first.map(|index| Allocation {
//!             charger: index as u32,
//!             limit: snapshot.chargers[index].maximum,
//!             reason: "first in line".into(),
//!         });
//!         Ok(Plan { allocations: allocations.into_iter().collect(), state: Vec::new() })
//!     }
//! }
//!
//! wattle_policy::export!(FirstCome);
//! # fn main() {
//! use wattle_policy::kit;
//! let site = kit::Site::new([25_000, 0, 0]).asking("a").asking("b");
//! let plan = FirstCome::decide(&site.snapshot(), "", &[]).unwrap();
//! assert_eq!(kit::limits(&site.snapshot(), &plan), [32_000, 0]);
//! # }
//! ```
//!
//! Amounts are whole numbers in thousandths: a current of 6 A is `6_000`. What the words mean stands beside
//! each field in `sdk/wit/load-policy-v1/load-policy.wit`, from which the types here are made.
//!
//! - [`Policy`] and [`export!`]: the policy itself.
//! - [`room`]: who asks, and sharing what the circuits have among them, never more than that.
//! - [`stay`]: what a vehicle still needs and by when. [`signal`]: the value of a series at a time.
//! - [`memory`]: what is remembered of each stay, as bytes of state.
//! - [`settings`]: a table of settings, and their check, schema and documentation from it.
//! - [`text`]: amounts for people. [`log`]: lines for people, bounded by the host.
//! - `kit`: sites for tests on the machine that you write on (not in the component).

#[allow(missing_docs, clippy::all)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/load-policy-v1",
        world: "load-policy",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_load_policy",
        default_bindings_module: "wattle_policy::bindings",
    });
}
#[cfg(any(target_arch = "wasm32", test))]
mod heap;
mod json;
#[cfg(not(target_arch = "wasm32"))]
pub mod kit;
pub mod log;
pub mod memory;
mod policy;
pub mod room;
pub mod settings;
pub mod signal;
pub mod stay;
pub mod text;
mod types;

pub use bindings::wattle::load_policy::types::{
    Allocation, Charger, ChargerState, Circuit, Description, Need, PerPhase, Phase, Plan, Series, Session,
    Signals, Snapshot,
};
pub use policy::Policy;
#[doc(hidden)]
pub use policy::tell_panics;

/// The version of the interface that this SDK speaks: what [`export!`] stamps into the module, in a custom
/// section named `wattle:load-policy`.
///
/// ```
/// assert_eq!(wattle_policy::INTERFACE_VERSION, "1");
/// ```
pub const INTERFACE_VERSION: &str = "1";
