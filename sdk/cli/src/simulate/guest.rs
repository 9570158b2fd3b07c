//! A vehicle that comes to a site, whoever says so: a trace, or the history of a site.

use wattle_wire::{DeviceId, Micros, Milliamps, SessionId, UserId, WattHours};

use super::stall::VEHICLE_MA;
use super::trace::Stay;

/// A vehicle with what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Where it stands.
    pub station: DeviceId,
    /// The name of its stay.
    pub session: SessionId,
    /// When it is plugged in.
    pub arrival: Micros,
    /// When its user starts the charge; not before `arrival`.
    pub start: Micros,
    /// When it leaves; after `arrival`.
    pub departure: Micros,
    /// What it takes, at most.
    pub need: WattHours,
    /// The least that it charges with on each of its phases.
    pub min_ma: Milliamps,
    /// The most.
    pub max_ma: Milliamps,
    /// On how many phases, 1 to 3.
    pub phases: u8,
    /// Who charges.
    pub user: Option<UserId>,
    /// What its user asks for.
    pub requested: Option<WattHours>,
    /// When its user means to leave.
    pub estimated_departure: Option<Micros>,
}

/// The least that a vehicle charges with, by the standard.
pub const LEAST_MA: Milliamps = Milliamps::from_amps(6);

/// A vehicle of a trace is started as it comes, charges on one phase, and takes what the trace says was delivered.
impl From<&Stay> for Guest {
    fn from(stay: &Stay) -> Self {
        let Stay { row: _, arrival, departure, requested, delivered, .. } = stay.clone();
        let Stay { station, session, estimated_departure, user, .. } = stay.clone();
        Self {
            station,
            session,
            arrival,
            start: arrival,
            departure,
            need: delivered,
            min_ma: LEAST_MA,
            max_ma: VEHICLE_MA,
            phases: 1,
            user,
            requested,
            estimated_departure,
        }
    }
}
