//! Group commit: what the sites have gathered goes into the journal in order, one sync is for all of it, and only
//! then its batches are settled.
//!
//! No actor, no thread, no clock: [`crate::actors::journal`] calls it, and so does the simulation of the whole line.
//!
//! Invariants: a part is said to be synced only after a sync that its rows stand before; a device's state is kept
//! with the sequence that the journal had when it took the rows that the state knows of; a checkpoint is written
//! behind these rows. After an error what could not be taken waits, in order.
//!
//! Bound: what waits is bounded by the permits that rows hold, see [`crate::actors::journal`].

use std::collections::VecDeque;

use actix::Message;
use tokio::sync::OwnedSemaphorePermit;
use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::{DeviceId, Micros, SiteId};

use crate::batch::Part;
use crate::checkpoint::{Checkpoint, Kept};
use crate::journal::{Journal, JournalError, SealJob, Sealing};

/// Something that goes to the journal in its turn.
pub enum Entry {
    /// A row, with the moment when it was taken.
    Row(Micros, Row),
    /// A state, which knows of the rows before it and of none behind it.
    State(Kept),
}

/// What a site has to journal.
#[derive(Default, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// In order.
    pub entries: VecDeque<Entry>,
    /// Synced once the entries are.
    pub parts: Vec<Part>,
    /// One permit for each entry of the site's own making, given back when the entries are in the journal.
    pub held: Option<OwnedSemaphorePermit>,
}

impl Append {
    /// Adds what a device, or the ingress for it, had for its site.
    pub fn gather(
        &mut self,
        at: Micros,
        rows: impl IntoIterator<Item = Row>,
        kept: Option<Kept>,
        part: Option<Part>,
    ) {
        self.entries.extend(rows.into_iter().map(|row| Entry::Row(at, row)));
        self.entries.extend(kept.map(Entry::State));
        self.parts.extend(part);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.parts.is_empty()
    }
}

/// What group commit asks of a disk buffer: what [`Journal`] does, so that a test can hold it up.
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
    fn log(&mut self) -> &mut Journal;
}

impl Store for Journal {
    fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError> {
        Self::append(self, at, row)
    }

    fn sync(&mut self) -> Result<u64, JournalError> {
        Self::sync(self)
    }

    fn log(&mut self) -> &mut Journal {
        self
    }
}

/// What waits for the journal, and what is known of the devices as of the journal's last entry.
pub struct Group {
    store: Box<dyn Store>,
    /// The names of the node's sites, by index.
    sites: Vec<SiteId>,
    checkpoint: Checkpoint,
    /// Whether `checkpoint` knows more than the disk.
    kept_more: bool,
    waiting: VecDeque<Append>,
    /// Appended, not synced yet.
    appended: Vec<Part>,
    last: u64,
}

impl Group {
    /// Nothing waits. `checkpoint` is what is known of every device at the journal's last entry.
    pub fn new(store: impl Store, sites: Vec<SiteId>, checkpoint: Checkpoint) -> Self {
        let mut store = Box::new(store);
        let last = store.log().stats().next_sequence - 1;
        Self {
            store,
            sites,
            checkpoint,
            kept_more: true,
            waiting: VecDeque::new(),
            appended: Vec::new(),
            last,
        }
    }

    /// Takes what a site has gathered; it waits for the next [`Group::commit`].
    pub fn push(&mut self, append: Append) {
        self.waiting.push_back(append);
    }

    /// Whether anything waits for [`Group::commit`].
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty() || !self.appended.is_empty()
    }

    /// Appends and syncs everything that waits. After an error the rest waits; what was appended before it is synced.
    ///
    /// # Errors
    /// When the journal takes no rows or the disk fails. Nothing is lost: the next call goes on.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        let appended = self.append();
        self.store.sync()?;
        self.appended.drain(..).for_each(Part::synced);
        appended
    }

    fn append(&mut self) -> Result<(), JournalError> {
        while let Some(append) = self.waiting.front_mut() {
            while let Some(entry) = append.entries.pop_front() {
                match entry {
                    Entry::State(kept) => {
                        let site = self.sites[kept.site].clone();
                        self.checkpoint.keep(site, kept.device, self.last, kept.state);
                        self.kept_more = true;
                    }
                    Entry::Row(at, row) => match append_row(&mut *self.store, at, &row) {
                        Ok(Some(sequence)) => self.last = sequence,
                        Ok(None) => {}
                        Err(error) => {
                            append.entries.push_front(Entry::Row(at, row));
                            return Err(error);
                        }
                    },
                }
            }
            self.appended.append(&mut append.parts);
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Takes up what was sealed. The checkpoint goes first: what it covers makes room before anything is dropped.
    ///
    /// # Errors
    /// The first that failed; the rest is done all the same, and [`Group::seal_job`] tries again.
    pub fn sealed(
        &mut self,
        sealing: Result<Sealing, JournalError>,
        now: Micros,
    ) -> Result<(), JournalError> {
        let written = self.write_checkpoint();
        let taken = match sealing {
            Ok(sealing) => self.store.log().sealed(sealing, now),
            Err(error) => {
                self.store.log().sealing_failed(&error);
                Err(error)
            }
        };
        written.and(taken)
    }

    /// The next sealing that is due, if one is. First it makes the room that could not be made when it was due.
    ///
    /// # Errors
    /// When the log can't be made to last, or when nothing is due and there is no room yet.
    pub fn seal_job(&mut self, now: Micros) -> Result<Option<SealJob>, JournalError> {
        let relieved = self.relieve();
        match self.store.log().seal_job(now)? {
            None => relieved.map(|()| None),
            job => Ok(job),
        }
    }

    /// Makes the room that could not be made when it was due.
    ///
    /// # Errors
    /// When the disk still fails.
    fn relieve(&mut self) -> Result<(), JournalError> {
        if !self.store.log().is_strained() {
            return Ok(());
        }
        let written = self.write_checkpoint();
        let made = self.store.log().make_room();
        written.and(made)
    }

    /// Writes the checkpoint, if there is more to know. Only between commits, so that it is behind its rows.
    ///
    /// # Errors
    /// When the disk fails; the checkpoint before it still holds.
    pub fn write_checkpoint(&mut self) -> Result<(), JournalError> {
        // A node whose sites have no device has nothing to know again.
        let nobody = self.checkpoint.devices.is_empty() && !self.sites.is_empty();
        let covered = if nobody { Some(self.last) } else { self.checkpoint.covered() };
        if let Some(covered) = covered.filter(|_| self.kept_more || nobody) {
            self.store.log().checkpoint(covered, &self.checkpoint.encode())?;
            self.kept_more = false;
        }
        Ok(())
    }

    /// The journal itself, for what never holds up an acknowledgement.
    pub fn log(&mut self) -> &mut Journal {
        self.store.log()
    }

    /// What a thread has to do to seal.
    pub fn sealing(&mut self, job: SealJob) -> Box<dyn FnOnce() -> Result<Sealing, JournalError> + Send> {
        self.store.sealing(job)
    }
}

/// Appends a row, or the event that stands in its place; gives its sequence.
fn append_row(store: &mut dyn Store, at: Micros, row: &Row) -> Result<Option<u64>, JournalError> {
    match append_or_sync(store, at, row) {
        Ok(sequence) => Ok(Some(sequence)),
        Err(error @ (JournalError::RecordTooLarge | JournalError::GapAppended)) => {
            tracing::error!(%error, "a row is not journaled; an event says so in its place");
            instead_of(row, &error).map(|event| append_or_sync(store, at, &event)).transpose()
        }
        Err(error) => Err(error),
    }
}

/// Appends a row; makes room for it by a sync where the buffer is full.
fn append_or_sync(store: &mut dyn Store, at: Micros, row: &Row) -> Result<u64, JournalError> {
    match store.append(at, row.clone()) {
        Err(JournalError::Full { .. }) => {
            store.sync()?;
            store.append(at, row.clone())
        }
        result => result,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wattle_wire::EdgeId;

    use super::*;
    use crate::journal::memory_disk::{Fault, MemoryDisk};
    use crate::journal::{Options, SyncPolicy};

    #[test]
    fn a_state_covers_the_rows_before_it_and_none_behind_it() {
        let folder = tempfile::tempdir().expect("folder");
        let options = Options::new(folder.path(), EdgeId::new("edge-t").expect("name"));
        let (log, _) = Journal::open(options, Micros(0)).expect("opened");
        let (site, device) = (SiteId::new("depot").expect("name"), DeviceId::new("cp-1").expect("name"));
        let mut group = Group::new(log, vec![site.clone()], Checkpoint::default());
        let row = || Row::Event(Event::new(site.clone(), None, EventKind::NodeStarted, ""));
        let kept = Kept { site: 0, device, state: Some(vec![1]), on_its_way: Default::default() };
        let mut append = Append::default();
        append.gather(Micros(1), [row()], Some(kept), None);
        append.gather(Micros(2), [row()], None, None);
        group.push(append);
        group.commit().expect("room");
        assert_eq!((group.last, group.checkpoint.covered()), (2, Some(1)));
    }

    #[test]
    fn a_checkpoint_knows_of_no_row_that_a_failed_sync_has_lost() {
        for sync in [SyncPolicy::Batch, SyncPolicy::Interval(wattle_wire::Millis(0)), SyncPolicy::Off] {
            let disk = MemoryDisk::default();
            let edge = EdgeId::new("edge-t").expect("name");
            let options = || Options { sync, ..Options::new("/journal", edge.clone()) };
            let (log, _) = Journal::open_on(Arc::new(disk.clone()), options(), Micros(0)).expect("opened");
            let site = SiteId::new("depot").expect("name");
            let mut group = Group::new(log, vec![site.clone()], Checkpoint::default());
            let take = |group: &mut Group, name: &str, state| {
                let device = DeviceId::new(name).expect("name");
                let row = Row::Event(Event::new(site.clone(), Some(device.clone()), EventKind::Online, ""));
                let kept = Kept { site: 0, device, state: Some(vec![state]), on_its_way: Default::default() };
                let mut append = Append::default();
                append.gather(Micros(1), [row], Some(kept), None);
                group.push(append);
            };
            take(&mut group, "cp-1", 1);
            take(&mut group, "cp-2", 1);
            group.commit().expect("room");
            group.write_checkpoint().expect("room");
            take(&mut group, "cp-1", 2);
            disk.fail(Fault::Full);
            let failed = group.commit();
            assert!(failed.is_err(), "{sync:?}");
            // No more than the log can be written: then the state before it still holds.
            assert!(group.sealed(Err(JournalError::RecordTooLarge), Micros(2)).is_err(), "{sync:?}");
            disk.heal();
            // A sealing that had begun before ends before the next try to commit.
            let nothing = group.sealed(Err(JournalError::RecordTooLarge), Micros(2));
            assert!(matches!(nothing, Err(JournalError::RecordTooLarge)), "{sync:?}: {nothing:?}");
            drop(group);
            disk.lose_power();
            let (_, found) = Journal::open_on(Arc::new(disk.clone()), options(), Micros(0)).expect("opened");
            let (_, bytes) = found.checkpoint.expect("written");
            let known = Checkpoint::decode(&bytes).expect("sound").devices;
            let most = known.values().map(|state| state.sequence).max();
            assert_eq!((most, found.last), (Some(3), 3), "{sync:?}");
        }
    }

    /// A group whose journal's log is above its budget, with a sealing that has been run.
    fn sealing(disk: &MemoryDisk) -> (Group, Result<Sealing, JournalError>) {
        let options =
            Options { budget_bytes: 3_000, ..Options::new("/journal", EdgeId::new("edge-t").expect("name")) };
        let (log, _) = Journal::open_on(Arc::new(disk.clone()), options, Micros(0)).expect("opened");
        let mut group = Group::new(log, vec![SiteId::new("depot").expect("name")], Checkpoint::default());
        group.push(events(50));
        group.commit().expect("room");
        let job = group.seal_job(LATER).expect("room").expect("due");
        let sealing = group.sealing(job)();
        (group, sealing)
    }

    fn events(count: i64) -> Append {
        let site = SiteId::new("depot").expect("name");
        let row =
            |n: i64| Row::Event(Event::new(site.clone(), None, EventKind::NodeStarted, format!("{n:>60}")));
        let mut append = Append::default();
        append.gather(Micros(1), (0..count).map(row), None, None);
        append
    }

    const LATER: Micros = Micros(1_000_000_000);

    /// What fails when rows were sealed is done at the next look, sealing or not: until then new rows are refused, as the log is
    /// above its budget.
    #[test]
    fn room_that_could_not_be_made_is_made_as_soon_as_the_disk_works_again() {
        for fault in [Fault::Failing, Fault::ReadOnly] {
            let disk = MemoryDisk::default();
            let (mut group, sealing) = sealing(&disk);
            disk.fail(fault);
            group.sealed(sealing, LATER).expect_err("neither checkpoint nor log can be changed");
            group.push(events(1));
            assert!(matches!(
                group.log().append(Micros(1), Row::Event(event())),
                Err(JournalError::LogFull { .. })
            ));
            group.seal_job(LATER).err().expect("still");
            disk.heal();
            assert_eq!(disk.files(".wlog").len(), 1);
            assert!(group.seal_job(LATER).expect("it works").is_none(), "nothing is due");
            assert_eq!(disk.files(".wlog").len(), 0, "sealed, and the checkpoint knows of it");
            group.commit().expect("it takes rows");
            assert!(!group.waits());
        }
    }

    #[test]
    fn a_checkpoint_that_alone_could_not_be_written_is_written_at_the_next_look() {
        let disk = MemoryDisk::default();
        let (mut group, sealing) = sealing(&disk);
        // The first step of what follows begins the checkpoint.
        disk.fail_at(disk.steps(), Fault::Full, false);
        group.sealed(sealing, LATER).expect_err("no checkpoint");
        assert_eq!(disk.files(".wlog").len(), 1, "without it the log stays");
        group.seal_job(LATER).expect("room");
        assert_eq!(disk.files(".wlog").len(), 0);
    }

    fn event() -> Event {
        Event::new(SiteId::new("depot").expect("name"), None, EventKind::NodeStarted, "")
    }
}
