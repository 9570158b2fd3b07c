//! The journal's actor: the only one that waits for the disk, on a thread of its own.
//!
//! What has gathered in its mailbox is appended in order and made durable by one sync (group commit); only
//! then are the parts of the batches said to be synced. The rows behind that sync are what the fsync policy
//! promises, see [`SyncPolicy`](crate::journal::SyncPolicy).
//!
//! When the disk refuses, or the log is above its budget until rows are sealed, the actor tries again after
//! [`RETRY`]. Meanwhile rows wait here, parts stay open and permits stay taken, so that the MQTT lanes stop
//! reading; nothing is lost. Everything else goes on: sealing, freeing and reading for the uplink, which is what
//! makes room. What waits is bounded, because each row that comes holds a permit: those of messages one of
//! [`crate::mqtt::MAX_UNSYNCED`], those of a site's own making one of [`super::site::MAX_HELD`].
//!
//! A row that the journal can't take, because it is too large, is replaced by an event that says so.
//!
//! Sealing reads and compresses on another thread. Checkpoints are written here, behind the rows that they
//! know of (see [`crate::checkpoint`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wattle_process::Health;
use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::uplink::SegmentHeader;
use wattle_wire::{DeviceId, Micros, SiteId};

use crate::batch::Part;
use crate::checkpoint::{Checkpoint, Kept};
use crate::clock::Clock;
use crate::journal::{Journal as Log, JournalError, SealJob, Sealing, Stats};

/// After how long it tries again to write what the disk refused.
const RETRY: Duration = Duration::from_millis(500);
/// How often it looks for rows to seal, and says how it stands.
const TICK: Duration = Duration::from_millis(250);

/// What a site has to journal.
#[derive(Default, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// In order, each with the moment when it was taken.
    pub entries: VecDeque<(Micros, Row)>,
    /// States that know of these entries and all before.
    pub kept: Vec<Kept>,
    /// Synced once the entries are.
    pub parts: Vec<Part>,
    /// One permit for each entry of the site's own making, given back when the entries are in the journal.
    pub held: Option<OwnedSemaphorePermit>,
}

impl Append {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.kept.is_empty() && self.parts.is_empty()
    }
}

/// What the actor asks of a disk buffer: what [`crate::journal::Journal`] does, so that a test can hold it up.
pub trait Store: Unpin + 'static {
    /// Takes a row; see `Journal::append`.
    ///
    /// # Errors
    /// As there.
    fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError>;
    /// Makes what was taken durable; see `Journal::sync`.
    ///
    /// # Errors
    /// As there.
    fn sync(&mut self) -> Result<u64, JournalError>;
    /// What a thread has to do to seal; see `SealJob::run`.
    fn sealing(&mut self, job: SealJob) -> Box<dyn FnOnce() -> Result<Sealing, JournalError> + Send> {
        Box::new(move || job.run())
    }
    /// The journal itself, for what never holds up an acknowledgement.
    fn log(&mut self) -> &mut Log;
}

impl Store for Log {
    fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError> {
        Self::append(self, at, row)
    }

    fn sync(&mut self) -> Result<u64, JournalError> {
        Self::sync(self)
    }

    fn log(&mut self) -> &mut Log {
        self
    }
}

/// What the journal's actor shares with the rest of the node.
#[derive(Clone)]
pub struct Shared {
    /// The node's clock.
    pub clock: Arc<Clock>,
    /// Says when the disk refuses.
    pub health: Health,
    /// For the status page.
    pub board: Arc<Mutex<Value>>,
    /// The last sealed sequence, for the uplink.
    pub sealed: watch::Sender<u64>,
    /// Whether it is a journal of a former life: the metrics tell of the node's own.
    pub is_former: bool,
}

/// The actor.
pub struct Journal {
    store: Box<dyn Store>,
    shared: Shared,
    /// The names of the node's sites, by index.
    sites: Vec<SiteId>,
    checkpoint: Checkpoint,
    /// Whether `checkpoint` knows more than the disk.
    kept_more: bool,
    waiting: VecDeque<Append>,
    /// Appended, not synced yet.
    appended: Vec<Part>,
    last: u64,
    /// Whether a [`Commit`] or another try is on its way.
    committing: bool,
    sealing: bool,
    /// Why the last commit failed, if it did.
    failure: Option<String>,
    /// Why the last sealing failed, if it did.
    seal_failure: Option<String>,
}

/// Appends and syncs what has gathered.
#[derive(Message)]
#[rtype(result = "()")]
struct Commit;

/// A sealing has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Sealed(Result<Sealing, JournalError>);

/// Asks for the first sealed segment after a sequence.
#[derive(Message)]
#[rtype(result = "Result<Option<(SegmentHeader, Bytes)>, JournalError>")]
pub struct ReadAfter(pub Option<u64>);

/// Says how far the lake is.
#[derive(Message)]
#[rtype(result = "Result<(), JournalError>")]
pub struct Free(pub u64);

/// Asks how it stands.
#[derive(Message)]
#[rtype(result = "Stats")]
pub struct Ask;

/// Seals everything, writes the checkpoint, and says how it stands. For an orderly end.
#[derive(Message)]
#[rtype(result = "Result<Stats, JournalError>")]
pub struct Close;

impl Journal {
    /// An actor over this journal. `checkpoint` is what is known of every device at the journal's last entry.
    pub fn new(store: impl Store, shared: Shared, sites: Vec<SiteId>, checkpoint: Checkpoint) -> Self {
        let mut store = Box::new(store);
        let last = store.log().stats().next_sequence - 1;
        Self {
            store,
            shared,
            sites,
            checkpoint,
            kept_more: true,
            waiting: VecDeque::new(),
            appended: Vec::new(),
            last,
            committing: false,
            sealing: false,
            failure: None,
            seal_failure: None,
        }
    }

    /// Appends and syncs everything that waits. After an error the rest waits; what was appended before it is synced.
    fn commit(&mut self) -> Result<(), JournalError> {
        let appended = self.append();
        self.store.sync()?;
        self.appended.drain(..).for_each(Part::synced);
        appended
    }

    fn append(&mut self) -> Result<(), JournalError> {
        while let Some(append) = self.waiting.front_mut() {
            while let Some((at, row)) = append.entries.front() {
                match self.store.append(*at, row.clone()) {
                    Ok(sequence) => self.last = sequence,
                    Err(JournalError::Full { .. }) => {
                        self.store.sync()?;
                        continue;
                    }
                    Err(error @ (JournalError::RecordTooLarge | JournalError::GapAppended)) => {
                        tracing::error!(%error, "a row is not journaled; an event says so in its place");
                        if let Some(event) = instead_of(row, &error) {
                            append.entries[0] = (*at, event);
                            continue;
                        }
                    }
                    Err(error) => return Err(error),
                }
                append.entries.pop_front();
            }
            for kept in append.kept.drain(..) {
                let site = self.sites[kept.site].clone();
                self.checkpoint.keep(site, kept.device, self.last, kept.state);
                self.kept_more = true;
            }
            self.appended.append(&mut append.parts);
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Commits; when that fails, tries again later. Says it once.
    fn commit_or_retry(&mut self, ctx: &mut Context<Self>) {
        let failure = self.commit().err().map(|error| error.to_string());
        self.committing = failure.is_some();
        if failure.is_some() {
            metrics::counter!("wattle_edge_journal_errors_total").increment(1);
            ctx.run_later(RETRY, Self::commit_or_retry);
        }
        if failure == self.failure {
            return;
        }
        match &failure {
            Some(error) => {
                tracing::error!(error, "the journal takes no rows; input waits until it does");
                self.shared.health.fail("journal", error.clone());
            }
            None => {
                tracing::info!("the journal takes rows again");
                self.shared.health.clear("journal");
            }
        }
        self.failure = failure;
    }

    /// Says it once when sealing fails, fails otherwise, or works again.
    fn report_sealing(&mut self, result: Result<(), JournalError>) {
        let failure = result.err().map(|error| error.to_string());
        if failure == self.seal_failure {
            return;
        }
        match &failure {
            Some(error) => {
                tracing::error!(error, "rows can't be sealed; trying again");
                self.shared.health.fail("sealing", error.clone());
            }
            None => {
                tracing::info!("rows are sealed again");
                self.shared.health.clear("sealing");
            }
        }
        self.seal_failure = failure;
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.seal(ctx);
        let stats = self.store.log().stats();
        let now = self.shared.clock.now();
        if !self.shared.is_former {
            publish(&stats, now);
        }
        self.tell_sealed();
        *self.shared.board.lock().unwrap_or_else(PoisonError::into_inner) = as_json(&stats, now);
    }

    /// Starts a sealing on another thread, if something is due and none is under way.
    fn seal(&mut self, ctx: &mut Context<Self>) {
        if self.sealing {
            return;
        }
        let now = self.shared.clock.now();
        match self.store.log().seal_job(now) {
            Ok(None) => {}
            Ok(Some(job)) => {
                self.sealing = true;
                let (done, result) = tokio::sync::oneshot::channel();
                let work = self.store.sealing(job);
                let thread = std::thread::Builder::new().name("seal".into());
                if let Err(error) = thread.spawn(move || drop(done.send(work()))) {
                    tracing::error!(%error, "no thread for sealing");
                    self.sealing = false;
                    return;
                }
                let address = ctx.address();
                ctx.spawn(result.into_actor(self).map(move |result, actor, _| match result {
                    Ok(result) => address.do_send(Sealed(result)),
                    Err(_) => actor.sealing = false,
                }));
            }
            Err(error) => self.report_sealing(Err(error)),
        }
    }

    fn tell_sealed(&mut self) {
        let sealed_to = self.store.log().stats().sealed_to;
        self.shared.sealed.send_if_modified(|told| std::mem::replace(told, sealed_to) != sealed_to);
    }

    /// Writes the checkpoint, if there is more to know. Only between commits, so that it is behind its rows.
    fn write_checkpoint(&mut self) -> Result<(), JournalError> {
        if let Some(covered) = self.checkpoint.covered().filter(|_| self.kept_more) {
            self.store.log().checkpoint(covered, &self.checkpoint.encode())?;
            self.kept_more = false;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<Stats, JournalError> {
        self.commit()?;
        self.write_checkpoint()?;
        // Past the age at which every row is due.
        let due = self.shared.clock.now() + Micros::from_secs(7200);
        if !self.sealing {
            self.store.log().seal(due)?;
            self.tell_sealed();
        }
        Ok(self.store.log().stats())
    }
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX);
        self.sealing = false;
        self.committing = !self.waiting.is_empty();
        if self.committing {
            ctx.notify(Commit);
        }
        ctx.run_interval(TICK, Self::tick);
    }
}

impl Supervised for Journal {}

impl Handler<Append> for Journal {
    type Result = ();

    fn handle(&mut self, append: Append, ctx: &mut Self::Context) {
        self.waiting.push_back(append);
        if !self.committing {
            self.committing = true;
            // Runs when the mailbox is empty: so one sync is for all that has gathered.
            ctx.notify(Commit);
        }
    }
}

impl Handler<Commit> for Journal {
    type Result = ();

    fn handle(&mut self, _: Commit, ctx: &mut Self::Context) {
        self.commit_or_retry(ctx);
    }
}

impl Handler<Sealed> for Journal {
    type Result = ();

    fn handle(&mut self, Sealed(result): Sealed, ctx: &mut Self::Context) {
        self.sealing = false;
        let now = self.shared.clock.now();
        let log = self.store.log();
        let taken = result.and_then(|sealing| log.sealed(sealing, now));
        let taken = taken.and_then(|()| self.write_checkpoint());
        let sealed = taken.is_ok();
        self.report_sealing(taken);
        self.tell_sealed();
        if sealed {
            self.seal(ctx);
        }
    }
}

impl Handler<ReadAfter> for Journal {
    type Result = Result<Option<(SegmentHeader, Bytes)>, JournalError>;

    fn handle(&mut self, ReadAfter(sequence): ReadAfter, _: &mut Self::Context) -> Self::Result {
        self.store.log().read_after(sequence)
    }
}

impl Handler<Free> for Journal {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Free(sequence): Free, _: &mut Self::Context) -> Self::Result {
        self.store.log().free(sequence)
    }
}

impl Handler<Ask> for Journal {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, _: Ask, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.store.log().stats())
    }
}

impl Handler<Close> for Journal {
    type Result = Result<Stats, JournalError>;

    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        self.close()
    }
}

/// The event that stands in the place of a row that can't be journaled.
fn instead_of(row: &Row, error: &JournalError) -> Option<Row> {
    let event = |site: &SiteId, device: Option<&DeviceId>, what: &str| {
        let detail = format!("too_large: {what} was not journaled: {error}");
        Some(Row::Event(Event::new(site.clone(), device.cloned(), EventKind::Malformed, detail)))
    };
    match row {
        Row::Reading(reading) => event(&reading.site, Some(&reading.device), "a reading"),
        Row::Event(old) => event(&old.site, old.device.as_ref(), old.kind.as_str()),
        Row::Decision(decision) => event(&decision.site, None, "a decision"),
        // Nobody makes one but the journal itself.
        Row::Gap(_) => None,
    }
}

fn publish(stats: &Stats, now: Micros) {
    metrics::gauge!("wattle_edge_journal_depth").set(stats.depth as f64);
    metrics::gauge!("wattle_edge_journal_bytes").set(stats.bytes as f64);
    metrics::gauge!("wattle_edge_journal_segments").set(stats.segments as f64);
    metrics::gauge!("wattle_edge_journal_dropped").set(stats.dropped as f64);
    metrics::gauge!("wattle_edge_journal_damaged").set(stats.damaged as f64);
    metrics::gauge!("wattle_edge_journal_oldest_seconds").set(age_s(stats, now));
    let left = stats.seconds_left.map_or(f64::INFINITY, |seconds| seconds as f64);
    metrics::gauge!("wattle_edge_journal_seconds_left").set(left);
}

fn age_s(stats: &Stats, now: Micros) -> f64 {
    stats.oldest_at.map_or(0.0, |at| (now - at).0 as f64 / 1e6)
}

fn as_json(stats: &Stats, now: Micros) -> Value {
    json!({
        "next_sequence": stats.next_sequence,
        "durable": stats.durable,
        "sealed": stats.sealed_to,
        "committed": stats.committed,
        "depth": stats.depth,
        "bytes": stats.bytes,
        "segments": stats.segments,
        "oldest_seconds": age_s(stats, now),
        "dropped": stats.dropped,
        "damaged": stats.damaged,
        "seconds_left": stats.seconds_left,
    })
}

#[cfg(test)]
mod tests;
