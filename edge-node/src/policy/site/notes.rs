//! What is journaled of a site's policy, in words.

use wattle_wire::Micros;
use wattle_wire::row::EventKind;

use super::super::Version;
use super::super::line::{self, Step, Versioned as _};
use super::super::once::is_time;
use super::{Figures, MOST_NOTES, Role, SitePolicy, Stands};

impl SitePolicy {
    pub(super) fn note_loaded(&mut self, version: &Version, role: Role) {
        let sources = self.sources().find(|(of, _)| *of == role);
        let path = sources.map(|(_, source)| source.path().display().to_string()).unwrap_or_default();
        let text = format!("{} from {path}, SHA-256 {}", version.name(), hex(version));
        self.note(EventKind::PolicyLoaded, text);
    }

    pub(super) fn note_active(&mut self, before: Option<Version>) {
        self.figures = Figures::default();
        let name = self.line.active().map(Version::name).unwrap_or_default();
        if let Some(mark) = self.line.active().map(Version::digest) {
            self.stands(mark, Stands::Active, "");
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
                self.stands(version.digest(), Stands::Refused, &text);
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
                self.stands(mark, Stands::Refused, &text);
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
        self.stands(failed.digest(), Stands::RolledBack, &text);
        self.note(EventKind::PolicyRolledBack, text);
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
