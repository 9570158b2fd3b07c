//! Why a decision comes out as it does, for an electrician: from the machine's own state, by the steps that decide.
//!
//! A copy of the machine decides; on the way it is asked what there was to share and what each step of the envelope did to each
//! charger. So what is told is what has been done, not what might have been.

mod charger;
mod circuit;
#[cfg(test)]
mod tests;
mod text;

use wattle_wire::row::Cause;
use wattle_wire::{CircuitId, DeviceId, Micros, Milliamps, PerPhase, Phase, SiteId};

use super::decide::Weighed;
use super::envelope::{self, Grant, Seat, Step};
use super::{Proposal, SiteMachine};

/// A decision, explained. Its `Display` is a page of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The site.
    pub site: SiteId,
    /// When.
    pub at: Micros,
    /// What made it due.
    pub cause: Cause,
    /// Whose plan it is.
    pub policy: String,
    /// Why who was asked gave no plan, if it gave none.
    pub failure: Option<String>,
    /// What there was to share.
    pub circuits: Vec<ExplainedCircuit>,
    /// What each charger got.
    pub chargers: Vec<ExplainedCharger>,
}

/// What a circuit's chargers could share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedCircuit {
    /// Which.
    pub circuit: CircuitId,
    /// The phases that it has.
    pub phases: Vec<Phase>,
    /// Each limit that holds, with what gives it; the least counts.
    pub limits: Vec<(String, PerPhase<Milliamps>)>,
    /// What stays free below the limit.
    pub margin_ma: Milliamps,
    /// What other consumers draw; none on a phase of which nobody knows.
    pub uncontrolled_ma: PerPhase<Option<Milliamps>>,
    /// The circuits whose meters are silent by which that is known otherwise, itself or some below it, and on which phases.
    pub silent: Vec<(CircuitId, Vec<Phase>)>,
    /// What its chargers may draw together.
    pub budget_ma: PerPhase<Milliamps>,
    /// The same for raises, which have to fit beside whatever the load may be.
    pub for_raises_ma: PerPhase<Milliamps>,
    /// What can't be lowered: for chargers that don't answer or don't obey, and safe currents.
    pub set_aside_ma: PerPhase<Milliamps>,
    /// The most that its chargers may draw after the decision.
    pub reserved_ma: PerPhase<Milliamps>,
}

/// What a charger got and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedCharger {
    /// Which.
    pub charger: DeviceId,
    /// What is known of it, for people.
    pub known: String,
    /// What was proposed.
    pub proposed_ma: Milliamps,
    /// Why, as who has proposed says.
    pub reason: String,
    /// What was done to that, in order, for people.
    pub steps: Vec<String>,
    /// What it may draw from now on.
    pub setpoint_ma: Milliamps,
    /// The number under which it was sent; none when nothing had to be sent.
    pub number: Option<u64>,
}

/// Everything that the parts of an explanation look at.
struct View<'a> {
    machine: &'a SiteMachine,
    weighed: &'a Weighed,
    /// Chargers in the order in which they are served.
    order: &'a [usize],
    grants: &'a [Grant],
    now: Micros,
}

impl SiteMachine {
    /// Why the decision that has begun comes out as it does, if this is proposed. Nothing is decided by that.
    pub fn explain(&self, proposal: Proposal, now: Micros) -> Explanation {
        let mut machine = self.clone();
        let failure = proposal.plan.as_ref().err().cloned();
        let weighed = machine.weigh(proposal, now);
        let mut steps = vec![Vec::new(); weighed.seats.len()];
        let grants = envelope::dispose_and_tell(
            &weighed.budgets,
            &weighed.raise_budgets,
            &weighed.doubts,
            &weighed.seats,
            &weighed.proposed,
            &mut |index, step| steps[index].push(step),
        );
        let order = envelope::in_order(&weighed.seats);
        let mut after = machine.clone();
        let sent = after.send(&weighed.seats, &grants, weighed.now);
        let view =
            View { machine: &machine, weighed: &weighed, order: &order, grants: &grants, now: weighed.now };
        let reserved = after.reserved(weighed.now);
        let circuits =
            reserved.into_iter().enumerate().map(|(index, reserved)| view.circuit(index, reserved));
        let charger = |(index, steps): (usize, Vec<Step>)| {
            let id = &self.model.chargers[index].id;
            let number = sent.iter().find(|send| send.device == *id).map(|send| send.setpoint.number);
            ExplainedCharger {
                charger: id.clone(),
                known: view.known(index),
                proposed_ma: weighed.proposed[index],
                reason: weighed.reasons[index].clone(),
                steps: view.steps(index, &steps),
                setpoint_ma: after.in_force(index),
                number,
            }
        };
        Explanation {
            site: self.model.id.clone(),
            at: now,
            cause: self.cause,
            policy: weighed.made.policy.clone(),
            failure,
            circuits: circuits.collect(),
            chargers: steps.into_iter().enumerate().map(charger).collect(),
        }
    }
}

impl View<'_> {
    fn seat(&self, index: usize) -> &Seat {
        &self.weighed.seats[index]
    }

    fn name(&self, index: usize) -> &DeviceId {
        &self.machine.model.chargers[index].id
    }

    fn place(&self, circuit: usize, phase: Phase) -> String {
        format!("{phase:?} of {}", self.machine.model.circuits[circuit].id)
    }
}

/// A current in amperes, as short as it can be said.
fn amps(current: Milliamps) -> String {
    let (sign, size) = (if current.0 < 0 { "-" } else { "" }, current.0.unsigned_abs());
    let text = format!("{sign}{}.{:03}", size / 1_000, size % 1_000);
    format!("{} A", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A length of time in seconds, to a tenth.
fn seconds(length: Micros) -> String {
    let tenths = length.0.max(0) / 100_000;
    if tenths % 10 == 0 { format!("{} s", tenths / 10) } else { format!("{}.{} s", tenths / 10, tenths % 10) }
}

/// Phases as a sentence lists them.
pub(super) fn phases(phases: &[Phase]) -> String {
    listed(&phases.iter().map(|phase| format!("{phase:?}")).collect::<Vec<_>>())
}

/// Names as a sentence lists them; at most five.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [.., _] if names.len() > 5 => format!("{} and {} more", names[..5].join(", "), names.len() - 5),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}
