//! A lake in memory: three tables, each a log of commits that carry rows and positions. What is not synced is lost with
//! the power; a commit for a version that is there already is refused; each step of a commit may be the last of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use wattle_fog::lake::{Append, Journal, LakeError, RawTable, RawTables};
use wattle_fog_core::clean::Limits;

use crate::random::Random;
use crate::switch::Switch;

/// The names of the tables, in the order in which they stand everywhere here.
pub const TABLES: [&str; 3] = ["readings_raw", "events", "decisions"];

/// A commit.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The rows that it brought.
    pub rows: Vec<RecordBatch>,
    /// The positions that it carries.
    pub positions: Vec<(String, u64)>,
    rows_last: bool,
    lasts: bool,
}

/// The disk under a lake.
#[derive(Debug, Default)]
pub struct LakeDisk {
    /// Each table's commits.
    pub tables: [Vec<Entry>; 3],
    fails: bool,
}

/// The lake's disk, shared by the fog nodes.
#[derive(Clone, Default)]
pub struct Lake(Arc<Mutex<LakeDisk>>);

impl Lake {
    /// What stands on the disk.
    pub fn disk(&self) -> MutexGuard<'_, LakeDisk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each write fails from now on.
    pub fn fail(&self, fails: bool) {
        self.disk().fails = fails;
    }

    /// The power goes and comes back.
    pub fn lose_power(&self) {
        for table in &mut self.disk().tables {
            if let Some(first) = table.iter().position(|entry| !entry.lasts) {
                table.truncate(first);
            }
            table.iter_mut().filter(|entry| !entry.rows_last).for_each(|entry| entry.rows.clear());
        }
    }
}

/// What a process has seen last of a table.
#[derive(Debug, Clone, Default)]
pub struct Head {
    version: usize,
    positions: Arc<BTreeMap<String, u64>>,
    /// As they were before the last commit.
    before: Arc<BTreeMap<String, u64>>,
}

/// A table as one process sees it.
pub struct Table {
    index: usize,
    lake: Lake,
    seen: Mutex<Head>,
    random: Arc<Mutex<Random>>,
    switch: Option<Switch>,
}

/// The tables of a process.
pub struct Tables([Table; 3]);

impl Tables {
    /// A process opens the lake. What stands there may be of a process that died before it could sync.
    pub fn open(lake: &Lake, random: Random, switch: Option<Switch>) -> Self {
        let random = Arc::new(Mutex::new(random));
        let table = |index| {
            let (lake, random) = (lake.clone(), random.clone());
            let table = Table { index, lake, seen: Mutex::default(), random, switch };
            table.look();
            table
        };
        Self([table(0), table(1), table(2)])
    }

    /// What a commit goes into.
    pub fn raw(&self) -> RawTables<'_, Table> {
        let [readings, events, decisions] = &self.0;
        RawTables { readings, events, decisions, limits: Limits::default() }
    }
}

impl Table {
    fn seen(&self) -> MutexGuard<'_, Head> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the log to its end, and brings what others wrote to the disk before anything is said of it.
    fn look(&self) -> Head {
        let mut disk = self.lake.disk();
        let log = &mut disk.tables[self.index];
        let mut head = self.seen().clone();
        for entry in &mut log[head.version..] {
            entry.lasts |= self.switch != Some(Switch::LakeEntryOfOthers);
            head = head.after(&entry.positions);
        }
        *self.seen() = head.clone();
        head
    }

    /// Some time passes: as many polls as chance wants.
    fn pause(&self) -> Pause {
        Pause(self.random.lock().unwrap_or_else(PoisonError::into_inner).below(4))
    }

    fn works(&self) -> Result<(), LakeError> {
        let source = || std::io::Error::other("the device has failed");
        let path = PathBuf::from(TABLES[self.index]);
        if self.lake.disk().fails { Err(LakeError::NotSynced { path, source: source() }) } else { Ok(()) }
    }
}

impl Head {
    fn after(&self, positions: &[(String, u64)]) -> Self {
        let mut after = BTreeMap::clone(&self.positions);
        after.extend(positions.iter().cloned());
        Self { version: self.version + 1, positions: Arc::new(after), before: self.positions.clone() }
    }
}

impl RawTable for Table {
    type Head = Head;

    fn name(&self) -> &'static str {
        TABLES[self.index]
    }

    fn head(&self) -> Head {
        self.seen().clone()
    }

    async fn refresh(&self) -> Result<Head, LakeError> {
        self.pause().await;
        self.works()?;
        Ok(self.look())
    }

    async fn position(&self, at: &Head, app: &str) -> Result<Option<u64>, LakeError> {
        self.pause().await;
        let known = if self.switch == Some(Switch::PositionCheck) { &at.before } else { &at.positions };
        Ok(known.get(app).copied())
    }

    async fn numbers(
        &self,
        journal: &Journal,
        range: RangeInclusive<u64>,
    ) -> Result<BTreeSet<u64>, LakeError> {
        self.pause().await;
        self.works()?;
        let disk = self.lake.disk();
        let rows = disk.tables[self.index].iter().flat_map(|entry| &entry.rows);
        let numbers =
            rows.flat_map(|batch| numbers_of(batch, journal)).filter(|number| range.contains(number));
        Ok(if self.switch == Some(Switch::Settling) { BTreeSet::new() } else { numbers.collect() })
    }

    async fn append(
        &self,
        onto: &Head,
        rows: Vec<RecordBatch>,
        mut positions: Vec<(String, u64)>,
    ) -> Result<Append, LakeError> {
        self.pause().await;
        self.works()?;
        if self.switch == Some(Switch::Positions) {
            positions.clear();
        }
        let version = {
            let mut disk = self.lake.disk();
            let log = &mut disk.tables[self.index];
            if log.len() != onto.version && self.switch != Some(Switch::ConflictCheck) {
                return Ok(Append::Outdated);
            }
            let rows_last = self.switch != Some(Switch::LakeFiles);
            log.push(Entry { rows, positions: positions.clone(), rows_last, lasts: false });
            log.len() - 1
        };
        self.pause().await;
        self.works()?;
        if let Some(entry) = self.lake.disk().tables[self.index].get_mut(version) {
            entry.lasts = self.switch != Some(Switch::LakeEntry);
        }
        let mut seen = self.seen();
        if seen.version <= version {
            *seen = Head { version: version + 1, ..onto.after(&positions) };
        }
        Ok(Append::Done)
    }
}

fn numbers_of<'a>(batch: &'a RecordBatch, journal: &'a Journal) -> impl Iterator<Item = u64> + 'a {
    let [edges, lives] = [0, 1].map(|column| batch.column(column).as_string::<i32>());
    let numbers = batch.column(2).as_primitive::<Int64Type>();
    let life = journal.incarnation.to_string();
    let is_of = move |row: &usize| edges.value(*row) == journal.edge.as_str() && lives.value(*row) == life;
    (0..batch.num_rows()).filter(is_of).map(|row| numbers.value(row).unsigned_abs())
}

/// Ready after so many polls.
struct Pause(u64);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}
