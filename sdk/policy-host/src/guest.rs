//! The records of `wattle:load-policy` version 1 as the runtime lowers and lifts them, and the way to and from
//! the wire types. The field names are those of the interface; the runtime compares them at load.

use wasmtime::component::{ComponentType, Lift, Lower};
use wattle_wire::message::ChargerState as WireState;
use wattle_wire::{self as wire, Milliamps};

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub struct PerPhase {
    l1: i32,
    l2: i32,
    l3: i32,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Phase {
    #[component(name = "l1")]
    L1,
    #[component(name = "l2")]
    L2,
    #[component(name = "l3")]
    L3,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum ChargerState {
    #[component(name = "available")]
    Available,
    #[component(name = "plugged")]
    Plugged,
    #[component(name = "waiting")]
    Waiting,
    #[component(name = "charging")]
    Charging,
    #[component(name = "finished")]
    Finished,
    #[component(name = "faulted")]
    Faulted,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Circuit<'a> {
    id: &'a str,
    parent: Option<u32>,
    limit: PerPhase,
    available: PerPhase,
    uncontrolled: PerPhase,
    stale: bool,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Session<'a> {
    id: &'a str,
    user: Option<&'a str>,
    arrived: i64,
    departure: Option<i64>,
    requested: Option<i64>,
    needed: Option<i64>,
    delivered: i64,
    #[component(name = "state-of-charge")]
    state_of_charge: Option<i32>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Charger<'a> {
    id: &'a str,
    circuit: u32,
    phases: Vec<Phase>,
    state: ChargerState,
    online: bool,
    minimum: i32,
    maximum: i32,
    step: i32,
    safe: i32,
    setpoint: i32,
    draw: PerPhase,
    priority: i32,
    session: Option<Session<'a>>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Series<'a> {
    start: i64,
    #[component(name = "step-ms")]
    step_ms: i64,
    values: &'a [i64],
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Signals<'a> {
    price: Option<Series<'a>>,
    surplus: Option<Series<'a>>,
    #[component(name = "grid-limit")]
    grid_limit: Option<Series<'a>>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub struct Snapshot<'a> {
    site: &'a str,
    now: i64,
    #[component(name = "interval-ms")]
    interval_ms: i64,
    circuits: Vec<Circuit<'a>>,
    chargers: Vec<Charger<'a>>,
    signals: Signals<'a>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Allocation {
    pub charger: u32,
    pub limit: i32,
    pub reason: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Plan {
    pub allocations: Vec<Allocation>,
    pub state: Vec<u8>,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Need {
    #[component(name = "departure")]
    Departure,
    #[component(name = "requested-energy")]
    RequestedEnergy,
    #[component(name = "state-of-charge")]
    StateOfCharge,
    #[component(name = "price")]
    Price,
    #[component(name = "surplus")]
    Surplus,
    #[component(name = "grid-limit")]
    GridLimit,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub needs: Vec<Need>,
    #[component(name = "settings-schema")]
    pub settings_schema: String,
    pub memory: u64,
    pub fuel: u64,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the runtime makes them when it lifts")]
pub enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
}

impl Level {
    /// As it stands before a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

impl<'a> From<&'a wire::policy::Snapshot> for Snapshot<'a> {
    fn from(snapshot: &'a wire::policy::Snapshot) -> Self {
        Self {
            site: snapshot.site.as_str(),
            now: snapshot.now_us.0,
            interval_ms: snapshot.interval_ms.0,
            circuits: snapshot.circuits.iter().map(Into::into).collect(),
            chargers: snapshot.chargers.iter().map(Into::into).collect(),
            signals: Signals {
                price: snapshot.signals.price.as_ref().map(Into::into),
                surplus: snapshot.signals.surplus_w.as_ref().map(Into::into),
                grid_limit: snapshot.signals.grid_limit_w.as_ref().map(Into::into),
            },
        }
    }
}

impl<'a> From<&'a wire::policy::Circuit> for Circuit<'a> {
    fn from(circuit: &'a wire::policy::Circuit) -> Self {
        Self {
            id: circuit.id.as_str(),
            parent: circuit.parent,
            limit: circuit.limit_ma.into(),
            available: circuit.available_ma.into(),
            uncontrolled: circuit.uncontrolled_ma.into(),
            stale: circuit.stale,
        }
    }
}

impl<'a> From<&'a wire::policy::Charger> for Charger<'a> {
    fn from(charger: &'a wire::policy::Charger) -> Self {
        Self {
            id: charger.id.as_str(),
            circuit: charger.circuit,
            phases: charger.phases.iter().map(|phase| (*phase).into()).collect(),
            state: charger.state.into(),
            online: charger.online,
            minimum: charger.min_ma.0,
            maximum: charger.max_ma.0,
            step: charger.step_ma.0,
            safe: charger.safe_ma.0,
            setpoint: charger.setpoint_ma.0,
            draw: charger.draw_ma.into(),
            priority: charger.priority,
            session: charger.session.as_ref().map(Into::into),
        }
    }
}

impl<'a> From<&'a wire::policy::Session> for Session<'a> {
    fn from(session: &'a wire::policy::Session) -> Self {
        Self {
            id: session.id.as_str(),
            user: session.user.as_ref().map(|user| user.as_str()),
            arrived: session.arrived_us.0,
            departure: session.departure_us.map(|at| at.0),
            requested: session.requested_wh.map(|energy| energy.0),
            needed: session.needed_wh.map(|energy| energy.0),
            delivered: session.delivered_wh.0,
            state_of_charge: session.soc_percent,
        }
    }
}

impl<'a> From<&'a wire::policy::Series> for Series<'a> {
    fn from(series: &'a wire::policy::Series) -> Self {
        Self { start: series.start_us.0, step_ms: series.step_ms.0, values: &series.values }
    }
}

impl From<wire::PerPhase<Milliamps>> for PerPhase {
    fn from(values: wire::PerPhase<Milliamps>) -> Self {
        let [l1, l2, l3] = values.0.map(|current| current.0);
        Self { l1, l2, l3 }
    }
}

impl From<wire::Phase> for Phase {
    fn from(phase: wire::Phase) -> Self {
        match phase {
            wire::Phase::L1 => Self::L1,
            wire::Phase::L2 => Self::L2,
            wire::Phase::L3 => Self::L3,
        }
    }
}

impl From<WireState> for ChargerState {
    fn from(state: WireState) -> Self {
        match state {
            WireState::Available => Self::Available,
            WireState::Plugged => Self::Plugged,
            WireState::Waiting => Self::Waiting,
            WireState::Charging => Self::Charging,
            WireState::Finished => Self::Finished,
            WireState::Faulted => Self::Faulted,
        }
    }
}
