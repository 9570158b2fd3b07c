//! What is journaled of a site's policy, in words.

use wattle_policy_host::RunError;
use wattle_wire::Micros;
use wattle_wire::row::EventKind;

use super::super::Version;
use super::super::line::{self, Step, Versioned as _};
use super::super::once::is_time;
use super::{Figures, MOST_NOTES, Role, SitePolicy, Stands};

impl SitePolicy {
    pub(super) fn note_loaded(&mut self, version: &Version) {
        let path = version.source().path().display();
        let text = format!("{} from {path}, SHA-256 {}", version.name(), hex(version));
        self.note(EventKind::PolicyLoaded, text);
    }

    pub(super) fn note_active(&mut self, before: Option<Version>) {
        self.figures = Figures::default();
        let name = self.line.active().map_or("the built-in equal share".into(), Version::name);
        if let Some(mark) = self.line.active().map(Version::digest) {
            self.stands(Role::Active, mark, Stands::Active, "");
        }
        let text = match before {
            Some(before) => format!("{name} decides in place of {}", before.name()),
            None => format!("{name} decides"),
        };
        self.note(EventKind::PolicyActive, text);
    }

    pub(super) fn note_trial(&mut self, step: Option<Step<Version>>, failure: &str) {
        match step {
            Some(Step::Active(before)) => {
                self.proof.begin(true);
                self.note_active(before);
            }
            Some(Step::Refused(version)) => {
                let text = format!(
                    "{} failed {} of its last {} decisions in shadow, the last time: {failure}",
                    version.name(),
                    line::MOST_FAILURES,
                    line::WINDOW,
                );
                self.stands(Role::Active, version.digest(), Stands::Refused, &text);
                self.note(EventKind::PolicyRefused, text);
            }
            _ => {}
        }
    }

    /// Notes that the policy in shadow failed; one that failed too often is in shadow no more.
    pub(super) fn note_shadow_failure(&mut self, name: &str, reason: &str, now: Micros) {
        if self.beside_failures.are_too_many() {
            let mark = self.beside.take().map(|(version, _)| version.digest());
            let text = format!(
                "{name}, in shadow, failed {} of its last {} decisions, the last time: {reason}; it is asked no more until its \
                 file changes",
                line::MOST_FAILURES,
                line::WINDOW,
            );
            if let Some(mark) = mark {
                self.stands(Role::Shadow, mark, Stands::Refused, &text);
            }
            self.note(EventKind::PolicyRefused, text);
        } else if is_time(&mut self.shadow_failed_at, now) {
            self.note(EventKind::PolicyFailed, format!("{name}, in shadow: {reason}"));
        }
    }

    pub(super) fn note_rollback(&mut self, failed: &Version, failure: &str) {
        let back = self.line.active().map(Version::name).unwrap_or_default();
        let text = format!(
            "{} failed {} of its last {} decisions, the last time: {failure}; {back} decides again",
            failed.name(),
            line::MOST_FAILURES,
            line::WINDOW,
        );
        self.figures = Figures::default();
        self.stands(Role::Active, failed.digest(), Stands::RolledBack, &text);
        self.note(EventKind::PolicyRolledBack, text);
    }

    pub(super) fn note_withdrawn(&mut self, trial: &Version, decides: &str) {
        let text = format!("{} was taken back before it was active; {decides} decides", trial.name());
        self.note(EventKind::PolicyRefused, text);
    }

    /// Notes that the state that another has left is given up.
    pub(super) fn note_given_up(&mut self, version: &Version, state: &[u8], declined: &RunError) {
        let text = format!(
            "{} begins with nothing, as it does not take over the {} bytes of state that {} has left: {declined}",
            version.name(),
            state.len(),
            self.left_by.take().map(|left| left.name()).unwrap_or_default(),
        );
        self.note(EventKind::PolicyFailed, text);
    }

    pub(super) fn note(&mut self, kind: EventKind, text: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push((kind, text));
        }
    }
}

/// The digest of a version, for people.
pub(super) fn hex(version: &Version) -> String {
    version.component().iter().map(|byte| format!("{byte:02x}")).collect()
}
