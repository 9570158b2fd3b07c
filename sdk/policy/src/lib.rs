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

/// The most that one charger may draw on each of its phases, and why.
///
/// ```
/// use wattle_policy::Allocation;
///
/// let ten = Allocation { charger: 0, limit: 10_000, reason: "an even share".into() };
/// assert_eq!(ten.limit / 1_000, 10);
/// ```
pub use bindings::wattle::load_policy::types::Allocation;
/// A charger, with the vehicle at it.
///
/// ```
/// use wattle_policy::Charger;
///
/// let site = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
/// let charger: &Charger = &site.chargers[0];
/// assert_eq!((charger.id.as_str(), charger.minimum, charger.maximum, charger.step), ("a", 6_000, 32_000, 1_000));
/// ```
pub use bindings::wattle::load_policy::types::Charger;
/// What a charger does.
///
/// ```
/// use wattle_policy::ChargerState;
/// use wattle_policy::kit::{Site, charger};
///
/// let site = Site::new([20_000; 3]).charger(charger("a").state(ChargerState::Faulted)).snapshot();
/// assert_eq!(site.chargers[0].state, ChargerState::Faulted);
/// ```
pub use bindings::wattle::load_policy::types::ChargerState;
/// A circuit, with what its chargers may draw together.
///
/// ```
/// use wattle_policy::Circuit;
///
/// let site = wattle_policy::kit::Site::new([20_000; 3]).load("grid", [5_000; 3]).snapshot();
/// let grid: &Circuit = &site.circuits[0];
/// assert_eq!((grid.limit.l1, grid.uncontrolled.l1, grid.available.l1), (20_000, 5_000, 15_000));
/// ```
pub use bindings::wattle::load_policy::types::Circuit;
/// What a policy says of itself.
///
/// ```
/// use wattle_policy::Description;
///
/// let mine = Description { name: "mine".into(), version: "1.0.0".into(), ..Description::default() };
/// assert_eq!((mine.memory, mine.fuel), (0, 0));
/// ```
pub use bindings::wattle::load_policy::types::Description;
/// What of the snapshot a policy can't do without.
///
/// ```
/// use wattle_policy::Need;
/// use wattle_policy::Description;
///
/// let priced = Description { needs: vec![Need::Price, Need::Departure], ..Description::default() };
/// assert!(priced.needs.contains(&Need::Price));
/// ```
pub use bindings::wattle::load_policy::types::Need;
/// A current on each phase of the site.
///
/// ```
/// use wattle_policy::PerPhase;
///
/// let limit = PerPhase { l1: 16_000, l2: 16_000, l3: 10_000 };
/// assert_eq!(PerPhase::from([16_000, 16_000, 10_000]), limit);
/// ```
pub use bindings::wattle::load_policy::types::PerPhase;
/// A phase of the site.
///
/// ```
/// use wattle_policy::Phase;
/// use wattle_policy::kit::{Site, charger};
///
/// let site = Site::new([20_000; 3]).charger(charger("a").phases(&[Phase::L3])).snapshot();
/// assert_eq!(site.chargers[0].phases, [Phase::L3]);
/// ```
pub use bindings::wattle::load_policy::types::Phase;
/// What a policy gives: at most one allocation for each charger, and its state.
///
/// ```
/// use wattle_policy::Plan;
///
/// let nobody_charges = Plan { allocations: Vec::new(), state: Vec::new() };
/// let site = wattle_policy::kit::Site::new([20_000; 3]).asking("a");
/// assert_eq!(wattle_policy::kit::limits(&site.snapshot(), &nobody_charges), [0]);
/// ```
pub use bindings::wattle::load_policy::types::Plan;
/// Values at equal distances.
///
/// ```
/// use wattle_policy::Series;
///
/// let price = Series { start: 0, step_ms: 3_600_000, values: vec![300_000, 100_000] };
/// assert_eq!(price.at(3_600_000_000), Some(100_000), "the second hour");
/// ```
pub use bindings::wattle::load_policy::types::Series;
/// What is known of a vehicle's stay.
///
/// ```
/// use wattle_policy::Session;
///
/// let stay = Session {
///     id: "s-1".into(),
///     user: None,
///     arrived: 0,
///     departure: Some(4 * 3_600_000_000),
///     requested: Some(20_000),
///     needed: Some(15_000),
///     delivered: 5_000,
///     state_of_charge: None,
/// };
/// let site = wattle_policy::kit::Site::new([20_000; 3])
///     .charger(wattle_policy::kit::charger("a").with(|charger| charger.session = Some(stay)));
/// assert_eq!(site.snapshot().chargers[0].session.as_ref().and_then(|stay| stay.needed), Some(15_000));
/// ```
pub use bindings::wattle::load_policy::types::Session;
/// What the site is told from outside: prices, surplus, the grid operator's limit.
///
/// ```
/// use wattle_policy::Signals;
/// use wattle_policy::Series;
///
/// let surplus = Series { start: 0, step_ms: 900_000, values: vec![4_600] };
/// let signals = Signals { surplus: Some(surplus), ..Signals::default() };
/// let site = wattle_policy::kit::Site::new([20_000; 3]).signals(signals);
/// assert!(site.snapshot().signals.surplus.is_some());
/// ```
pub use bindings::wattle::load_policy::types::Signals;
/// All that a policy sees.
///
/// ```
/// use wattle_policy::Snapshot;
///
/// let site: Snapshot = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
/// assert_eq!((site.circuits.len(), site.chargers.len()), (1, 1));
/// ```
pub use bindings::wattle::load_policy::types::Snapshot;
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
