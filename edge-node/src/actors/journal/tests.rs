//! The actor over a journal whose disk does what the test says.

use std::sync::mpsc;

use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::{DeviceId, EdgeId, Millis};

use super::*;
use crate::batch::{Batch, Settled};
use crate::checkpoint::Kept;
use crate::journal::{Journal as Log, Options, SealJob, SyncPolicy};

/// A journal whose disk does what the test says, one sync after the other.
struct Told {
    log: Log,
    /// Held by a test as long as no sealing is to end.
    seal: Arc<Mutex<()>>,
    entered: mpsc::Sender<()>,
    verdicts: mpsc::Receiver<Result<(), JournalError>>,
}

impl Store for Told {
    fn append(&mut self, at: Micros, row: Row) -> Result<u64, JournalError> {
        self.log.append(at, row)
    }

    fn sync(&mut self) -> Result<u64, JournalError> {
        // A test that doesn't listen lets every sync be.
        if self.entered.send(()).is_ok() {
            self.verdicts.recv().expect("the test answers")?;
        }
        self.log.sync()
    }

    fn sealing(&mut self, job: SealJob) -> Box<dyn FnOnce() -> Result<Sealing, JournalError> + Send> {
        let seal = self.seal.clone();
        Box::new(move || {
            let _held = seal.lock();
            job.run()
        })
    }

    fn log(&mut self) -> &mut Log {
        &mut self.log
    }
}

struct Ingress(tokio::sync::mpsc::Sender<usize>);

impl Actor for Ingress {
    type Context = Context<Self>;
}

impl Handler<Settled> for Ingress {
    type Result = ();
    fn handle(&mut self, settled: Settled, _: &mut Self::Context) {
        self.0.try_send(settled.lane).expect("room");
    }
}

struct Rig {
    journal: Addr<Journal>,
    entered: mpsc::Receiver<()>,
    verdicts: mpsc::Sender<Result<(), JournalError>>,
    health: Health,
    batch: Arc<Batch>,
    settled: tokio::sync::mpsc::Receiver<usize>,
    _folder: tempfile::TempDir,
}

/// A journal that has been given one row, a state and a part, and is in its sync.
fn rig() -> Rig {
    rig_with(SyncPolicy::Batch)
}

fn rig_with(sync: SyncPolicy) -> Rig {
    let folder = tempfile::tempdir().expect("folder");
    let edge = EdgeId::new("edge-t").expect("name");
    // Nothing is sealed by itself, which syncs as well: a hundred years.
    let options =
        Options { sync, seal_after_ms: Millis(3_155_760_000_000), ..Options::new(folder.path(), edge) };
    let (log, _) = Log::open(options, Micros(0)).expect("opened");
    let (entered, entered_seen) = mpsc::channel();
    let (say, verdicts) = mpsc::channel();
    let health = Health::new();
    let shared = Shared {
        clock: Arc::new(Clock::start()),
        health: health.clone(),
        board: Arc::default(),
        sealed: watch::Sender::new(0),
        is_former: false,
    };
    let site = SiteId::new("depot").expect("name");
    let names = vec![site.clone()];
    let store = Told { log, seal: Arc::default(), entered, verdicts };
    let journal = Supervisor::start_in_arbiter(&Arbiter::new().handle(), move |_| {
        Journal::new(store, shared, names, Checkpoint::default())
    });
    let (told, settled) = tokio::sync::mpsc::channel(1);
    let (batch, part) = Batch::open(0, 0, vec![1], Vec::new(), Ingress(told).start().recipient());
    let row = Row::Event(Event::new(site, None, EventKind::NodeStarted, ""));
    let kept = Kept {
        site: 0,
        device: DeviceId::new("cp-1").expect("name"),
        state: Some(vec![1]),
        on_its_way: Arc::default(),
    };
    let mut append = Append::default();
    append.gather(Micros(1), [row], Some(kept), Some(part));
    journal.do_send(append);
    entered_seen.recv().expect("it syncs");
    Rig { journal, entered: entered_seen, verdicts: say, health, batch, settled, _folder: folder }
}

#[test]
fn under_the_policy_interval_the_last_rows_before_a_silence_are_synced_too() {
    actix::System::new().block_on(async {
        let rig = rig_with(SyncPolicy::Interval(Millis(3_000)));
        rig.verdicts.send(Ok(())).expect("the actor waits");
        // Nothing more comes for the journal, and it syncs all the same.
        rig.entered.recv_timeout(Duration::from_secs(60)).expect("another sync");
        rig.verdicts.send(Ok(())).expect("the actor waits");
    });
}

#[test]
fn a_batch_is_settled_only_after_the_sync() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        assert!(!rig.batch.is_settled(), "the sync has not ended");
        rig.verdicts.send(Ok(())).expect("it waits");
        assert_eq!(rig.settled.recv().await, Some(0));
        assert!(rig.batch.is_settled() && !rig.batch.has_failed());
        assert_eq!(rig.journal.send(Ask).await.expect("it runs").durable, 1);
    });
}

#[test]
fn a_full_disk_holds_a_batch_up_and_loses_nothing() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        let full = || JournalError::DiskFull { path: "/data".into() };
        rig.verdicts.send(Err(full())).expect("it waits");
        rig.entered.recv().expect("it tries again");
        assert!(!rig.batch.is_settled());
        assert_eq!(rig.health.faults().len(), 1);
        rig.verdicts.send(Ok(())).expect("it waits");
        assert_eq!(rig.settled.recv().await, Some(0));
        assert!(!rig.batch.has_failed());
        assert_eq!(rig.journal.send(Ask).await.expect("it runs").next_sequence, 2);
        assert!(rig.health.faults().is_empty());
    });
}

#[test]
fn while_the_disk_refuses_the_journal_still_frees_reads_and_answers() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        let full = || JournalError::DiskFull { path: "/data".into() };
        rig.verdicts.send(Err(full())).expect("it waits");
        assert!(rig.journal.send(Free(0)).await.expect("it runs").is_ok());
        // The lake can't have what was never sealed.
        let ahead = rig.journal.send(Free(1)).await.expect("it runs");
        assert!(matches!(ahead, Err(JournalError::Ahead { committed: 1, last: 0 })));
        assert!(rig.journal.send(ReadAfter(None)).await.expect("it runs").expect("it can read").is_none());
        assert_eq!(rig.journal.send(Ask).await.expect("it runs").committed, 0);
        assert!(!rig.batch.is_settled(), "nothing of it is on the disk");
        rig.verdicts.send(Ok(())).expect("it waits");
        assert_eq!(rig.settled.recv().await, Some(0));
        assert!(!rig.batch.has_failed());
    });
}

#[test]
fn a_lake_that_has_more_of_a_former_life_than_the_copy_frees_all_that_is_here() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().expect("folder");
        let (journal, ..) = of_a_life(folder.path(), 50_000, true);
        assert!(journal.send(Free(9)).await.expect("it runs").is_ok());
        assert_eq!(journal.send(Ask).await.expect("it runs").committed, 0);
    });
}

#[test]
fn that_a_former_life_is_well_says_nothing_of_the_nodes_own_journal() {
    let folder = tempfile::tempdir().expect("folder");
    let health = Health::new();
    let [mut own, mut former] = [("own", false), ("former", true)].map(|(name, is_former)| {
        let edge = EdgeId::new("edge-t").expect("name");
        let options = Options { is_former, ..Options::new(folder.path().join(name), edge) };
        let (log, _) = Log::open(options, Micros(0)).expect("opened");
        let (health, sealed) = (health.clone(), watch::Sender::new(0));
        let shared =
            Shared { clock: Arc::new(Clock::start()), health, board: Arc::default(), sealed, is_former };
        Journal::new(log, shared, Vec::new(), Checkpoint::default())
    });
    let full = || Err(JournalError::DiskFull { path: "/data".into() });
    let parts = || health.faults().into_iter().map(|(part, _)| part).collect::<Vec<_>>();
    own.report_sealing(full());
    former.report_sealing(full());
    assert_eq!(parts(), ["former_sealing", "sealing"]);
    former.report_sealing(Ok(()));
    assert_eq!(parts(), ["sealing"]);
}

/// An actor over a journal of this budget, and what holds its sealing up.
fn unhindered(folder: &std::path::Path, budget_bytes: u64) -> (Addr<Journal>, Arc<Mutex<()>>, Health) {
    of_a_life(folder, budget_bytes, false)
}

fn of_a_life(
    folder: &std::path::Path,
    budget_bytes: u64,
    is_former: bool,
) -> (Addr<Journal>, Arc<Mutex<()>>, Health) {
    let edge = EdgeId::new("edge-t").expect("name");
    let options = Options {
        budget_bytes,
        segment_bytes: 1 << 10,
        buffer_bytes: 4 << 10,
        seal_after_ms: wattle_wire::Millis(0),
        is_former,
        ..Options::new(folder, edge)
    };
    let clock = Arc::new(Clock::start());
    let (log, _) = Log::open(options, clock.now()).expect("opened");
    let (entered, _) = mpsc::channel();
    let (_, verdicts) = mpsc::channel();
    let seal = Arc::new(Mutex::new(()));
    let store = Told { log, seal: seal.clone(), entered, verdicts };
    let health = Health::new();
    let shared = Shared {
        clock,
        health: health.clone(),
        board: Arc::default(),
        sealed: watch::Sender::new(0),
        is_former,
    };
    let names = vec![SiteId::new("depot").expect("name")];
    let journal = Supervisor::start_in_arbiter(&Arbiter::new().handle(), move |_| {
        Journal::new(store, shared, names, Checkpoint::default())
    });
    (journal, seal, health)
}

fn event(detail: String) -> Row {
    let site = SiteId::new("depot").expect("name");
    Row::Event(Event { detail, ..Event::new(site, None, EventKind::WrongTopic, "") })
}

#[test]
#[expect(clippy::await_holding_lock, reason = "the thread that seals is to wait for it, this one isn't")]
fn a_log_above_its_budget_waits_for_the_sealing_and_goes_on_by_itself() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().expect("folder");
        let (journal, seal, health) = unhindered(folder.path(), 50_000);
        let held = seal.lock().expect("nobody panics");
        let (told, mut settled) = tokio::sync::mpsc::channel(100);
        let ingress = Ingress(told).start().recipient();
        let mut batches = Vec::new();
        for batch in 0..100 {
            let (open, part) = Batch::open(batch, 0, vec![1], Vec::new(), ingress.clone());
            let mut append = Append::default();
            (0..100).for_each(|i| append.gather(Micros(i), [event("x".repeat(50))], None, None));
            append.gather(Micros(100), [], None, Some(part));
            journal.do_send(append);
            batches.push(open);
        }
        // It answers all the while, and says what it waits for.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let stats = loop {
            assert!(std::time::Instant::now() < deadline, "it says nothing");
            let stats = journal.send(Ask).await.expect("it runs");
            if health.faults().iter().any(|(part, why)| *part == "journal" && why.contains("not sealed")) {
                break stats;
            }
        };
        assert!(stats.next_sequence < 10_001, "the log is bounded");
        assert!(batches.last().is_some_and(|batch| !batch.is_settled()));
        drop(held);
        for batch in 0..100 {
            assert_eq!(settled.recv().await, Some(batch));
        }
        assert!(batches.iter().all(|batch| !batch.has_failed()));
        assert_eq!(journal.send(Ask).await.expect("it runs").durable, 10_000);
        assert!(!health.faults().iter().any(|(part, _)| *part == "journal"));
    });
}

#[test]
fn a_row_that_is_too_large_is_journaled_as_an_event_that_says_so() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().expect("folder");
        let (journal, _, _) = unhindered(folder.path(), 1 << 30);
        for (at, detail) in [(1, "x".repeat(2 << 20)), (2, "y".into())] {
            let mut append = Append::default();
            append.gather(Micros(at), [event(detail)], None, None);
            journal.do_send(append);
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let segment = loop {
            assert!(std::time::Instant::now() < deadline, "nothing is sealed");
            let read = journal.send(ReadAfter(None)).await.expect("it runs").expect("it can read");
            if let Some((_, bytes)) = read {
                break wattle_columns::Segment::decode(&bytes).expect("sound");
            }
        };
        let shown = format!("{:?}", segment.events);
        assert!(
            shown.contains("malformed") && shown.contains("too_large: wrong_topic was not journaled"),
            "{shown}"
        );
    });
}
