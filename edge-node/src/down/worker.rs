//! The thread that takes documents, one after the other, and keeps what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use wattle_policy_host::Host;
use wattle_site::Control;
use wattle_wire::document::{Action, Document, DocumentError, Head, PolicyOrder};
use wattle_wire::row::{Event, EventKind};
use wattle_wire::{EdgeId, Micros, SiteId};

use super::board::Board;
use super::judge::{Judge, Judged, No};
use super::kept::{Deployment, Folder, Kept, Stand, Told};
use super::with_settings;
use crate::clock::Clock;
use crate::policy::{Placed, Role, Source, Standing, Version};

/// The most jobs that wait. A document that finds no room is to come again; a standing that finds none is logged, and known again
/// after a restart.
pub const QUEUE: usize = 256;

/// What a site is told.
pub struct Order {
    /// A version for its place, if that changes.
    pub placed: Option<Placed>,
    /// The text that keyframes hold of the configuration from now on.
    pub configuration: String,
    /// What is journaled of it.
    pub event: Option<Event>,
}

/// Tells a site's actor.
pub type Tell = Box<dyn Fn(Order) + Send>;

/// A site as the worker knows it.
pub struct Place {
    /// What its file says.
    pub control: Control,
    /// Its file.
    pub text: Arc<str>,
    /// Where its file's policy and shadow come from.
    pub sources: (Option<Source>, Option<Source>),
    /// What is kept of it.
    pub kept: Kept,
    /// Its actor.
    pub tell: Tell,
}

/// Who has brought a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A person whose token has this name.
    Person(String),
    /// The fog node.
    Fog,
}

/// What has become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on the disk and holds.
    Applied,
    /// It doesn't hold and never will.
    Refused,
    /// A newer one came before.
    Older,
    /// The machine couldn't take it; it may come again.
    Failed,
}

/// What its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What has become of it.
    pub outcome: Outcome,
    /// Its version.
    pub version: u64,
    /// A sentence: which policy, or why not.
    pub text: String,
}

enum Job {
    Document { bytes: Vec<u8>, from: From, answer: oneshot::Sender<Answer> },
    Standing { site: SiteId, standing: Standing },
}

/// The way to the worker. It ends when the last of these is gone.
#[derive(Clone)]
pub struct Down {
    jobs: SyncSender<Job>,
    board: Board,
}

impl Down {
    /// Starts the thread. `places` are the sites with their actors.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(queue: Queue, worker: Worker) -> std::io::Result<()> {
        std::thread::Builder::new().name("way-down".into()).spawn(move || worker.run(&queue.0)).map(drop)
    }

    /// The way, before its thread is started: sites are built with it.
    pub fn new(board: Board) -> (Self, Queue) {
        let (jobs, queue) = sync_channel(QUEUE);
        (Self { jobs, board }, Queue(queue))
    }

    /// What is known of it.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Brings a document; what becomes of it.
    pub async fn document(&self, bytes: Vec<u8>, from: From) -> Answer {
        let (answer, answered) = oneshot::channel();
        let failed = |text: &str| Answer { outcome: Outcome::Failed, version: 0, text: text.to_owned() };
        if self.jobs.try_send(Job::Document { bytes, from, answer }).is_err() {
            return failed("too much waits at this node; send it again");
        }
        answered.await.unwrap_or_else(|_| failed("this node stops; send it again"))
    }

    /// Tells how a version stands.
    pub fn standing(&self, site: &SiteId, standing: Standing) {
        match self.jobs.try_send(Job::Standing { site: site.clone(), standing }) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => tracing::warn!(%site, "how a policy stands was not kept"),
        }
    }
}

/// What waits for the worker.
pub struct Queue(Receiver<Job>);

/// The worker.
pub struct Worker {
    /// The node's name.
    pub edge: EdgeId,
    /// The runtime of policies, with the keys that are trusted.
    pub host: Host,
    /// What is on the disk.
    pub folder: Folder,
    /// The node's clock.
    pub clock: Arc<Clock>,
    /// The sites.
    pub places: BTreeMap<SiteId, Place>,
    /// What others may know.
    pub board: Board,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Document { bytes, from, answer } => {
                    let told = self.document(&bytes, &from);
                    tracing::info!(outcome = ?told.outcome, version = told.version, "{}", told.text);
                    // Whoever has gone hears of it by the status or the journal.
                    let _ = answer.send(told);
                }
                Job::Standing { site, standing } => self.standing(&site, &standing),
            }
        }
    }

    pub(super) fn document(&mut self, bytes: &[u8], from: &From) -> Answer {
        match Document::decode(bytes) {
            Ok(document) => self.take(document, from),
            Err(error) => self.unreadable(bytes, &error, from),
        }
    }

    /// Refuses what can't be read; where it says whose it is, it needn't come again.
    fn unreadable(&self, bytes: &[u8], error: &DocumentError, from: &From) -> Answer {
        let answer = |version| Answer { outcome: Outcome::Refused, version, text: error.to_string() };
        let Some(address) = Document::address(bytes).filter(|_| *from == From::Fog) else { return answer(0) };
        let detail = json!({"kind": address.kind, "version": address.version, "reason": error.to_string()});
        self.stranger(&address.site, address.kind, address.version, detail);
        answer(address.version)
    }

    /// Journals that a document of a site or a kind that is none of ours was refused.
    fn stranger(&self, site: &SiteId, kind: String, version: u64, detail: Value) {
        self.board.refused(site.clone(), kind, version);
        let place = self.places.get(site).or_else(|| self.places.values().next());
        if let Some(place) = place {
            let event = event(site, EventKind::DocumentRefused, &detail);
            (place.tell)(Order { placed: None, configuration: place.configuration(), event: Some(event) });
        }
    }

    fn take(&mut self, mut document: Document, from: &From) -> Answer {
        let now = self.clock.now();
        let Head { site, edge, .. } = &document.head;
        let site = site.clone();
        let edge = edge.clone().unwrap_or_else(|| self.edge.clone());
        let Some(place) = self.places.get(&site).filter(|_| edge == self.edge) else {
            let sites: Vec<_> = self.places.keys().map(SiteId::as_str).collect();
            let text = format!(
                "it is for the site {site} of the edge {edge}; this is the edge {} with the sites {}",
                self.edge,
                sites.join(", ")
            );
            if *from == From::Fog {
                let detail = detail(&document.head, &text);
                self.stranger(&site, document.head.kind.clone(), document.head.version, detail);
            }
            return Answer { outcome: Outcome::Refused, version: document.head.version, text };
        };
        let newest = place.kept.newest;
        if let From::Person(name) = from {
            document.head.version = u64::try_from(now.0).unwrap_or(0).max(newest + 1);
            document.head.sent_by.clone_from(name);
        } else if document.head.version <= newest {
            let text = format!("version {} came after {newest}, which is newer", document.head.version);
            return Answer { outcome: Outcome::Older, version: document.head.version, text };
        }
        let version = document.head.version;
        let order = document.head.policy.clone().expect("a document that was decoded has an order");
        let done = match order.action {
            Action::Rollback => self.roll_back(&site, &document.head, now),
            _ => self.deploy(&site, &document, &order, now),
        };
        let answer = match done {
            Ok(text) => Answer { outcome: Outcome::Applied, version, text },
            Err(No::Refused(reason)) => self.refuse(&site, &document.head, &reason, now),
            Err(No::Failed(text)) => Answer { outcome: Outcome::Failed, version, text },
        };
        self.folder.tidy(self.places.values().map(|place| &place.kept));
        answer
    }

    fn deploy(
        &mut self,
        site: &SiteId,
        document: &Document,
        order: &PolicyOrder,
        now: Micros,
    ) -> Result<String, No> {
        let place = &self.places[site];
        let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
        let Judged { source, version, sha256, settings, signed_by } = judge.policy(document, order)?;
        let role = if order.action == Action::Shadow { Role::Shadow } else { Role::Active };
        let deployment = Deployment {
            version: document.head.version,
            action: order.action,
            policy: version.name(),
            sha256,
            settings,
            sent_by: document.head.sent_by.clone(),
            signed_by,
            applied_us: now,
            proven: order.action == Action::Activate,
            stands: match order.action {
                Action::Activate => Stand::Active,
                Action::Shadow => Stand::Shadow,
                _ => Stand::Trial,
            },
            since_us: now,
        };
        let text = format!("{} is applied ({})", deployment.policy, order.action.as_str());
        let event = event(site, EventKind::DocumentApplied, &applied(&deployment));
        let mut kept = place.kept.clone();
        kept.push(deployment);
        let at_once = order.action == Action::Activate;
        let placed = Placed { role, source: Some(source), version: Some(version), at_once };
        self.hold(site, kept, &document.head, now, placed, event)?;
        Ok(text)
    }

    fn roll_back(&mut self, site: &SiteId, head: &Head, now: Micros) -> Result<String, No> {
        let place = &self.places[site];
        let mut kept = place.kept.clone();
        let Some(gone) = kept.standing.pop() else {
            return Err(No::Refused(
                "nothing is deployed at this site; its site file's policy decides".into(),
            ));
        };
        let role = gone.role();
        let (source, version, name) = self.next_standing(place, &kept, role)?;
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
        let placed = Placed { role, source, version, at_once: true };
        self.hold(site, kept, head, now, placed, event)?;
        Ok(text)
    }

    /// What takes the place of what is taken out of `kept`, and how people call that.
    fn next_standing(
        &self,
        place: &Place,
        kept: &Kept,
        role: Role,
    ) -> Result<(Option<Source>, Option<Version>, String), No> {
        let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
        if let Some(deployment) = kept.newest_of(role) {
            let (source, version) = judge.standing(deployment)?;
            return Ok((Some(source), Some(version), deployment.policy.clone()));
        }
        let own = if role == Role::Active { &place.sources.0 } else { &place.sources.1 };
        let Some(source) = own else { return Ok((None, None, "nothing is in shadow".into())) };
        let version = source
            .load(&self.host)
            .map_err(|reason| No::Refused(format!("what would decide then can't be used: {reason}")))?;
        let name = format!("{} of the site file", version.name());
        Ok((Some(source.clone()), Some(version), name))
    }

    /// Keeps what holds from now on, and then tells the site.
    fn hold(
        &mut self,
        site: &SiteId,
        mut kept: Kept,
        head: &Head,
        now: Micros,
        placed: Placed,
        event: Event,
    ) -> Result<(), No> {
        kept.newest = head.version;
        kept.told = Some(told(head, now, ""));
        let place = self.places.get_mut(site).expect("the site was looked up");
        self.folder
            .write(site, &kept)
            .map_err(|error| No::Failed(format!("what is deployed can't be kept: {error}")))?;
        place.kept = kept;
        self.board.keep(site, &place.kept);
        let configuration = place.configuration();
        (place.tell)(Order { placed: Some(placed), configuration, event: Some(event) });
        Ok(())
    }

    fn refuse(&mut self, site: &SiteId, head: &Head, reason: &str, now: Micros) -> Answer {
        let (version, text) = (head.version, reason.to_owned());
        let place = self.places.get_mut(site).expect("the site was looked up");
        let kept = Kept { newest: version, told: Some(told(head, now, reason)), ..place.kept.clone() };
        if let Err(error) = self.folder.write(site, &kept) {
            let text = format!("{reason} (which can't be kept: {error})");
            return Answer { outcome: Outcome::Failed, version, text };
        }
        place.kept = kept;
        self.board.keep(site, &place.kept);
        let event = event(site, EventKind::DocumentRefused, &detail(head, reason));
        (place.tell)(Order { placed: None, configuration: place.configuration(), event: Some(event) });
        Answer { outcome: Outcome::Refused, version, text }
    }

    /// Keeps how a version stands that was deployed; what has failed is taken out, and the next one takes its place.
    pub(super) fn standing(&mut self, site: &SiteId, standing: &Standing) {
        let now = self.clock.now();
        let Some(place) = self.places.get_mut(site) else { return };
        let mut kept = place.kept.clone();
        let Some(at) = place.find(&standing.mark) else { return };
        let order = match Stand::of(standing.stands) {
            Some(stand) => {
                let deployment = &mut kept.standing[at];
                if deployment.stands == stand && (deployment.proven || stand != Stand::Active) {
                    return;
                }
                // What is active again after a start has been so before.
                if stand == Stand::Trial && deployment.proven {
                    return;
                }
                deployment.proven |= stand == Stand::Active;
                (deployment.stands, deployment.since_us) = (stand, now);
                None
            }
            None => {
                let failed = kept.standing.remove(at);
                let told = Told {
                    version: failed.version,
                    action: Some(failed.action),
                    sha256: failed.sha256.clone(),
                    sent_by: failed.sent_by.clone(),
                    at_us: now,
                    refused: standing.reason.clone(),
                };
                let detail = json!({
                    "kind": "policy",
                    "version": failed.version,
                    "action": failed.action.as_str(),
                    "policy": failed.policy,
                    "sha256": failed.sha256,
                    "sent_by": failed.sent_by,
                    "reason": standing.reason,
                });
                if kept.told.as_ref().is_none_or(|newest| newest.version == failed.version) {
                    kept.told = Some(told);
                }
                Some((failed.role(), detail))
            }
        };
        if let Err(error) = self.folder.write(site, &kept) {
            tracing::error!(%site, %error, "how a policy stands can't be kept; after a restart it may be tried anew");
        }
        place.kept = kept;
        self.board.keep(site, &place.kept);
        if let Some((role, detail)) = order {
            self.next_takes_over(site, role, &detail);
        }
        self.folder.tidy(self.places.values().map(|place| &place.kept));
    }

    /// After a version has failed: what runs goes on, with the file from which its next version comes.
    fn next_takes_over(&self, site: &SiteId, role: Role, detail: &Value) {
        let place = &self.places[site];
        let (source, version) = match self.next_standing(place, &place.kept, role) {
            Ok((source, version, _)) => (source, version),
            Err(No::Refused(reason) | No::Failed(reason)) => {
                tracing::error!(%site, reason, "nothing takes the place of the policy that failed");
                (None, None)
            }
        };
        // The site has gone back to what decided before; here only the shadow is missing.
        let version = version.filter(|_| role == Role::Shadow);
        let placed = source.is_some().then_some(Placed { role, source, version, at_once: true });
        let event = Some(event(site, EventKind::DocumentRefused, detail));
        (place.tell)(Order { placed, configuration: place.configuration(), event });
    }
}

impl Place {
    /// The newest deployment with this mark.
    fn find(&self, mark: &[u8; 32]) -> Option<usize> {
        let own = Source::with_settings("".into(), &self.control, &self.control.settings);
        self.kept
            .standing
            .iter()
            .rposition(|deployment| deployment.mark(own.settings()).as_ref() == Some(mark))
    }

    /// What keyframes hold of the configuration.
    pub fn configuration(&self) -> String {
        let standing = self.kept.standing.iter();
        with_settings(&self.text, standing.filter_map(|deployment| deployment.settings.as_deref()))
    }
}

/// What an applied deployment is journaled as.
pub fn applied(deployment: &Deployment) -> Value {
    let settings = deployment.settings.as_deref().map(serde_json::from_str::<Value>);
    json!({
        "kind": "policy",
        "version": deployment.version,
        "action": deployment.action.as_str(),
        "policy": deployment.policy,
        "sha256": deployment.sha256,
        "settings": settings.and_then(Result::ok),
        "sent_by": deployment.sent_by,
        "signed_by": deployment.signed_by,
    })
}

/// The row of it; the detail stands whole.
pub fn event(site: &SiteId, kind: EventKind, detail: &Value) -> Event {
    Event { detail: detail.to_string(), ..Event::new(site.clone(), None, kind, "") }
}

fn detail(head: &Head, reason: &str) -> Value {
    json!({
        "kind": head.kind,
        "version": head.version,
        "action": head.policy.as_ref().map(|order| order.action.as_str()),
        "sha256": head.sha256,
        "sent_by": head.sent_by,
        "reason": reason,
    })
}

fn told(head: &Head, now: Micros, refused: &str) -> Told {
    Told {
        version: head.version,
        action: head.policy.as_ref().map(|order| order.action),
        sha256: head.sha256.clone(),
        sent_by: head.sent_by.clone(),
        at_us: now,
        refused: refused.to_owned(),
    }
}
