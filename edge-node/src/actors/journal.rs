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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use wattle_process::Health;
use wattle_wire::uplink::SegmentHeader;
use wattle_wire::{Micros, SiteId};

use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::group::Group;
pub use crate::group::{Append, Store};
use crate::journal::{JournalError, Sealing, Stats};

/// After how long it tries again to write what the disk refused.
const RETRY: Duration = Duration::from_millis(500);
/// How often it looks for rows to seal, and says how it stands.
const TICK: Duration = Duration::from_millis(250);

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

impl Shared {
    /// What the health calls taking rows and sealing. A journal of a former life has names of its own: that its sealing works
    /// again says nothing of the node's.
    fn parts(&self) -> (&'static str, &'static str) {
        if self.is_former { ("former_journal", "former_sealing") } else { ("journal", "sealing") }
    }
}

/// The actor.
pub struct Journal {
    group: Group,
    shared: Shared,
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
        Self {
            group: Group::new(store, sites, checkpoint),
            shared,
            committing: false,
            sealing: false,
            failure: None,
            seal_failure: None,
        }
    }

    /// Commits; when that fails, tries again later. Says it once.
    fn commit_or_retry(&mut self, ctx: &mut Context<Self>) {
        let failure = self.group.commit().err().map(|error| error.to_string());
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
                self.shared.health.fail(self.shared.parts().0, error.clone());
            }
            None => {
                tracing::info!("the journal takes rows again");
                self.shared.health.clear(self.shared.parts().0);
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
                self.shared.health.fail(self.shared.parts().1, error.clone());
            }
            None => {
                tracing::info!("rows are sealed again");
                self.shared.health.clear(self.shared.parts().1);
            }
        }
        self.seal_failure = failure;
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        if !self.committing && self.group.log().is_sync_due() {
            self.commit_or_retry(ctx);
        }
        self.seal(ctx);
        let stats = self.group.log().stats();
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
        match self.group.seal_job(now) {
            Ok(None) => {}
            Ok(Some(job)) => {
                self.sealing = true;
                let (done, result) = tokio::sync::oneshot::channel();
                let work = self.group.sealing(job);
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
        let sealed_to = self.group.log().stats().sealed_to;
        self.shared.sealed.send_if_modified(|told| std::mem::replace(told, sealed_to) != sealed_to);
    }

    fn close(&mut self) -> Result<Stats, JournalError> {
        self.group.commit()?;
        self.group.write_checkpoint()?;
        // Past the age at which every row is due.
        let due = self.shared.clock.now() + Micros::from_secs(7200);
        if !self.sealing {
            self.group.log().seal(due)?;
            self.tell_sealed();
        }
        Ok(self.group.log().stats())
    }
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX);
        self.sealing = false;
        self.committing = self.group.waits();
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
        self.group.push(append);
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
        let taken = self.group.sealed(result, now);
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
        self.group.log().read_after(sequence)
    }
}

impl Handler<Free> for Journal {
    type Result = Result<(), JournalError>;

    fn handle(&mut self, Free(sequence): Free, _: &mut Self::Context) -> Self::Result {
        self.group.log().free(sequence)
    }
}

impl Handler<Ask> for Journal {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, _: Ask, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.group.log().stats())
    }
}

impl Handler<Close> for Journal {
    type Result = Result<Stats, JournalError>;

    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        self.close()
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
