//! The policy of one site: which version is asked, what becomes of its state, and what is journaled of it.

mod notes;
mod place;
mod running;
mod state;

use std::path::Path;

use wattle_edge_core::replay::{Asked, Given};
use wattle_edge_core::{Proposal, SiteMachine};
use wattle_policy_host::{Host, RunError};
use wattle_site::Control;
use wattle_wire::Micros;
use wattle_wire::policy::Snapshot;
use wattle_wire::row::{EventKind, Row};

use self::notes::hex;
use super::aside::{Answer, Aside, Errand, Imagined};
use super::keep::Place;
use super::line::{Failures, Line, Step, Versioned};
use super::once::is_time;
use super::proof::Proof;
use super::retry::Retry;
use super::shadow::Shadow;
use super::version::built_in;
use super::{Source, Version};

pub use place::{Back, Placed, Standing, Stands};
pub use running::{Figures, Running};

/// The most notes that wait to be taken; further ones are dropped, but a decision makes three at most.
const MOST_NOTES: usize = 32;

/// A policy that only fails and has no stand-in is asked at one of so many decisions.
pub(super) const ASKED_ONE_IN: u32 = 60;

/// Something that happened to the policy, for the journal.
pub type Note = (EventKind, String);

/// Which of a site's policies a version is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that is obeyed.
    Active,
    /// The one that never is.
    Shadow,
}

/// The policy of one site. See the [module](super) for its rules.
pub struct SitePolicy {
    /// Where the versions come from; none where the policy is off.
    active: Option<Source>,
    shadow: Option<Source>,
    /// The active one's file as the site file names it; only what comes from there is kept as the last that proved itself.
    of_the_file: Option<Source>,
    /// What the file held when it decided last; what it holds now may be another that nobody has tried.
    ran_of_the_file: Option<Version>,
    /// Whether what decided at the last decision was taken back since.
    is_taken_back: bool,
    /// The newest document of which was heard here.
    heard: u64,
    /// What has become of versions, for who has deployed them.
    standings: Vec<Standing>,
    /// How who decides does, and how the policy that is in shadow for good.
    figures: Figures,
    beside_figures: Figures,
    line: Line<Version>,
    trial_decisions: u32,
    /// Of the version on trial.
    trial: Shadow,
    /// The policy that is in shadow for good, until it fails too often.
    beside: Option<(Version, Shadow)>,
    beside_failures: Failures,
    /// The thread on which shadows decide, and whether they do now.
    aside: Option<Aside>,
    errand_is_out: bool,
    proof: Proof,
    /// For how many decisions more the active version isn't asked.
    pub(super) rests: u32,
    /// A version that was too late at taking over the state; it is offered again.
    late: Option<(Version, bool)>,
    retry: Retry,
    /// Whose state the core keeps.
    left_by: Option<Version>,
    /// As the site file names it.
    name: String,
    /// Why no version was ever active.
    missing: String,
    /// Why the active version gave no plan at the last decision.
    failure: Option<String>,
    /// With which state who has proposed last began.
    given: Given,
    /// When it was noted last that a version stood in, and that the policy in shadow failed.
    stood_in_at: Option<Micros>,
    shadow_failed_at: Option<Micros>,
    notes: Vec<Note>,
}

impl SitePolicy {
    /// Loads the policies that a site asks for. Never fails: what is wrong is said at each decision.
    pub fn load(host: &Host, folder: &Path, control: &Control) -> Self {
        Self::load_with(host, folder, control, None, None)
    }

    /// The same in a node: the last version that proved itself is kept at `place`, and decides first if the file holds another;
    /// shadows decide on the thread `aside`.
    pub fn load_with(
        host: &Host,
        folder: &Path,
        control: &Control,
        place: Option<Place>,
        aside: Option<Aside>,
    ) -> Self {
        let (active, shadow) = (Source::active(folder, control), Source::shadow(folder, control));
        let mut policy = Self::new(active.clone(), shadow.clone(), control, place);
        policy.aside = aside;
        if let Some(source) = active {
            let found = source.load(host);
            policy.offer_last(&source, host, found.as_ref().ok());
            policy.offer(Role::Active, found, &[]);
            policy.ran_of_the_file = policy.line.active().cloned();
        }
        if let Some(source) = shadow {
            policy.offer(Role::Shadow, source.load(host), &[]);
        }
        policy
    }

    fn new(active: Option<Source>, shadow: Option<Source>, control: &Control, place: Option<Place>) -> Self {
        Self {
            errand_is_out: false,
            aside: None,
            proof: Proof::new(place, control.policy_trial),
            of_the_file: active.clone(),
            ran_of_the_file: None,
            is_taken_back: false,
            heard: 0,
            active,
            shadow,
            standings: Vec::new(),
            figures: Figures::default(),
            beside_figures: Figures::default(),
            line: Line::new(control.policy_trial),
            trial_decisions: control.policy_trial,
            trial: Shadow::default(),
            beside: None,
            beside_failures: Failures::default(),
            rests: 0,
            late: None,
            retry: Retry::default(),
            left_by: None,
            name: control.policy.clone(),
            missing: String::new(),
            failure: None,
            given: Given::default(),
            stood_in_at: None,
            shadow_failed_at: None,
            notes: Vec::new(),
        }
    }

    /// Where its versions come from.
    pub fn sources(&self) -> impl Iterator<Item = (Role, &Source)> {
        let active = self.active.iter().map(|source| (Role::Active, source));
        active.chain(self.shadow.iter().map(|source| (Role::Shadow, source)))
    }

    /// Takes a version that was found, or why what was found can't be used. `state` is what the core keeps.
    pub fn offer(&mut self, role: Role, found: Result<Version, String>, state: &[u8]) {
        if role == Role::Active {
            (self.late, self.retry) = (None, Retry::default());
        }
        match (found, role) {
            (Ok(version), Role::Active) => self.offer_active(version, false, state),
            (Ok(version), Role::Shadow) => self.offer_shadow(version),
            (Err(reason), Role::Active) => {
                let decides = self.line.active().map_or("the built-in equal share".into(), Version::name);
                self.note(EventKind::PolicyRefused, format!("{reason}; {decides} decides"));
                self.missing = reason;
            }
            (Err(reason), Role::Shadow) => {
                self.note(EventKind::PolicyRefused, format!("for shadow: {reason}"))
            }
        }
    }

    /// Asks for a plan. `state` is what the core keeps.
    pub fn propose(&mut self, snapshot: &Snapshot, state: &[u8]) -> Proposal {
        let proposal = self.ask(snapshot, state);
        // Without a plan the last one would be obeyed again, which was of what is taken back.
        let has_none = proposal.plan.is_err();
        if std::mem::take(&mut self.is_taken_back) && has_none { built_in(snapshot) } else { proposal }
    }

    fn ask(&mut self, snapshot: &Snapshot, state: &[u8]) -> Proposal {
        self.given = Given::default();
        if self.active.is_none() {
            return built_in(snapshot);
        }
        if self.retry.is_due()
            && let Some((late, at_once)) = self.late.take()
        {
            self.offer_active(late, at_once, state);
        }
        let Some(active) = self.line.active().cloned() else {
            self.failure = Some(self.missing.clone());
            return self.nobody();
        };
        if let Some(failure) = self.failure.clone().filter(|_| self.rests > 0 && self.line.is_at_a_loss()) {
            self.rests -= 1;
            return active.proposal(Err(failure));
        }
        let now = snapshot.now_us;
        let decided = self.begins_with(&active, state).and_then(|begins_with| {
            let decided = active.decide(snapshot, &begins_with)?;
            Ok((decided, begins_with))
        });
        let (proposal, failure) = match decided {
            Ok((decided, begins_with)) => {
                self.given = given(begins_with, state, false);
                self.left_by = Some(active.clone());
                if self.is_of_the_file(&active) {
                    if somebody_asks(snapshot) {
                        self.proof.take(&active);
                    }
                    self.ran_of_the_file = Some(active.clone());
                }
                (active.proposal(Ok(decided)), None)
            }
            Err(error) => {
                let error = error.to_string();
                (self.stand_in(&active, &error, snapshot, state), Some(error))
            }
        };
        self.figures.take(now, failure.as_deref());
        if let Some(Step::RolledBack(_)) = self.line.decided(failure.is_some()) {
            self.proof.begin(true);
            self.note_rollback(&active, failure.as_deref().unwrap_or_default());
        }
        if self.line.is_at_a_loss() {
            self.rests = ASKED_ONE_IN - 1;
        }
        self.failure = failure;
        proposal
    }

    /// With which state who has proposed last began, for the record.
    pub fn given(&self) -> Given {
        self.given.clone()
    }

    /// Why the active version gave no plan at the last decision, if it gave none.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether there are shadows that could decide now; not while they decide on what was before.
    pub fn has_shadow(&self) -> bool {
        !self.errand_is_out && (self.beside.is_some() || self.line.trial().is_some())
    }

    /// Who decides beside the one that is obeyed.
    pub fn shadows(&self) -> Vec<String> {
        let beside = self.beside.iter().map(|(version, _)| version);
        self.line.trial().into_iter().chain(beside).map(Version::name).collect()
    }

    /// Has the shadows decide beside a decision that was made; [`Self::imagined`] takes what `tell` is told. Where they still decide
    /// on what was before, or too many others do, they are left out, which is counted. Gives who is asked, by place, as a scribe
    /// takes it.
    pub fn ask_shadows(
        &mut self,
        snapshot: &Snapshot,
        machine: Option<SiteMachine>,
        (now, is_recorded): (Micros, bool),
        tell: impl FnOnce(Imagined) + Send + 'static,
    ) -> Vec<(usize, Asked, bool)> {
        let has_shadow = self.beside.is_some() || self.line.trial().is_some();
        let asked = match (machine.filter(|_| self.has_shadow()), self.aside.clone()) {
            (Some(machine), Some(aside)) => {
                let errand = self.errand(snapshot.clone(), machine, now, is_recorded);
                let asked = errand.asked();
                self.errand_is_out = aside.send(errand, tell);
                self.errand_is_out.then_some(asked)
            }
            _ => None,
        };
        if has_shadow && asked.is_none() {
            metrics::counter!("wattle_edge_shadows_left_out_total").increment(1);
        }
        asked.unwrap_or_default()
    }

    /// What the shadows are to decide on, beside a decision that was made at `now` on `snapshot` with `machine` as it was
    /// before the plan that was obeyed. No other is given before [`Self::imagined`] was called.
    pub fn errand(
        &mut self,
        snapshot: Snapshot,
        machine: SiteMachine,
        now: Micros,
        is_recorded: bool,
    ) -> Errand {
        self.errand_is_out = true;
        let trial = self.line.trial().cloned().map(|version| (version, self.trial.clone()));
        Errand { trial, beside: self.beside.clone(), snapshot, machine, now, is_recorded }
    }

    /// Takes what the shadows would have done; the rows of it. Of a version that is no shadow any more nothing is taken.
    pub fn imagined(&mut self, imagined: Imagined) -> Vec<Row> {
        self.errand_is_out = false;
        let mut rows = Vec::new();
        if let Some(Answer { version, shadow, decided }) = imagined.trial
            && self.line.trial().is_some_and(|trial| trial.digest() == version.digest())
        {
            self.trial = shadow;
            let failure = decided.as_ref().err().cloned();
            rows.extend(decided.ok().flatten());
            // A plan for nobody proves nothing.
            if failure.is_some() || imagined.is_about_something {
                let step = self.line.tried(failure.is_some());
                self.note_trial(step, &failure.unwrap_or_default());
            }
        }
        if let Some(Answer { version, shadow, decided }) = imagined.beside
            && let Some((known, kept)) = &mut self.beside
            && known.digest() == version.digest()
        {
            *kept = shadow;
            let failure = decided.as_ref().err().cloned();
            rows.extend(decided.ok().flatten());
            self.beside_failures.take(failure.is_some());
            self.beside_figures.take(imagined.at, failure.as_deref());
            if let Some(reason) = failure {
                self.note_shadow_failure(&version.name(), &reason, imagined.at);
            }
        }
        rows
    }

    /// What is to be journaled since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Takes a version that can be used; `at_once` for one that needs no trial.
    fn offer_active(&mut self, version: Version, at_once: bool, state: &[u8]) {
        let (name, mark) = (version.name(), version.digest());
        if self.line.is_new(&version) {
            self.note_loaded(&version);
            match self.taken_over(&version, state) {
                Ok(state) => self.trial = Shadow::new(state),
                Err(error) => {
                    if matches!(error, RunError::Deadline(_)) {
                        self.late = Some((version, at_once));
                        self.retry.later();
                    }
                    let text = format!("{name} does not take over the state: {error}");
                    let stands = if self.late.is_some() { Stands::Late } else { Stands::Refused };
                    self.stands(Role::Active, mark, stands, &text);
                    return self.note(EventKind::PolicyRefused, text);
                }
            }
        }
        let step = if at_once { self.line.offer_at_once(version) } else { self.line.offer(version) };
        match step {
            Some(Step::Trial) => {
                self.stands(Role::Active, mark, Stands::Trial, "");
                let decides = self.line.active().map(Version::name).unwrap_or_default();
                let text = format!("{name} decides beside {decides} for {} decisions", self.trial_decisions);
                self.note(EventKind::PolicyShadow, text);
            }
            Some(Step::Active(before)) => {
                self.proof.begin(false);
                self.note_active(before);
            }
            Some(Step::Withdrawn(trial)) => {
                self.stands(Role::Active, mark, Stands::Active, "");
                self.note_withdrawn(&trial, &name);
            }
            Some(Step::Refused(_) | Step::RolledBack(_)) => {}
            None if self.line.active().is_some_and(|active| active.digest() == mark) => {
                self.stands(Role::Active, mark, Stands::Active, "");
            }
            None => self.stands(Role::Active, mark, Stands::Trial, ""),
        }
    }

    /// Takes the version that was kept last, unless it is what the file holds.
    fn offer_last(&mut self, source: &Source, host: &Host, found: Option<&Version>) {
        let Some(last) = self.proof.last() else { return };
        if found.is_some_and(|found| **found.bytes() == *last.bytes) {
            return;
        }
        match source.version_at(host, &last.path, &last.bytes) {
            Ok(last) => {
                let text =
                    format!("{}, kept as the last that proved itself, SHA-256 {}", last.name(), hex(&last));
                self.note(EventKind::PolicyLoaded, text);
                self.line.offer(last);
                self.proof.begin(true);
                self.note_active(None);
            }
            Err(unusable) => {
                let text = format!("of the version that was kept last: {}", unusable.reason);
                self.note(EventKind::PolicyRefused, text);
            }
        }
    }

    fn offer_shadow(&mut self, version: Version) {
        self.stands(Role::Shadow, version.digest(), Stands::Shadow, "");
        if self.beside.as_ref().is_some_and(|(known, _)| known.digest() == version.digest()) {
            return;
        }
        self.note_loaded(&version);
        let state = self.beside.as_ref().map_or(Ok(Vec::new()), |(before, shadow)| {
            version.take_over(before.policy(), before.version(), shadow.state())
        });
        let mut text = format!("{} decides beside and is never obeyed", version.name());
        if let Err(error) = &state {
            text += &format!("; it begins with nothing, as it does not take over the state: {error}");
        }
        self.note(EventKind::PolicyShadow, text);
        self.beside = Some((version, Shadow::new(state.unwrap_or_default())));
        self.beside_figures = Figures::default();
        self.beside_failures = Failures::default();
        self.shadow_failed_at = None;
    }

    /// The plan of the version before, if it has one.
    fn stand_in(&mut self, active: &Version, error: &str, snapshot: &Snapshot, state: &[u8]) -> Proposal {
        let stand_in = self.line.stand_in().cloned();
        let decided = stand_in.and_then(|other| {
            let begins_with = self.state_for(&other, state);
            let decided = other.decide(snapshot, &begins_with).ok()?;
            self.given = given(begins_with, state, true);
            Some((other, decided))
        });
        let Some((other, mut decided)) = decided else { return active.proposal(Err(error.into())) };
        // The active version finds its own state again.
        decided.plan.state = state.to_vec();
        if self.failure.as_deref() != Some(error) && is_time(&mut self.stood_in_at, snapshot.now_us) {
            let text = format!("{}: {error}; {} stands in", active.name(), other.name());
            self.note(EventKind::PolicyFailed, text);
        }
        let proposal = other.proposal(Ok(decided));
        Proposal { policy: format!("{} (stands in)", proposal.policy), ..proposal }
    }

    fn is_of_the_file(&self, version: &Version) -> bool {
        self.of_the_file.as_ref() == Some(version.source())
    }

    fn nobody(&self) -> Proposal {
        Proposal {
            plan: Err(self.missing.clone()),
            policy: self.name.clone(),
            policy_digest: 0,
            settings_digest: 0,
            fuel: 0,
        }
    }
}

/// Whether a vehicle wants energy from a charger that can be reached.
pub(super) fn somebody_asks(snapshot: &Snapshot) -> bool {
    snapshot.chargers.iter().any(|charger| charger.online && charger.state.asks())
}

/// What is recorded of the state that a version began with, while the core kept `kept`.
fn given(state: Vec<u8>, kept: &[u8], keeps_state: bool) -> Given {
    Given { state: (state != kept).then_some(state), keeps_state }
}
