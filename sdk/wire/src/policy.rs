//! What a load policy sees and what it gives: the types behind the interface `wattle:load-policy`.
//!
//! A policy proposes; the edge's envelope disposes. Everything that a policy may know is in the
//! [`Snapshot`]: it has no clock, no network, no file and no randomness. Chargers and circuits refer to each
//! other by their index in the snapshot.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::message::ChargerState;
use crate::{
    CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SessionId, SiteId, UserId, WattHours,
};

/// All that a policy may know at one decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The site.
    pub site: SiteId,
    /// The moment of the decision.
    pub now_us: Micros,
    /// The time between two decisions.
    pub interval_ms: Millis,
    /// The circuits, a parent before its children; the first is the grid connection.
    pub circuits: Vec<Circuit>,
    /// The chargers in order of registration.
    pub chargers: Vec<Charger>,
    /// What comes from outside the site.
    #[serde(default)]
    pub signals: Signals,
}

/// The most circuits of a snapshot that comes from a file.
pub const MAX_CIRCUITS: usize = 1_000;
/// The most chargers of a snapshot that comes from a file.
pub const MAX_CHARGERS: usize = 10_000;

/// Why a snapshot does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// There is no grid connection.
    #[error("`circuits` is empty; the first is the grid connection")]
    NoCircuit,
    /// A circuit that doesn't stand behind the one that feeds it.
    #[error("`circuits[{0}].parent` must be an index below {0}; only the first circuit has none")]
    Parent(usize),
    /// A charger on a circuit that isn't there.
    #[error("`chargers[{0}].circuit` is no index of `circuits`")]
    Circuit(usize),
    /// A charger without phases, or with one of them twice.
    #[error(
        "`chargers[{0}].phases` has to name one to three phases, each once; all that reach it where they are not known"
    )]
    Phases(usize),
    /// More than a site has.
    #[error("`{0}` has more than {1} entries")]
    TooMany(&'static str, usize),
}

impl Snapshot {
    /// Looks whether every index leads somewhere, so that the tree can be walked.
    ///
    /// # Errors
    /// With the first that doesn't.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let stands = |(index, circuit): (usize, &Circuit)| match circuit.parent {
            Some(parent) => (parent as usize) < index,
            None => index == 0,
        };
        if self.circuits.is_empty() {
            return Err(SnapshotError::NoCircuit);
        }
        if self.circuits.len() > MAX_CIRCUITS {
            return Err(SnapshotError::TooMany("circuits", MAX_CIRCUITS));
        }
        if self.chargers.len() > MAX_CHARGERS {
            return Err(SnapshotError::TooMany("chargers", MAX_CHARGERS));
        }
        if let Some(index) = self.circuits.iter().enumerate().position(|circuit| !stands(circuit)) {
            return Err(SnapshotError::Parent(index));
        }
        if let Some(index) = self.chargers.iter().position(|c| c.circuit as usize >= self.circuits.len()) {
            return Err(SnapshotError::Circuit(index));
        }
        let wired = |charger: &Charger| {
            let times = |phase: &Phase| charger.phases.iter().filter(|other| *other == phase).count();
            !charger.phases.is_empty() && charger.phases.iter().all(|phase| times(phase) == 1)
        };
        match self.chargers.iter().position(|charger| charger.phases.len() > 3 || !wired(charger)) {
            Some(index) => Err(SnapshotError::Phases(index)),
            None => Ok(()),
        }
    }
}

/// A circuit as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// Index of the circuit that feeds it; none for the grid connection.
    pub parent: Option<u32>,
    /// What it may carry now: the least of what its breaker, its schedule and signals from outside allow, less the margin.
    pub limit_ma: PerPhase<Milliamps>,
    /// What the chargers below it may draw together: the limit less the uncontrolled load.
    pub available_ma: PerPhase<Milliamps>,
    /// What other consumers draw.
    pub uncontrolled_ma: PerPhase<Milliamps>,
    /// Whether the meter by which its load is known is silent on a phase; `available_ma` is then the fallback budget at most.
    pub stale: bool,
}

/// A charger as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charger {
    /// Its name.
    pub id: DeviceId,
    /// Index of the circuit that feeds it.
    pub circuit: u32,
    /// The phases that it loads, in the order in which it counts them; all that reach it where that is not known.
    pub phases: Vec<Phase>,
    /// What it is doing.
    pub state: ChargerState,
    /// Whether it can be reached.
    pub online: bool,
    /// The least that a vehicle charges with; 6 A by the standard.
    pub min_ma: Milliamps,
    /// The most that the charger can give.
    pub max_ma: Milliamps,
    /// Setpoints are multiples of this.
    pub step_ma: Milliamps,
    /// What it falls back to by itself.
    pub safe_ma: Milliamps,
    /// The setpoint in force.
    pub setpoint_ma: Milliamps,
    /// What it draws, on the phases of the site.
    pub draw_ma: PerPhase<Milliamps>,
    /// Higher goes first; between equals the order of registration decides.
    pub priority: i32,
    /// The stay of the vehicle that is plugged in.
    pub session: Option<Session>,
}

/// A vehicle's stay as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Who charges.
    pub user: Option<UserId>,
    /// When the vehicle was plugged in.
    pub arrived_us: Micros,
    /// When it means to leave.
    pub departure_us: Option<Micros>,
    /// What the user asked for.
    pub requested_wh: Option<WattHours>,
    /// What is still needed of that.
    pub needed_wh: Option<WattHours>,
    /// What it has been given so far.
    pub delivered_wh: WattHours,
    /// The vehicle's state of charge, percent.
    pub soc_percent: Option<i32>,
}

/// What comes from outside the site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signals {
    /// Price in millionths of the currency per kWh.
    pub price: Option<Series>,
    /// Surplus power of the site's own generation, W.
    pub surplus_w: Option<Series>,
    /// The grid operator's limit for the whole site, W.
    pub grid_limit_w: Option<Series>,
}

/// Values at equal distances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// When the first value begins to hold.
    pub start_us: Micros,
    /// How long each holds.
    pub step_ms: Millis,
    /// The values.
    pub values: Vec<i64>,
}

impl Series {
    /// The value that holds at a moment; none before the first and after the last.
    pub fn at(&self, now: Micros) -> Option<i64> {
        let step: Micros = self.step_ms.into();
        if now < self.start_us || step <= Micros::ZERO {
            return None;
        }
        let index = usize::try_from((now - self.start_us).0 / step.0).ok()?;
        self.values.get(index).copied()
    }
}

/// What a policy proposes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// At most one per charger; a charger without one is on standby.
    pub allocations: Vec<Allocation>,
    /// What the policy wants to find again at its next decision.
    pub state: Vec<u8>,
}

/// What a policy proposes for one charger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Index of the charger in the snapshot.
    pub charger: u32,
    /// The most on each of its phases; 0 is standby.
    pub limit_ma: Milliamps,
    /// Why, for people.
    pub reason: String,
}
