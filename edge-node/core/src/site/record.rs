//! Which decisions are journaled.
//!
//! A decision is recorded when a proposal, a setpoint, a reason or the policy differs from what was recorded
//! last, and at least every `RECORD_EVERY` intervals: a steady site costs a row a minute, and a replay makes
//! the others anew.

use std::collections::BTreeMap;

use wattle_wire::policy::Plan;
use wattle_wire::row::{DecidedCharger, DecidedCircuit, Decision, Row};
use wattle_wire::{DeviceId, Micros, Milliamps};

use super::SiteMachine;
use super::envelope::Grant;

/// Intervals after which a decision is recorded although nothing has changed.
pub const RECORD_EVERY: i64 = 60;

/// The most bytes that are kept of a policy's reason.
const MAX_REASON_BYTES: usize = 160;

/// A plan, with what is recorded of where it came from.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) policy: String,
    pub(super) policy_digest: u64,
    pub(super) settings_digest: u64,
    pub(super) fuel: u64,
}

/// What was recorded last.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder {
    pub(super) last: Option<(Micros, Decision)>,
}

impl Recorder {
    fn is_due(&self, decision: &Decision, now: Micros, interval: Micros) -> bool {
        let Some((at, last)) = &self.last else { return true };
        let same = |a: &DecidedCharger, b: &DecidedCharger| {
            (a.proposed_ma, a.setpoint_ma, &a.reason) == (b.proposed_ma, b.setpoint_ma, &b.reason)
        };
        now - *at >= Micros(interval.0.saturating_mul(RECORD_EVERY))
            || last.policy != decision.policy
            || last.policy_digest != decision.policy_digest
            || last.settings_digest != decision.settings_digest
            || !last.chargers.iter().zip(&decision.chargers).all(|(a, b)| same(a, b))
    }
}

impl SiteMachine {
    /// The row of a decision, if it has to be recorded.
    pub(super) fn record(
        &mut self,
        made: Made,
        proposed: &[Milliamps],
        reasons: &[String],
        grants: &[Grant],
        numbers: &BTreeMap<DeviceId, u64>,
        now: Micros,
    ) -> Option<Row> {
        let charger = |index: usize| {
            let id = &self.model.chargers[index].id;
            DecidedCharger {
                charger: id.clone(),
                proposed_ma: proposed[index],
                setpoint_ma: self.in_force(index),
                number: numbers.get(id).copied().unwrap_or(0),
                reason: reason(&reasons[index], grants[index].reason),
            }
        };
        let decision = Decision {
            site: self.model.id.clone(),
            cause: self.cause,
            policy: made.policy,
            policy_digest: made.policy_digest,
            settings_digest: made.settings_digest,
            fuel: made.fuel,
            circuits: self.decided_circuits(now),
            chargers: (0..grants.len()).map(charger).collect(),
            state: made.plan.state,
        };
        let interval = self.model.control.interval_ms.into();
        self.recorder.is_due(&decision, now, interval).then(|| {
            self.recorder.last = Some((now, decision.clone()));
            Row::Decision(decision)
        })
    }

    fn decided_circuits(&self, now: Micros) -> Vec<DecidedCircuit> {
        let known = self.uncontrolled(now).into_iter().zip(self.reserved(now)).enumerate();
        let circuit = |(index, (uncontrolled_ma, reserved_ma)): (usize, _)| DecidedCircuit {
            circuit: self.model.circuits[index].id.clone(),
            limit_ma: self.limit(index),
            uncontrolled_ma,
            reserved_ma,
        };
        known.map(circuit).collect()
    }
}

fn reason(proposed: &str, changed: &str) -> String {
    match (proposed.is_empty(), changed.is_empty()) {
        (_, true) => proposed.into(),
        (true, false) => changed.into(),
        (false, false) => format!("{proposed}; {changed}"),
    }
}

/// A policy's text, cut at a character.
pub(super) fn cut(text: &str) -> String {
    let end = (0..=MAX_REASON_BYTES.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text[..end].into()
}
