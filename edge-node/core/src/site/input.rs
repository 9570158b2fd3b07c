//! What a site hears, and what it answers.

use wattle_wire::message::{ChargerState, Number, Phases, Refusal, Setpoint};
use wattle_wire::policy::{Plan, Series};
use wattle_wire::row::{Cause, Row};
use wattle_wire::{DeviceId, Micros, Milliamps, Millivolts, SessionId, UserId, WattHours};

use super::{Part, Signalled};

/// What a site hears: from a device's machine, or of the world outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteInput {
    /// Of whom.
    pub part: Part,
    /// The last numbered message of the device's present start.
    pub seen: Option<Number>,
    /// What.
    pub heard: Heard,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A reading of the present.
    Reading {
        /// A charger's state.
        state: Option<ChargerState>,
        /// The setpoint that it obeys; 0 for none.
        setpoint: Option<u64>,
        /// Current per phase, in the device's order.
        current_ma: Option<Phases<Milliamps>>,
        /// The energy register.
        register_wh: Option<WattHours>,
        /// The vehicle's state of charge.
        soc_percent: Option<i32>,
        /// Temperature inside, thousandths of a degree Celsius.
        temperature_mc: Option<i32>,
        /// Voltage per phase, in the device's order.
        voltage_mv: Option<Phases<Millivolts>>,
    },
    /// It obeys this setpoint.
    Confirmed(u64),
    /// It refuses this setpoint.
    Refused {
        /// Which.
        number: u64,
        /// Why.
        reason: Refusal,
    },
    /// It has connected or gone.
    Online(bool),
    /// The stay that is open now, if any.
    Stay(Option<Stay>),
    /// Of a charger: what people give it whatever a policy says, as far as it fits; none for what the model says.
    Manual(Option<Manual>),
    /// Of a circuit: a limit for a time, or that there is none any more.
    Limit {
        /// Which of the site's systems says so; see [`SiteModel::systems`](super::SiteModel).
        by: usize,
        /// Until when how much.
        limit: Option<Signalled>,
    },
    /// Of the site: what it may draw from the grid, W.
    GridLimit {
        /// Which of the site's systems says so.
        by: usize,
        /// When how much.
        limit: Option<Series>,
    },
    /// Of the site: the price in millionths of the currency per kWh.
    Price(Option<Series>),
    /// Of the site: the surplus of its own generation, W.
    Surplus(Option<Series>),
}

/// What people give a charger whatever a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manual {
    /// How much on each of its phases.
    pub current_ma: Milliamps,
    /// Until when; none until it is taken back.
    pub until_us: Option<Micros>,
}

/// A vehicle's stay at a charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Its name.
    pub id: SessionId,
    /// Who charges.
    pub user: Option<UserId>,
    /// When the vehicle came.
    pub arrived_us: Micros,
    /// When it means to leave.
    pub departure_us: Option<Micros>,
    /// What the user asked for.
    pub requested_wh: Option<WattHours>,
    /// The register when it came.
    pub register_wh: Option<WattHours>,
}

/// Whether a decision has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not now.
    No,
    /// At once.
    Now(Cause),
}

/// What a policy has given, with what is recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The plan, or why there is none.
    pub plan: Result<Plan, String>,
    /// Name and version of the policy.
    pub policy: String,
    /// The first eight bytes of the SHA-256 of its component.
    pub policy_digest: u64,
    /// The first eight bytes of the SHA-256 of its settings.
    pub settings_digest: u64,
    /// What it consumed.
    pub fuel: u64,
}

/// A setpoint to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSetpoint {
    /// To whom.
    pub device: DeviceId,
    /// What.
    pub setpoint: Setpoint,
}

/// What a decision has led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To send at once; they don't wait for the journal.
    pub setpoints: Vec<SendSetpoint>,
    /// To journal, in this order.
    pub rows: Vec<Row>,
}
