//! The thread that takes documents, one after the other, and keeps what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use wattle_policy_host::Host;
use wattle_wire::document::{
    Action, Address, Document, DocumentError, HasOf, Head, MAX_TEXT_BYTES, POLICY, PolicyOrder,
};
use wattle_wire::row::{Event, EventKind};
use wattle_wire::{EdgeId, Micros, SiteId};

use super::board::Board;
use super::folder::Folder;
use super::judge::{Judge, Judged, No};
use super::kept::{Deployment, Kept, Stand, Told, role_of};
use super::number::{numbered, overtaken, unless_given};
use super::place::{Missing, Place};
use crate::clock::Clock;
use crate::policy::{Placed, Standing};

/// How long it is waited before it is looked again at what couldn't be read or loaded.
const LOOK: Duration = Duration::from_secs(1);
/// The most jobs that wait. A document that finds no room is to come again; a standing that finds none is logged, and known again
/// after a restart.
pub const QUEUE: usize = 256;

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
        loop {
            let wait = if self.misses() { LOOK } else { Duration::MAX };
            match jobs.recv_timeout(wait) {
                Ok(Job::Document { bytes, from, answer }) => {
                    let told = self.document(&bytes, &from);
                    tracing::info!(outcome = ?told.outcome, version = told.version, "{}", told.text);
                    // Whoever has gone hears of it by the status or the journal.
                    let _ = answer.send(told);
                }
                Ok(Job::Standing { site, standing }) => self.standing(&site, &standing),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
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
    fn unreadable(&mut self, bytes: &[u8], error: &DocumentError, from: &From) -> Answer {
        let text = error.to_string();
        let Some(Address { kind, site, version }) = Document::address(bytes).filter(|address| {
            *from == From::Fog && address.version > 0 && address.kind.len() <= MAX_TEXT_BYTES
        }) else {
            return Answer { outcome: Outcome::Refused, version: 0, text };
        };
        let detail = json!({"kind": kind, "version": version, "reason": text});
        let told = Told { version, at_us: self.clock.now(), refused: text, ..Told::default() };
        self.not_ours((&site, &kind), told, &detail)
    }

    /// Refuses a document that was handed to the wrong node, or that is of no use here. It doesn't come again.
    fn not_ours(&mut self, (site, kind): (&SiteId, &str), told: Told, detail: &Value) -> Answer {
        let newest = self.places.get(site).filter(|_| kind == POLICY).map_or(0, |place| place.kept.newest);
        if let Some(answer) = unless_given(told.version, newest) {
            return answer;
        }
        if kind == POLICY && self.places.contains_key(site) {
            return self.refuse(site, told, detail);
        }
        let (version, text) = (told.version, told.refused);
        let known = self.board.has();
        if known.iter().any(|has| has.site == *site && has.kind == kind && has.version >= version) {
            return Answer { outcome: Outcome::Older, version, text };
        }
        let refused = HasOf { site: site.clone(), kind: kind.to_owned(), version };
        if let Err(error) = self.folder.write_strangers(&self.board.refused([refused])) {
            let text = format!("{text} (which can't be kept: {error})");
            return Answer { outcome: Outcome::Failed, version, text };
        }
        let place = self.places.get(site).or_else(|| self.places.values().next());
        if let Some(place) = place {
            place.say(None, Some(event(site, EventKind::DocumentRefused, detail)));
        }
        Answer { outcome: Outcome::Refused, version, text }
    }

    fn take(&mut self, mut document: Document, from: &From) -> Answer {
        let now = self.clock.now();
        let Head { site, edge, .. } = &document.head;
        let site = site.clone();
        let edge = edge.clone().unwrap_or_else(|| self.edge.clone());
        if edge != self.edge || !self.places.contains_key(&site) {
            return self.misaddressed(&document.head, &edge, from, now);
        }
        self.read_again(&site);
        let place = &self.places[&site];
        if let Some(missed) = place.missed.get(&Missing::Kept) {
            let (version, why) = (document.head.version, &missed.why);
            let text = format!("what is deployed can't be read: {why}; send it again");
            return Answer { outcome: Outcome::Failed, version, text };
        }
        if let Some(answer) = numbered(&mut document.head, &place.kept, from, now) {
            return answer;
        }
        let head = &document.head;
        let version = head.version;
        let order = head.policy.clone().expect("a document that was decoded has an order");
        let done = match order.action {
            Action::Rollback => self.roll_back(&site, head, (order.takes_back, from), now),
            _ => match overtaken(head, &place.kept) {
                Some(why) => Err(No::Refused(why)),
                None => self.deploy(&site, &document, &order, (from, now)),
            },
        };
        let answer = match done {
            Ok(text) => Answer { outcome: Outcome::Applied, version, text },
            Err(No::Refused(reason)) => {
                let told = Told::of(head, now, &reason);
                let detail = refused(&told, &head.kind);
                self.refuse(&site, told, &detail)
            }
            Err(No::Failed(text)) => Answer { outcome: Outcome::Failed, version, text },
        };
        self.tidy();
        answer
    }

    fn misaddressed(&mut self, head: &Head, edge: &EdgeId, from: &From, now: Micros) -> Answer {
        let sites: Vec<_> = self.places.keys().map(SiteId::as_str).collect();
        let text = format!(
            "it is for the site {} of the edge {edge}; this is the edge {} with the sites {}",
            head.site,
            self.edge,
            sites.join(", ")
        );
        if *from != From::Fog {
            return Answer { outcome: Outcome::Refused, version: head.version, text };
        }
        let told = Told::of(head, now, &text);
        let detail = refused(&told, &head.kind);
        self.not_ours((&head.site, &head.kind), told, &detail)
    }

    fn deploy(
        &mut self,
        site: &SiteId,
        document: &Document,
        order: &PolicyOrder,
        (from, now): (&From, Micros),
    ) -> Result<String, No> {
        let place = &self.places[site];
        let judge = Judge { host: &self.host, folder: &self.folder, control: &place.control };
        let Judged { source, version, sha256, settings, signed_by } = judge.policy(document, order)?;
        let role = role_of(order.action);
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
        kept.push(deployment, &place.own_settings());
        let at_once = order.action == Action::Activate;
        let document_version = document.head.version;
        let placed = Placed {
            role,
            document: document_version,
            source: Some(source),
            version: Some(version),
            at_once,
            back: None,
        };
        self.hold(site, kept, (&document.head, from), now, Some(placed), event)?;
        Ok(text)
    }

    /// Keeps what holds from now on, and then tells the site.
    pub(super) fn hold(
        &mut self,
        site: &SiteId,
        mut kept: Kept,
        (head, from): (&Head, &From),
        now: Micros,
        placed: Option<Placed>,
        event: Event,
    ) -> Result<(), No> {
        kept.newest = head.version;
        if *from != From::Fog {
            kept.local = head.version;
        }
        kept.told = Some(Told::of(head, now, ""));
        self.folder
            .write(site, &kept)
            .map_err(|error| No::Failed(format!("what is deployed can't be kept: {error}")))?;
        self.now_is(site, kept);
        self.places[site].say(placed, Some(event));
        Ok(())
    }

    /// What is on the disk of a site.
    pub(super) fn now_is(&mut self, site: &SiteId, kept: Kept) {
        let place = self.places.get_mut(site).expect("the site was looked up");
        place.kept = kept;
        place.prune();
        self.board.keep(site, &place.kept, place.unloaded());
    }

    fn refuse(&mut self, site: &SiteId, told: Told, detail: &Value) -> Answer {
        let (version, text) = (told.version, told.refused.clone());
        let kept = self.places[site].kept.clone();
        if self.places[site].missed.contains_key(&Missing::Kept) {
            return Answer { outcome: Outcome::Failed, version, text };
        }
        if version <= kept.newest {
            return Answer { outcome: Outcome::Older, version, text };
        }
        let kept = Kept { newest: version, told: Some(told), ..kept };
        if let Err(error) = self.folder.write(site, &kept) {
            let text = format!("{text} (which can't be kept: {error})");
            return Answer { outcome: Outcome::Failed, version, text };
        }
        self.now_is(site, kept);
        self.places[site].say(None, Some(event(site, EventKind::DocumentRefused, detail)));
        Answer { outcome: Outcome::Refused, version, text }
    }

    /// Deletes components that nobody needs; not while it isn't known what is needed.
    pub(super) fn tidy(&self) {
        if !self.places.values().any(|place| place.missed.contains_key(&Missing::Kept)) {
            self.folder.tidy(self.places.values().map(|place| &place.kept));
        }
    }
}

/// What an applied deployment is journaled as.
pub fn applied(deployment: &Deployment) -> Value {
    let mut detail = deployment.json();
    detail["kind"] = POLICY.into();
    detail
}

/// What a refused document is journaled as.
pub fn refused(told: &Told, kind: &str) -> Value {
    let mut detail = told.json();
    (detail["kind"], detail["reason"]) = (kind.into(), told.refused.as_str().into());
    detail
}

/// The row of it; the detail stands whole.
pub fn event(site: &SiteId, kind: EventKind, detail: &Value) -> Event {
    Event { detail: detail.to_string(), ..Event::new(site.clone(), None, kind, "") }
}
