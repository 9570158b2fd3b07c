//! The edge's decisions, as deterministic machines without IO.
//!
//! - [`device::DeviceMachine`], one per device: reads its messages, drops what it has seen, keeps its stays,
//!   and says what to journal, what to acknowledge and what the site has to know.
//! - [`device::SystemMachine`], one per system that may tell a site something from outside: checks what it signals, and
//!   knows after a restart what still holds.
//! - [`site::SiteMachine`], one per site: keeps what is known of meters and chargers, says when a decision is
//!   due, and turns a policy's plan into numbered setpoints that fit ([`site`] has the rules).
//! - [`replay`] writes down what a site's machine was told and when, and plays it again.
//!
//! Invariants: no file, no socket, no clock and no randomness: time is an argument. The same inputs at the
//! same moments give the same outputs, whatever machine they run on. Everything kept is bounded, and the
//! constant that bounds it says what happens when it is full.

pub mod device;
pub mod replay;
pub mod site;

pub use device::{
    DeviceMachine, DeviceOutput, PeerMachine, RestoreError, SIGNALS_PER_MINUTE, SystemMachine, told,
};
pub use site::{
    Charger, Circuit, Control, DRAW_TOLERANCE, Due, ExplainedCharger, ExplainedCircuit, Explanation, Fitted,
    Heard, Limit, LocalTime, MAX_SYSTEMS, Manual, Meter, ModelError, Outcome, Part, Proposal, SendSetpoint,
    Signalled, SiteInput, SiteMachine, SiteModel, Stay, System, User, Window, equal_share, fit,
};
