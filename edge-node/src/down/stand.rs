//! What stands at a site: what takes the place of what was taken back or has failed, and what couldn't be loaded.

use serde_json::json;
use wattle_wire::document::{Action, Head};
use wattle_wire::row::EventKind;
use wattle_wire::{Micros, SiteId};

use super::judge::{Judge, No};
use super::kept::{Deployment, Kept, Stand, Told};
use super::place::{Missed, Missing, Place};
use super::start;
use super::worker::{From, Worker, event, refused};
use crate::policy::{Back, Placed, Role, Source, Standing, Stands, Version};

/// What stands in a role, the newest first.
#[derive(Default)]
struct Next {
    /// Where what runs comes from.
    source: Option<Source>,
    /// What has decided before and could be loaded: two at most, and what people call each.
    versions: Vec<(Version, String)>,
    /// What couldn't.
    missed: Vec<(Missing, No)>,
    /// Why not, of what would decide.
    passed_over: Vec<String>,
}

impl Worker {
    /// Takes back what a document names.
    pub(super) fn roll_back(
        &mut self,
        site: &SiteId,
        head: &Head,
        (takes_back, from): (Option<u64>, &From),
        now: Micros,
    ) -> Result<String, No> {
        let place = &self.places[site];
        let version = taken_back(&place.kept, takes_back, from)?;
        let mut kept = place.kept.clone();
        let gone = kept.take_out(now, |deployment| deployment.version == version).remove(0);
        let role = gone.role();
        let next = self.next(place, &kept, role);
        let name = next.name(role);
        let text = format!("{} is taken back; {name}", gone.policy);
        let detail = json!({
            "kind": head.kind,
            "version": head.version,
            "action": Action::Rollback.as_str(),
            "sent_by": head.sent_by,
            "policy": name,
            "taken_back": gone.version,
        });
        let event = event(site, EventKind::DocumentApplied, &detail);
        let missing = next.passed_over.join("; ");
        let mut versions = next.versions.into_iter().map(|(version, _)| version);
        let version = versions.next();
        let mark = gone.mark(&place.own_settings()).unwrap_or_default();
        let back = Some(Back { gone: mark, stand_in: versions.next(), missing });
        let placed =
            Placed { role, document: head.version, source: next.source, version, at_once: true, back };
        self.hold(site, kept, (head, from), now, Some(placed), event)?;
        self.missed(site, next.missed);
        Ok(text)
    }

    /// What stands in a role.
    fn next(&self, place: &Place, kept: &Kept, role: Role) -> Next {
        let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
        let most = if role == Role::Active { 2 } else { 1 };
        let mut next = Next::default();
        for deployment in kept.standing.iter().rev().filter(|deployment| deployment.role() == role) {
            next.source.get_or_insert_with(|| judge.standing_source(deployment));
            // What is on trial goes on being so.
            if next.versions.len() == most || role == Role::Active && !deployment.proven {
                continue;
            }
            match judge.standing(deployment) {
                Ok((_, version)) => next.versions.push((version, deployment.policy.clone())),
                Err(no) => next.miss(Missing::Deployed(deployment.version), no),
            }
        }
        let (active, shadow) = &place.sources;
        let own = if role == Role::Active { active } else { shadow };
        if let Some(own) = own {
            next.source.get_or_insert_with(|| own.clone());
            if next.versions.len() < most {
                match own.load(&self.host) {
                    Ok(version) => {
                        let name = format!("{} of the site file", version.name());
                        next.versions.push((version, name));
                    }
                    Err(why) => next.miss(Missing::OfTheFile, No::Failed(why)),
                }
            }
        }
        next
    }

    /// Notes what couldn't be loaded, so that it is tried again.
    fn missed(&mut self, site: &SiteId, missed: Vec<(Missing, No)>) {
        let place = self.places.get_mut(site).expect("the site was looked up");
        for (what, no) in missed {
            let before = place.missed.remove(&what);
            place.missed.insert(what, Missed::of(no, before));
        }
        self.board.keep(site, &place.kept, place.unloaded());
    }

    /// Keeps how a version stands that was deployed; what has failed is taken out, and the next one takes its place.
    pub(super) fn standing(&mut self, site: &SiteId, standing: &Standing) {
        let now = self.clock.now();
        let Some(place) = self.places.get(site) else { return };
        let own = place.own_settings();
        let is_it = |deployment: &Deployment| {
            deployment.role() == standing.role
                && deployment.version <= standing.heard
                && deployment.mark(&own) == Some(standing.mark)
        };
        let mut kept = place.kept.clone();
        let failed = match Stand::of(standing.stands) {
            Some(stand) => {
                let Some(deployment) = kept.standing.iter_mut().rev().find(|deployment| is_it(deployment))
                else {
                    return;
                };
                if deployment.stands == stand && (deployment.proven || stand != Stand::Active) {
                    return;
                }
                // What is active again after a start has been so before.
                if standing.stands == Stands::Trial && deployment.proven {
                    return;
                }
                deployment.proven |= stand == Stand::Active;
                (deployment.stands, deployment.since_us) = (stand, now);
                None
            }
            None => {
                let Some(failed) = kept.take_out(now, is_it).pop() else { return };
                let told = Told {
                    version: failed.version,
                    action: Some(failed.action),
                    sha256: failed.sha256.clone(),
                    sent_by: failed.sent_by.clone(),
                    at_us: now,
                    refused: standing.reason.clone(),
                };
                let mut detail = refused(&told, wattle_wire::document::POLICY);
                detail["policy"] = failed.policy.as_str().into();
                if kept.told.as_ref().is_none_or(|newest| newest.version == failed.version) {
                    kept.told = Some(told);
                }
                Some(event(site, EventKind::DocumentRefused, &detail))
            }
        };
        if let Err(error) = self.folder.write(site, &kept) {
            tracing::error!(%site, %error, "how a policy stands can't be kept; after a restart it may be tried anew");
        }
        self.now_is(site, kept);
        if let Some(event) = failed {
            let placed = self.takes_over(site, standing.role);
            self.places[site].say(placed, Some(event));
        }
        self.tidy();
    }

    /// After a version has failed: what runs goes on, with the source from which its next version comes. What the site file's holds now is
    /// offered as any new version.
    fn takes_over(&mut self, site: &SiteId, role: Role) -> Option<Placed> {
        let place = &self.places[site];
        let document = place.kept.newest;
        let placed = |source, version| Placed {
            role,
            document,
            source: Some(source),
            version,
            at_once: false,
            back: None,
        };
        if let Some(newest) = place.kept.newest_of(role) {
            let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
            return Some(placed(judge.standing_source(newest), None));
        }
        let Next { source, versions, missed, .. } = self.next(place, &place.kept, role);
        self.missed(site, missed);
        Some(placed(source?, versions.into_iter().next().map(|(version, _)| version)))
    }

    /// Whether something is missing that is tried again.
    pub(super) fn misses(&self) -> bool {
        self.places.values().flat_map(|place| place.missed.values()).any(|missed| missed.retry.is_some())
    }

    /// Tries again what is due.
    pub(super) fn look(&mut self) {
        let mut due = Vec::new();
        for (site, place) in &mut self.places {
            let is_due = |missed: &mut Missed| missed.retry.as_mut().is_some_and(|retry| retry.is_due());
            let missed = place.missed.iter_mut().filter_map(|(what, missed)| is_due(missed).then_some(*what));
            due.extend(missed.map(|what| (site.clone(), what)));
        }
        for (site, what) in due {
            match what {
                Missing::Kept => self.read_again(&site),
                Missing::Deployed(version) => self.load_again(&site, version),
                Missing::OfTheFile => self.load_the_file_again(&site),
            }
        }
    }

    /// Reads what is kept of a site, if that couldn't be read.
    pub(super) fn read_again(&mut self, site: &SiteId) {
        let place = self.places.get_mut(site).expect("the site was looked up");
        let Some(before) = place.missed.remove(&Missing::Kept) else { return };
        match self.folder.read(site) {
            Ok(kept) => {
                tracing::info!(%site, "what is deployed can be read again");
                let versions: Vec<_> = start::to_load(&kept).map(|deployment| deployment.version).collect();
                self.now_is(site, kept);
                versions.into_iter().for_each(|version| self.load_again(site, version));
            }
            Err(error) => {
                place.missed.insert(Missing::Kept, Missed::may_pass(error.to_string(), Some(before)));
            }
        }
    }

    /// Loads what stands, if it couldn't be loaded.
    fn load_again(&mut self, site: &SiteId, version: u64) {
        let place = self.places.get_mut(site).expect("the site was looked up");
        let before = place.missed.remove(&Missing::Deployed(version));
        let found = place.kept.standing.iter().find(|deployment| deployment.version == version);
        let Some(deployment) = found else { return };
        let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
        match judge.standing(deployment) {
            Ok((source, version)) => {
                let placed = start::placed(deployment, place.kept.newest, source, version);
                let is_newest = place.kept.newest_of(deployment.role()).is_some_and(|n| n == deployment);
                if is_newest {
                    place.say(Some(placed), None);
                }
            }
            Err(no) => {
                place.missed.insert(Missing::Deployed(version), Missed::of(no, before));
            }
        }
        let place = &self.places[site];
        self.board.keep(site, &place.kept, place.unloaded());
    }

    /// Loads the policy of the site's file, if it couldn't be loaded when it was to decide again.
    fn load_the_file_again(&mut self, site: &SiteId) {
        let place = self.places.get_mut(site).expect("the site was looked up");
        let before = place.missed.remove(&Missing::OfTheFile);
        if place.kept.newest_of(Role::Active).is_some() {
            return;
        }
        let Some(source) = place.sources.0.clone() else { return };
        match source.load(&self.host) {
            Ok(version) => {
                let (document, source) = (place.kept.newest, Some(source));
                let version = Some(version);
                let placed =
                    Placed { role: Role::Active, document, source, version, at_once: false, back: None };
                place.say(Some(placed), None);
            }
            Err(why) => {
                place.missed.insert(Missing::OfTheFile, Missed::may_pass(why, before));
            }
        }
    }
}

impl Next {
    fn miss(&mut self, what: Missing, no: No) {
        if self.versions.is_empty() {
            self.passed_over.push(no.why().to_owned());
        }
        self.missed.push((what, no));
    }

    /// What decides, as people call it.
    fn name(&self, role: Role) -> String {
        let missed = &self.passed_over;
        let decides = self.versions.first().map(|(_, name)| name.clone());
        match (decides, role) {
            (Some(name), _) if missed.is_empty() => name,
            (Some(name), _) => format!("{name}; what stands above it can't be used: {}", missed.join("; ")),
            (None, Role::Shadow) => "nothing is in shadow".into(),
            (None, Role::Active) => format!(
                "what the site file's policy was when it decided last decides, or the built-in equal share; what would can't be \
                 used: {}",
                missed.join("; ")
            ),
        }
    }
}

/// The version that is taken back.
fn taken_back(kept: &Kept, takes_back: Option<u64>, from: &From) -> Result<u64, No> {
    let reason = match (takes_back, from) {
        (Some(version), _) if kept.standing.iter().any(|standing| standing.version == version) => {
            return Ok(version);
        }
        (Some(version), _) => format!(
            "version {version} does not stand at this site: it never came, has failed, or was taken back before; what decides goes on"
        ),
        (None, From::Fog) => "it doesn't say which version it takes back; update `wattle` and the fog node, or take it back at \
                              the edge node itself"
            .into(),
        (None, From::Person(_)) => match kept.standing.last() {
            Some(newest) => return Ok(newest.version),
            None => "nothing is deployed at this site; its site file's policy decides".into(),
        },
    };
    Err(No::Refused(reason))
}
