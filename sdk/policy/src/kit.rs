//! Sites for tests: a policy is an ordinary function, so its tests run on the machine that you write on.
//!
//! ```
//! use wattle_policy::{Phase, kit::{Site, charger}};
//!
//! let site = Site::new([30_000, 30_000, 30_000])
//!     .circuit("cellar", "grid", [16_000; 3])
//!     .load("grid", [5_000, 0, 0])
//!     .charger(charger("a").on("cellar").phases(&[Phase::L2]))
//!     .asking("b");
//! assert_eq!(site.snapshot().circuits[0].available.l1, 25_000);
//! assert_eq!(site.snapshot().chargers[0].circuit, 1);
//! ```
//!
//! A mistake in a test's site (an unknown circuit, say) is a panic that names it.

mod day;
mod random;

use crate::settings::Setting;
use crate::{Charger, ChargerState, Circuit, PerPhase, Phase, Plan, Session, Signals, Snapshot};

pub use day::{Day, Outcome};
pub use random::{Random, assert_sound};

/// A site of which snapshots are taken.
///
/// ```
/// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
/// assert_eq!((snapshot.circuits.len(), snapshot.chargers.len()), (1, 1));
/// ```
#[derive(Debug, Clone)]
pub struct Site {
    snapshot: Snapshot,
}

impl Site {
    /// A site with a grid connection named `grid`, limits in mA on L1, L2, L3, and no load.
    ///
    /// ```
    /// let snapshot = wattle_policy::kit::Site::new([20_000, 16_000, 16_000]).snapshot();
    /// assert_eq!((snapshot.circuits[0].id.as_str(), snapshot.circuits[0].available.l1), ("grid", 20_000));
    /// ```
    pub fn new(limit: [i32; 3]) -> Self {
        let grid = circuit("grid", None, limit);
        Self {
            snapshot: Snapshot {
                site: "test".into(),
                now: 1_700_000_000_000_000,
                interval_ms: 1000,
                circuits: vec![grid],
                chargers: Vec::new(),
                signals: Signals::default(),
            },
        }
    }

    /// Adds a circuit fed by `parent`, limits in mA.
    ///
    /// ```
    /// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).circuit("cellar", "grid", [10_000; 3]).snapshot();
    /// assert_eq!(snapshot.circuits[1].parent, Some(0));
    /// ```
    pub fn circuit(mut self, id: &str, parent: &str, limit: [i32; 3]) -> Self {
        let parent = self.index_of(parent);
        self.snapshot.circuits.push(circuit(id, Some(parent), limit));
        self
    }

    /// Sets what other consumers draw on a circuit, mA; what is left is available to the chargers.
    ///
    /// ```
    /// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).load("grid", [5_000, 0, 0]).snapshot();
    /// assert_eq!(snapshot.circuits[0].available.l1, 15_000);
    /// ```
    pub fn load(mut self, id: &str, uncontrolled: [i32; 3]) -> Self {
        let index = self.index_of(id) as usize;
        let circuit = &mut self.snapshot.circuits[index];
        circuit.uncontrolled = uncontrolled.into();
        circuit.available = PerPhase {
            l1: circuit.limit.l1 - circuit.uncontrolled.l1,
            l2: circuit.limit.l2 - circuit.uncontrolled.l2,
            l3: circuit.limit.l3 - circuit.uncontrolled.l3,
        };
        self
    }

    /// Adds a charger.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// let snapshot = Site::new([20_000; 3]).charger(charger("a").priority(2)).snapshot();
    /// assert_eq!(snapshot.chargers[0].priority, 2);
    /// ```
    pub fn charger(mut self, new: NewCharger) -> Self {
        let circuit = self.index_of(&new.circuit);
        self.snapshot.chargers.push(Charger { circuit, ..new.charger });
        self
    }

    /// Adds a charger on L1 of the grid connection with a vehicle that asks.
    ///
    /// ```
    /// let snapshot = wattle_policy::kit::Site::new([20_000; 3]).asking("a").snapshot();
    /// assert!(snapshot.chargers[0].asks());
    /// ```
    pub fn asking(self, id: &str) -> Self {
        self.charger(charger(id))
    }

    /// Sets what comes from outside the site.
    ///
    /// ```
    /// use wattle_policy::{Series, Signals, kit::Site};
    ///
    /// let price = Series { start: 0, step_ms: 3_600_000, values: vec![250_000] };
    /// let site = Site::new([20_000; 3]).signals(Signals { price: Some(price), ..Signals::default() });
    /// assert_eq!(site.snapshot().signals.price.unwrap().values, [250_000]);
    /// ```
    pub fn signals(mut self, signals: Signals) -> Self {
        self.snapshot.signals = signals;
        self
    }

    /// Lets time pass.
    ///
    /// ```
    /// let site = wattle_policy::kit::Site::new([20_000; 3]);
    /// assert_eq!(site.clone().after_seconds(2).snapshot().now - site.snapshot().now, 2_000_000);
    /// ```
    pub fn after_seconds(mut self, seconds: i64) -> Self {
        self.snapshot.now += seconds * 1_000_000;
        self
    }

    /// What a policy sees of the site.
    ///
    /// ```
    /// assert_eq!(wattle_policy::kit::Site::new([20_000; 3]).snapshot().site, "test");
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn index_of(&self, id: &str) -> u32 {
        let found = self.snapshot.circuits.iter().position(|circuit| circuit.id == id);
        found.unwrap_or_else(|| panic!("the test's site has no circuit `{id}`")) as u32
    }
}

fn circuit(id: &str, parent: Option<u32>, limit: [i32; 3]) -> Circuit {
    Circuit {
        id: id.into(),
        parent,
        limit: limit.into(),
        available: limit.into(),
        uncontrolled: [0; 3].into(),
        stale: false,
    }
}

/// A charger on its way into a [`Site`]; see [`charger()`].
///
/// ```
/// use wattle_policy::kit::{NewCharger, Site, charger};
///
/// let idle = |id: &str| -> NewCharger { charger(id).offline() };
/// assert!(!Site::new([0; 3]).charger(idle("a")).snapshot().chargers[0].asks());
/// ```
#[derive(Debug, Clone)]
pub struct NewCharger {
    circuit: String,
    charger: Charger,
}

/// A charger on L1 of the grid connection, 6 to 32 A in steps of 1 A, priority 0, with a vehicle that asks.
///
/// ```
/// use wattle_policy::kit::{Site, charger};
///
/// let one = &Site::new([20_000; 3]).charger(charger("a")).snapshot().chargers[0];
/// assert_eq!((one.minimum, one.maximum, one.step), (6_000, 32_000, 1_000));
/// ```
pub fn charger(id: &str) -> NewCharger {
    let session = Session {
        id: format!("{id}-1"),
        user: None,
        arrived: 1_700_000_000_000_000,
        departure: None,
        requested: None,
        needed: None,
        delivered: 0,
        state_of_charge: None,
    };
    NewCharger {
        circuit: "grid".into(),
        charger: Charger {
            id: id.into(),
            circuit: 0,
            phases: vec![Phase::L1],
            state: ChargerState::Waiting,
            online: true,
            minimum: 6_000,
            maximum: 32_000,
            step: 1_000,
            safe: 0,
            setpoint: 0,
            draw: [0; 3].into(),
            priority: 0,
            session: Some(session),
        },
    }
}

impl NewCharger {
    /// Hangs it on a circuit.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// let site = Site::new([20_000; 3]).circuit("cellar", "grid", [10_000; 3]).charger(charger("a").on("cellar"));
    /// assert_eq!(site.snapshot().chargers[0].circuit, 1);
    /// ```
    pub fn on(mut self, circuit: &str) -> Self {
        self.circuit = circuit.into();
        self
    }

    /// Wires it to these phases, in its own order.
    ///
    /// ```
    /// use wattle_policy::{Phase, kit::{Site, charger}};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").phases(&[Phase::L2, Phase::L3, Phase::L1]));
    /// assert_eq!(site.snapshot().chargers[0].phases[0], Phase::L2);
    /// ```
    pub fn phases(self, phases: &[Phase]) -> Self {
        self.with(|charger| charger.phases = phases.to_vec())
    }

    /// Sets minimum, maximum and step, mA.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(8_000, 16_000, 2_000));
    /// assert_eq!(site.snapshot().chargers[0].maximum, 16_000);
    /// ```
    pub fn range(self, minimum: i32, maximum: i32, step: i32) -> Self {
        self.with(|charger| (charger.minimum, charger.maximum, charger.step) = (minimum, maximum, step))
    }

    /// Sets its priority; higher goes first.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// assert_eq!(Site::new([0; 3]).charger(charger("a").priority(7)).snapshot().chargers[0].priority, 7);
    /// ```
    pub fn priority(self, priority: i32) -> Self {
        self.with(|charger| charger.priority = priority)
    }

    /// Sets what it is doing.
    ///
    /// ```
    /// use wattle_policy::{ChargerState, kit::{Site, charger}};
    ///
    /// let site = Site::new([0; 3]).charger(charger("a").state(ChargerState::Charging));
    /// assert!(site.snapshot().chargers[0].asks());
    /// ```
    pub fn state(self, state: ChargerState) -> Self {
        self.with(|charger| charger.state = state)
    }

    /// Lets it be out of reach.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// assert!(!Site::new([0; 3]).charger(charger("a").offline()).snapshot().chargers[0].online);
    /// ```
    pub fn offline(self) -> Self {
        self.with(|charger| charger.online = false)
    }

    /// Changes whatever else there is to change.
    ///
    /// ```
    /// use wattle_policy::kit::{Site, charger};
    ///
    /// let site = Site::new([0; 3]).charger(charger("a").with(|charger| charger.setpoint = 6_000));
    /// assert_eq!(site.snapshot().chargers[0].setpoint, 6_000);
    /// ```
    pub fn with(mut self, change: impl FnOnce(&mut Charger)) -> Self {
        change(&mut self.charger);
        self
    }
}

/// The limit of every charger of the snapshot, mA, in its order; 0 for those without an allocation.
///
/// # Panics
/// When the plan names a charger that isn't there, or one of them twice: the host refuses such a plan.
///
/// ```
/// use wattle_policy::{Allocation, Plan, kit::{Site, limits}};
///
/// let snapshot = Site::new([20_000; 3]).asking("a").asking("b").snapshot();
/// let allocation = Allocation { charger: 1, limit: 6_000, reason: "6 A".into() };
/// assert_eq!(limits(&snapshot, &Plan { allocations: vec![allocation], state: vec![] }), [0, 6_000]);
/// ```
pub fn limits(snapshot: &Snapshot, plan: &Plan) -> Vec<i32> {
    let mut limits = vec![None; snapshot.chargers.len()];
    for allocation in &plan.allocations {
        let slot = limits.get_mut(allocation.charger as usize);
        let slot = slot.unwrap_or_else(|| panic!("the plan names charger {}", allocation.charger));
        assert!(slot.is_none(), "the plan names charger {} twice", allocation.charger);
        *slot = Some(allocation.limit);
    }
    limits.into_iter().map(|limit| limit.unwrap_or(0)).collect()
}

/// Panics unless the plan keeps within what is available on every phase of every circuit, and every limit
/// is 0 or a whole number of the charger's steps between its minimum and maximum.
///
/// ```
/// use wattle_policy::{Allocation, Plan, kit::{Site, assert_fits}};
///
/// let snapshot = Site::new([20_000; 3]).asking("a").snapshot();
/// let give = |limit| Plan {
///     allocations: vec![Allocation { charger: 0, limit, reason: "all".into() }],
///     state: vec![],
/// };
/// assert_fits(&snapshot, &give(20_000));
/// assert!(std::panic::catch_unwind(|| assert_fits(&snapshot, &give(21_000))).is_err());
/// ```
pub fn assert_fits(snapshot: &Snapshot, plan: &Plan) {
    let limits = limits(snapshot, plan);
    for (charger, limit) in snapshot.chargers.iter().zip(&limits) {
        let range = charger.minimum..=charger.maximum;
        assert!(*limit == 0 || range.contains(limit), "{} gets {limit} mA of {range:?}", charger.id);
        let step = charger.step.max(1);
        assert!(limit % step == 0, "{} gets {limit} mA in steps of {step}", charger.id);
    }
    for (index, circuit) in snapshot.circuits.iter().enumerate() {
        for phase in Phase::ALL {
            let below = snapshot.chargers.iter().zip(&limits).filter(|(charger, _)| {
                charger.phases.contains(&phase) && hangs_below(snapshot, charger.circuit, index as u32)
            });
            let sum: i64 = below.map(|(_, limit)| i64::from(*limit)).sum();
            let available = i64::from(circuit.available.on(phase).max(0));
            assert!(sum <= available, "{} {}: {sum} mA of {available}", circuit.id, phase.name());
        }
    }
}

/// Panics unless a page of documentation has the row of each setting, as [`Setting::row`] writes it.
///
/// ```
/// use wattle_policy::{kit::assert_documents, settings::Setting};
///
/// let slots = Setting::number("slots", 2, 1..=9, "vehicles", "how many");
/// assert_documents("| `slots` | vehicles | 2 | 1 to 9 | how many |", &[slots]);
/// ```
pub fn assert_documents(page: &str, table: &[Setting]) {
    for setting in table {
        let row = setting.row();
        assert!(page.lines().any(|line| line == row), "the page lacks the row\n{row}");
    }
}

fn hangs_below(snapshot: &Snapshot, circuit: u32, above: u32) -> bool {
    let mut at = Some(circuit);
    while let Some(index) = at {
        if index == above {
            return true;
        }
        at = snapshot.circuits[index as usize].parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Allocation;

    fn plan(limits: &[(u32, i32)]) -> Plan {
        let allocations = limits.iter().map(|(charger, limit)| Allocation {
            charger: *charger,
            limit: *limit,
            reason: String::new(),
        });
        Plan { allocations: allocations.collect(), state: Vec::new() }
    }

    fn site() -> Site {
        Site::new([30_000; 3])
            .circuit("cellar", "grid", [16_000; 3])
            .load("grid", [5_000, 0, 0])
            .charger(charger("a").on("cellar"))
            .asking("b")
    }

    #[test]
    fn a_plan_that_fits_every_circuit_passes() {
        assert_fits(&site().snapshot(), &plan(&[(0, 16_000), (1, 9_000)]));
    }

    #[test]
    #[should_panic(expected = "cellar L1: 17000 mA of 16000")]
    fn a_plan_beyond_a_sub_board_is_found() {
        assert_fits(&site().snapshot(), &plan(&[(0, 17_000)]));
    }

    #[test]
    #[should_panic(expected = "grid L1: 26000 mA of 25000")]
    fn a_plan_beyond_the_grid_connection_is_found() {
        assert_fits(&site().snapshot(), &plan(&[(0, 16_000), (1, 10_000)]));
    }

    #[test]
    #[should_panic(expected = "a gets 5000 mA")]
    fn a_limit_below_the_minimum_is_found() {
        assert_fits(&site().snapshot(), &plan(&[(0, 5_000)]));
    }

    #[test]
    #[should_panic(expected = "a gets 6500 mA in steps of 1000")]
    fn a_limit_between_two_steps_is_found() {
        assert_fits(&site().snapshot(), &plan(&[(0, 6_500)]));
    }

    #[test]
    fn a_page_has_to_have_the_row_of_each_setting() {
        let table = [Setting::number("slots", 2, 1..=9, "vehicles", "how many")];
        assert_documents("text\n| `slots` | vehicles | 2 | 1 to 9 | how many |\n", &table);
        let old = std::panic::catch_unwind(|| assert_documents("| `slots` | vehicles | 3 |", &table));
        assert!(old.is_err());
    }

    #[test]
    #[should_panic(expected = "names charger 1 twice")]
    fn a_charger_named_twice_is_found() {
        limits(&site().snapshot(), &plan(&[(1, 6_000), (1, 6_000)]));
    }
}
