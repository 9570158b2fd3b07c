//! What a site is: plain data, made from the site file by whoever runs the machine.

use wattle_wire::{
    CircuitId, DeviceId, Milliamps, Millis, Millivolts, PerPhase, Phase, SiteId, UserId, Watts,
};

use wattle_wire::signal::Right;

use super::calendar::{LocalTime, Window};
use super::limits::Limit;

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteModel {
    /// Its name.
    pub id: SiteId,
    /// How it is controlled.
    pub control: Control,
    /// The circuits, a parent before its children; the first is the grid connection.
    pub circuits: Vec<Circuit>,
    /// The meters, at most one per circuit.
    pub meters: Vec<Meter>,
    /// The chargers in order of registration.
    pub chargers: Vec<Charger>,
    /// What is agreed with users; who isn't here has no agreement.
    pub users: Vec<User>,
    /// Who may tell the site something from outside, at most [`MAX_SYSTEMS`].
    pub systems: Vec<System>,
    /// The site's clocks, for timers and schedules.
    pub local_time: LocalTime,
}

/// How a site is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The time between two decisions.
    pub interval_ms: Millis,
    /// How long a setpoint holds.
    pub validity_ms: Millis,
    /// How long a raise has to be wanted before it is given.
    pub raise_delay_ms: Millis,
    /// After this long without a plausible reading a meter is stale, and a charger's draw forgotten.
    pub meter_stale_ms: Millis,
    /// How long a vehicle draws less than it may before what it leaves is lent; zero for never.
    pub lend_after_ms: Millis,
    /// How much a setpoint rises in a second; zero for at once.
    pub raise_ramp_ma_per_s: Milliamps,
    /// How much more than its minimum has to be free before a vehicle on standby charges again.
    pub resume_room_ma: Milliamps,
    /// How long a vehicle charges before a policy may put it on standby.
    pub least_on_ms: Millis,
    /// How long a vehicle stays on standby.
    pub least_off_ms: Millis,
    /// The voltage by which limits in W become currents.
    pub nominal_mv: Millivolts,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            interval_ms: Millis(1_000),
            validity_ms: Millis(10_000),
            raise_delay_ms: Millis(5_000),
            meter_stale_ms: Millis(10_000),
            lend_after_ms: Millis(30_000),
            raise_ramp_ma_per_s: Milliamps::ZERO,
            resume_room_ma: Milliamps::from_amps(1),
            least_on_ms: Millis(0),
            least_off_ms: Millis(60_000),
            nominal_mv: Millivolts(230_000),
        }
    }
}

/// A circuit of the site's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// Index of the circuit that feeds it.
    pub parent: Option<usize>,
    /// What its breaker allows on each phase.
    pub limit_ma: PerPhase<Milliamps>,
    /// What is left free below the limit.
    pub margin_ma: Milliamps,
    /// What its chargers may draw together on each phase while its meter is stale.
    pub fallback_ma: Milliamps,
    /// Whether something on it or below it generates, so that the other load may be below zero.
    pub generation: bool,
    /// Lower limits at some hours.
    pub schedule: Vec<(Window, Limit)>,
}

/// A meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its device.
    pub id: DeviceId,
    /// Index of the circuit that it measures, all of it.
    pub circuit: usize,
    /// How old what it says may be when it comes, besides half an interval that any message may take.
    pub lag_ms: Millis,
}

/// A charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charger {
    /// Its device.
    pub id: DeviceId,
    /// Index of the circuit that feeds it.
    pub circuit: usize,
    /// The phases it is wired to, in the order in which it counts them; none if that is not known: it then
    /// counts on all that reach it.
    pub phases: Option<Vec<Phase>>,
    /// The phases that reach it: those that all circuits on its way have. A machine finds them itself.
    pub reach: Vec<Phase>,
    /// The least that a vehicle charges with.
    pub min_ma: Milliamps,
    /// The most that it can give.
    pub max_ma: Milliamps,
    /// The most that it may take from all its phases together.
    pub max_power: Option<Watts>,
    /// Setpoints are multiples of this.
    pub step_ma: Milliamps,
    /// What it falls back to by itself.
    pub safe_ma: Milliamps,
    /// Higher goes first; between equals the order of registration decides.
    pub priority: i32,
    /// When it may charge; always if there is no window.
    pub timer: Vec<Window>,
    /// What it gets, as far as it fits, whatever a policy says.
    pub manual_ma: Option<Milliamps>,
}

/// What is agreed with a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The highest power to charge with.
    pub max_power: Option<Watts>,
    /// Instead of the charger's priority.
    pub priority: Option<i32>,
}

/// The most systems of a site; what those beyond say is passed over.
pub const MAX_SYSTEMS: usize = 16;

/// Who may tell the site something from outside: an energy management system, the grid operator, people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Its login.
    pub id: DeviceId,
    /// What it may signal.
    pub may: Vec<Right>,
}

/// What a device, or another thing that an input is about, is in its site's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The meter with this index.
    Meter(usize),
    /// The charger with this index.
    Charger(usize),
    /// The system with this index.
    System(usize),
    /// Not a device: the circuit with this index.
    Circuit(usize),
    /// Not a device: the site.
    Site,
}

/// Why a model can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no grid connection.
    #[error("the site has no circuit; give at least the grid connection")]
    NoCircuit,
    /// A parent that doesn't stand before its child, or a second root.
    #[error("circuit {0} names no circuit before it as its parent; list a parent before its children")]
    Order(CircuitId),
    /// A device on a circuit that isn't there.
    #[error("device {0} hangs on a circuit that doesn't exist")]
    NoSuchCircuit(DeviceId),
    /// Two devices with one name, or two meters on one circuit.
    #[error("device {0} is there twice, or is a second meter of its circuit")]
    Twice(DeviceId),
    /// A charger could be told its minimum by no whole step.
    #[error("the minimum of charger {0} is no whole number of its steps; round it up")]
    Minimum(DeviceId),
    /// A timing, step or voltage of control that is not above zero (where that means something, zero may be).
    #[error("a control timing is not above zero, or another control setting or a meter's lag is below")]
    Control,
}

impl SiteModel {
    /// What a device is here; none if the site doesn't know it.
    pub fn part(&self, device: &DeviceId) -> Option<Part> {
        let meter = self.meters.iter().position(|meter| meter.id == *device).map(Part::Meter);
        let charger = || self.chargers.iter().position(|charger| charger.id == *device).map(Part::Charger);
        let system = || self.systems.iter().position(|system| system.id == *device).map(Part::System);
        meter.or_else(charger).or_else(system)
    }

    /// Looks for what would make the machine trip.
    ///
    /// # Errors
    /// With the first such thing.
    pub fn check(&self) -> Result<(), ModelError> {
        let control = &self.control;
        let above_zero = [control.interval_ms, control.validity_ms, control.meter_stale_ms];
        let not_below =
            [control.raise_delay_ms, control.lend_after_ms, control.least_on_ms, control.least_off_ms];
        if above_zero.iter().any(|length| length.0 <= 0)
            || not_below.iter().any(|length| length.0 < 0)
            || control.raise_ramp_ma_per_s.min(control.resume_room_ma) < Milliamps::ZERO
            || control.nominal_mv.0 <= 0
            || self.meters.iter().any(|meter| meter.lag_ms.0 < 0)
        {
            return Err(ModelError::Control);
        }
        let root = self.circuits.first().ok_or(ModelError::NoCircuit)?;
        if root.parent.is_some() {
            return Err(ModelError::Order(root.id.clone()));
        }
        for (index, circuit) in self.circuits.iter().enumerate().skip(1) {
            if circuit.parent.is_none_or(|parent| parent >= index) {
                return Err(ModelError::Order(circuit.id.clone()));
            }
        }
        self.check_devices()
    }

    fn check_devices(&self) -> Result<(), ModelError> {
        let mut names = std::collections::BTreeSet::new();
        let mut metered = std::collections::BTreeSet::new();
        let meters = self.meters.iter().map(|meter| (&meter.id, meter.circuit));
        for (id, circuit) in meters.clone().chain(self.chargers.iter().map(|c| (&c.id, c.circuit))) {
            if circuit >= self.circuits.len() {
                return Err(ModelError::NoSuchCircuit(id.clone()));
            }
            if !names.insert(id) {
                return Err(ModelError::Twice(id.clone()));
            }
        }
        if let Some(twice) = self.systems.iter().find(|system| !names.insert(&system.id)) {
            return Err(ModelError::Twice(twice.id.clone()));
        }
        let is_whole = |charger: &&Charger| charger.min_ma == charger.min_ma.floor_to(charger.step_ma);
        if let Some(charger) = self.chargers.iter().find(|charger| !is_whole(charger)) {
            return Err(ModelError::Minimum(charger.id.clone()));
        }
        for (id, circuit) in meters {
            if !metered.insert(circuit) {
                return Err(ModelError::Twice(id.clone()));
            }
        }
        Ok(())
    }

    /// Finds the phases that reach each charger. Where its circuits have none in common nothing fits, whichever it counts on.
    pub(super) fn find_reach(&mut self) {
        for index in 0..self.chargers.len() {
            let path = self.path(self.chargers[index].circuit);
            let is_there = |phase: &Phase| path.iter().all(|circuit| self.circuits[*circuit].has(*phase));
            let reach: Vec<Phase> = Phase::ALL.into_iter().filter(is_there).collect();
            self.chargers[index].reach = if reach.is_empty() { Phase::ALL.to_vec() } else { reach };
        }
    }

    /// The circuits from a circuit up to the grid connection.
    pub fn path(&self, circuit: usize) -> Vec<usize> {
        std::iter::successors(Some(circuit), |index| self.circuits[*index].parent).collect()
    }
}

impl Circuit {
    /// A circuit of consumers with this limit, and nothing else said of it.
    pub fn new(id: CircuitId, parent: Option<usize>, limit_ma: PerPhase<Milliamps>) -> Self {
        Self {
            id,
            parent,
            limit_ma,
            margin_ma: Milliamps::ZERO,
            fallback_ma: Milliamps::ZERO,
            generation: false,
            schedule: Vec::new(),
        }
    }

    /// Whether it has this phase.
    pub fn has(&self, phase: Phase) -> bool {
        self.limit_ma[phase] > Milliamps::ZERO
    }
}

impl Charger {
    /// A charger of 6 to 32 A in whole amperes, of unknown wiring, and nothing else said of it.
    pub fn new(id: DeviceId, circuit: usize) -> Self {
        Self {
            id,
            circuit,
            phases: None,
            reach: Phase::ALL.to_vec(),
            min_ma: Milliamps::from_amps(6),
            max_ma: Milliamps::from_amps(32),
            max_power: None,
            step_ma: Milliamps::from_amps(1),
            safe_ma: Milliamps::ZERO,
            priority: 0,
            timer: Vec::new(),
            manual_ma: None,
        }
    }

    /// The phases that it counts on.
    pub fn wired(&self) -> &[Phase] {
        self.said_phases().unwrap_or(&self.reach)
    }

    /// Whether it is known which phases it loads: they are said, or there is no other.
    pub fn wiring_is_known(&self) -> bool {
        self.said_phases().is_some() || self.reach.len() == 1
    }

    /// The phases that it is said to be wired to.
    pub(super) fn said_phases(&self) -> Option<&[Phase]> {
        self.phases.as_deref().filter(|phases| !phases.is_empty())
    }
}
