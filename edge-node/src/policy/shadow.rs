//! What a policy in shadow would have done.
//!
//! It sees the same snapshot as the version that is obeyed, and its plan goes through the same envelope: through a copy of
//! the site's machine as it was before the plan that was obeyed. So a row says what the chargers would have been
//! told at that moment, had the shadow been obeyed from then on; the moment after is that of the plan that was obeyed
//! again.
//!
//! The row is a decision with the cause `shadow` whose numbers are 0. It is recorded whenever the obeyed decision is, behind
//! it and of the same moment, and besides whenever it differs from the shadow's last row.

use wattle_edge_core::replay::{Asked, Given};
use wattle_edge_core::{Proposal, SiteMachine};
use wattle_policy_host::{Decided, RunError};
use wattle_wire::Micros;
use wattle_wire::policy::Snapshot;
use wattle_wire::row::{Cause, DecidedCharger, Decision, Row};

use super::Version;

/// One decision as a shadow finds it.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// What was to be decided on.
    pub snapshot: &'a Snapshot,
    /// The site's machine before the plan that was obeyed.
    pub machine: &'a SiteMachine,
    /// When.
    pub now: Micros,
    /// Whether the decision that was obeyed is recorded.
    pub is_recorded: bool,
}

/// What a shadow keeps from decision to decision.
#[derive(Debug, Clone, Default)]
pub struct Shadow {
    state: Vec<u8>,
    /// Whether its last plan has left that.
    follows: bool,
    recorded: Vec<DecidedCharger>,
}

impl Shadow {
    /// A shadow that begins with this state.
    pub fn new(state: Vec<u8>) -> Self {
        Self { state, follows: false, recorded: Vec::new() }
    }

    /// Its state.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// What it is asked with, and whether its state is what its last plan has left: then whoever asks it again has it.
    pub fn asked(&self, version: &Version) -> (Asked, bool) {
        let Proposal { policy, policy_digest, settings_digest, .. } = version.proposal(Err(String::new()));
        let given = Given { state: Some(self.state.clone()), keeps_state: false };
        (Asked { policy, policy_digest, settings_digest, given }, self.follows)
    }

    /// Lets a version decide; the row of it, if it is to be recorded.
    ///
    /// # Errors
    /// When it gives no plan; its state stays.
    pub fn decide(&mut self, version: &Version, moment: Moment<'_>) -> Result<Option<Row>, RunError> {
        self.follows = false;
        let decided = version.decide(moment.snapshot, &self.state)?;
        self.state.clone_from(&decided.plan.state);
        self.follows = true;
        let Some(decision) = imagined(version, decided, moment.machine, moment.now) else { return Ok(None) };
        if !moment.is_recorded && decision.chargers == self.recorded {
            return Ok(None);
        }
        self.recorded.clone_from(&decision.chargers);
        Ok(Some(Row::Decision(decision)))
    }
}

/// What a plan would have come to, through a copy of the machine as it was before the plan that was obeyed.
pub(crate) fn imagined(
    version: &Version,
    decided: Decided,
    machine: &SiteMachine,
    now: Micros,
) -> Option<Decision> {
    let mut machine = machine.clone();
    let rows = machine.finish_decision(version.proposal(Ok(decided)), now).rows;
    let mut decision = rows.into_iter().find_map(|row| match row {
        Row::Decision(decision) => Some(decision),
        _ => None,
    })?;
    decision.cause = Cause::Shadow;
    decision.chargers.iter_mut().for_each(|charger| charger.number = 0);
    Some(decision)
}
