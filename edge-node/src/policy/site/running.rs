//! Which versions are asked, since when, and how they do.

use wattle_wire::Micros;

use super::super::Version;
use super::{SitePolicy, Stands};

/// How a version does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Its first decision in this run of the node and in this place.
    pub since: Option<Micros>,
    /// Decisions for which it was asked.
    pub decisions: u64,
    /// Those of them for which it gave no plan.
    pub failures: u64,
    /// Why it gave none, the last time.
    pub last_failure: Option<String>,
}

/// A version that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// As what.
    pub stands: Stands,
    /// Name and version.
    pub policy: String,
    /// The SHA-256 of its component.
    pub component: [u8; 32],
    /// How it does; of one on trial only its good decisions are known.
    pub figures: Figures,
    /// Of one on trial: how many good decisions it has to make.
    pub of: Option<u32>,
}

impl Figures {
    /// Takes a decision.
    pub(super) fn take(&mut self, now: Micros, failure: Option<&str>) {
        self.since.get_or_insert(now);
        self.decisions += 1;
        if let Some(failure) = failure {
            self.failures += 1;
            self.last_failure = Some(failure.to_owned());
        }
    }
}

impl SitePolicy {
    /// Who is asked, the active version first.
    pub fn running(&self) -> Vec<Running> {
        let running = |version: &Version, stands, figures: Figures, of| Running {
            stands,
            policy: version.name(),
            component: version.component(),
            figures,
            of,
        };
        let active = self.line.active();
        let active = active.map(|version| running(version, Stands::Active, self.figures.clone(), None));
        let trial = self.line.trial().zip(self.line.progress());
        let trial = trial.map(|(version, (good, of))| {
            let figures = Figures { decisions: good.into(), ..Figures::default() };
            running(version, Stands::Trial, figures, Some(of))
        });
        let beside = self.beside.as_ref();
        let beside =
            beside.map(|(version, _)| running(version, Stands::Shadow, self.beside_figures.clone(), None));
        active.into_iter().chain(trial).chain(beside).collect()
    }
}
