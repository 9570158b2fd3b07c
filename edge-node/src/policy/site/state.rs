//! With which state a version begins a decision.

use wattle_policy_host::RunError;

use super::super::Version;
use super::super::line::Versioned as _;
use super::SitePolicy;

impl SitePolicy {
    /// The state that the active version begins a decision with. Where it declines to take over what another has left,
    /// that is a failure as long as another could stand in, whose state it is; else the state is given up, which is an event.
    pub(super) fn begins_with(&mut self, active: &Version, state: &[u8]) -> Result<Vec<u8>, RunError> {
        let declined = match self.taken_over(active, state) {
            Ok(own) => return Ok(own),
            Err(declined) if self.line.stand_in().is_some() => {
                return Err(RunError::Refused(format!("it does not take over the state: {declined}")));
            }
            Err(declined) => declined,
        };
        self.note_given_up(active, state, &declined);
        Ok(Vec::new())
    }

    /// The state that a stand-in begins a decision with.
    pub(super) fn state_for(&self, version: &Version, state: &[u8]) -> Vec<u8> {
        self.taken_over(version, state).unwrap_or_default()
    }

    pub(super) fn taken_over(&self, version: &Version, state: &[u8]) -> Result<Vec<u8>, RunError> {
        match &self.left_by {
            Some(left) if left.digest() == version.digest() => Ok(state.to_vec()),
            Some(left) => version.take_over(left.policy(), left.version(), state),
            None => Ok(Vec::new()),
        }
    }
}
