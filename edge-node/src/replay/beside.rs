//! What another policy would have done at each recorded decision.
//!
//! It sees the snapshot of that moment, and its plan goes through the envelope of that moment, in a copy of the machine. The moment after is
//! again that of what was obeyed. Its state is its own: what it has left at the decision before.

use std::path::PathBuf;
use std::time::Duration;

use wattle_edge_core::Proposal;
use wattle_edge_core::replay::Moment;
use wattle_policy_host::{Host, HostError, Limits};
use wattle_site::SiteFile;
use wattle_wire::row::{Record, Row};
use wattle_wire::{DeviceId, Micros, Milliamps};

use super::Audience;
use crate::policy::{Source, Version};

/// Fuel is the limit that binds, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(30);

/// One recorded decision, beside what another policy would have made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The sequence of the recorded decision.
    pub sequence: u64,
    /// When.
    pub at: Micros,
    /// Each charger, or why the other policy gives no plan.
    pub chargers: Result<Vec<ComparedCharger>, String>,
}

/// A charger in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedCharger {
    /// Which.
    pub charger: DeviceId,
    /// What it was told, as recorded.
    pub was_told: Milliamps,
    /// What it would have been told.
    pub would_have: Milliamps,
}

type Told = Result<Vec<(DeviceId, Milliamps)>, String>;

/// Asks another policy at each decision of a replay.
pub struct Beside<F> {
    host: Host,
    path: PathBuf,
    settings: Option<toml::Table>,
    /// Loaded for the configuration of the replay.
    version: Option<(SiteFile, Result<Version, String>)>,
    /// Why it can't be used under the first configuration under which it can't.
    unusable: Option<String>,
    state: Vec<u8>,
    told: Option<(Micros, Told)>,
    sink: F,
}

impl<F: FnMut(Compared)> Beside<F> {
    /// The policy in this file; with the settings of the site's configuration if none are given. What it would have done goes
    /// to `sink`.
    ///
    /// # Errors
    /// When the runtime for policies doesn't start.
    pub fn new(path: PathBuf, settings: Option<toml::Table>, sink: F) -> Result<Self, HostError> {
        let host = Host::new(Limits { deadline: DEADLINE, ..Limits::default() })?;
        let (version, unusable, state, told) = (None, None, Vec::new(), None);
        Ok(Self { host, path, settings, version, unusable, state, told, sink })
    }

    /// Why it can't be used under a configuration of the history; nothing goes to the sink of the decisions under that one.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    fn version(&mut self, site: &SiteFile) -> Result<Version, String> {
        match &self.version {
            Some((known, version)) if known == site => version.clone(),
            _ => {
                let settings = self.settings.as_ref().unwrap_or(&site.control.settings);
                let source = Source::with_settings(self.path.clone(), &site.control, settings);
                let version = source.load(&self.host);
                if let Err(reason) = &version {
                    self.unusable.get_or_insert_with(|| reason.clone());
                }
                self.version = Some((site.clone(), version.clone()));
                version
            }
        }
    }

    fn ask(&mut self, version: &Version, moment: Moment<'_>) -> Told {
        let decided = version.decide(moment.snapshot, &self.state).map_err(|error| error.to_string())?;
        self.state.clone_from(&decided.plan.state);
        let mut machine = moment.machine.clone();
        machine.finish_decision(version.proposal(Ok(decided)), moment.at);
        Ok(machine.setpoints().map(|(charger, setpoint)| (charger.clone(), setpoint)).collect())
    }
}

impl<F: FnMut(Compared)> Audience for Beside<F> {
    fn deciding(&mut self, moment: Moment<'_>, _: &Proposal, site: &SiteFile) {
        self.told = self.version(site).ok().map(|version| (moment.at, self.ask(&version, moment)));
    }

    fn recorded(&mut self, record: &Record, _: bool) {
        let Row::Decision(decision) = &record.row else { return };
        let Some((_, told)) = self.told.take_if(|(at, _)| *at == record.at_us) else { return };
        let charger = |(charger, would_have): (DeviceId, Milliamps)| {
            let was = decision.chargers.iter().find(|decided| decided.charger == charger);
            let was_told = was.map_or(Milliamps::ZERO, |was| was.setpoint_ma);
            ComparedCharger { charger, was_told, would_have }
        };
        let chargers = told.map(|told| told.into_iter().map(charger).collect());
        (self.sink)(Compared { sequence: record.sequence, at: record.at_us, chargers });
    }
}
