//! The one writer of a lake, and the bounded queue before it.
//!
//! Segments wait until [`WriterLimits::interval`] after the first of them or until they come to
//! [`WriterLimits::commit_bytes`], then go into one commit. While that runs, the next ones gather. The queue is
//! bounded by bytes in memory and by count: room is asked for before a segment is decoded. When it is full, the caller waits
//! and reads no more; the edge's journal, or Kafka, keeps what comes.
//!
//! Each segment is answered once: after the commit of every raw table, or with the reason for which it wasn't taken. When
//! the lake can't be written, all segments of that commit are answered so; the edge comes back with them. A segment
//! whose [`Fence`] doesn't hold any more is not committed, and whoever takes it away can wait for a commit that has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use wattle_columns::Segment;
use wattle_process::Health;
use wattle_wire::uplink::SegmentHeader;

use super::fence::Fence;
use crate::lake::{CommitReport, Journal, Lake, LakeError, Refusal};

/// The bounds of the queue and of a commit.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// The longest that the first segment of a commit waits for others.
    pub interval: Duration,
    /// A commit is made without waiting when this many bytes have gathered, as they stand in memory.
    pub commit_bytes: usize,
    /// The most bytes that wait or are being committed, as they stand in memory.
    pub queue_bytes: usize,
    /// The most segments that wait.
    pub queue_segments: usize,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            commit_bytes: 64 << 20,
            queue_bytes: 256 << 20,
            queue_segments: 256,
        }
    }
}

/// What has become of a segment that was offered. The positions are how far every raw table is; none for nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows are in every raw table.
    Committed(Option<u64>),
    /// It can't be taken.
    Refused(Option<u64>, Refusal),
    /// The lake can't be written now.
    Failed(Option<u64>, String),
    /// It was no longer its source's to commit.
    Fenced,
}

/// What takes the outcome, once.
pub type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// Room for one segment in the queue.
pub struct Room {
    slot: mpsc::OwnedPermit<Job>,
    bytes: OwnedSemaphorePermit,
}

impl Room {
    /// Queues a segment in this room. It is dropped without an answer only when the process stops before there could be
    /// one.
    pub fn put(mut self, segment: Segment, fence: Option<Fence>, answer: Answer) {
        let needed = segment.memory_bytes();
        // What was reserved too much is somebody else's; what was reserved too little is borne.
        drop(self.bytes.split(self.bytes.num_permits().saturating_sub(needed)));
        self.slot.send(Job { segment, fence, answer, room: self.bytes });
    }
}

struct Job {
    segment: Segment,
    fence: Option<Fence>,
    answer: Answer,
    room: OwnedSemaphorePermit,
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct WriterFigures {
    /// Commits.
    pub commits: AtomicU64,
    /// Rows in them.
    pub rows: AtomicU64,
    /// Segments that were refused.
    pub refused: AtomicU64,
}

/// The way into a lake. Clones lead to the same writer, which stops when all of them are gone and the queue is empty.
#[derive(Clone)]
pub struct LakeWriter {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    queue_bytes: usize,
    figures: Arc<WriterFigures>,
}

impl LakeWriter {
    /// Starts the writer of a lake; the handle ends once the last clone is dropped and what was queued is committed.
    pub fn start(
        lake: Arc<Lake>,
        limits: WriterLimits,
        health: Health,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, queue) = mpsc::channel(limits.queue_segments);
        let figures = Arc::new(WriterFigures::default());
        let run = Run { lake, limits, health, figures: figures.clone() };
        let room = Arc::new(Semaphore::new(limits.queue_bytes));
        (Self { jobs, room, queue_bytes: limits.queue_bytes, figures }, tokio::spawn(run.run(queue)))
    }

    /// Room for a segment, encoded, to be asked for before it is decoded; waits while the queue is full. What is reserved too much is
    /// given back when it is put. None when the writer is gone.
    pub async fn reserve(&self, encoded: &[u8]) -> Option<Room> {
        let bytes = self.room.clone().acquire_many_owned(self.permits(encoded)).await.ok()?;
        let slot = self.jobs.clone().reserve_owned().await.ok()?;
        Some(Room { slot, bytes })
    }

    /// The same, if there is room now.
    pub fn try_reserve(&self, encoded: &[u8]) -> Option<Room> {
        let bytes = self.room.clone().try_acquire_many_owned(self.permits(encoded)).ok()?;
        let slot = self.jobs.clone().try_reserve_owned().ok()?;
        Some(Room { slot, bytes })
    }

    fn permits(&self, encoded: &[u8]) -> u32 {
        // A permit count above u32 can't be asked for; the queue has at most 4 GiB less a byte.
        let room = Segment::memory_of(encoded).clamp(1, self.queue_bytes);
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// What was done so far.
    pub fn figures(&self) -> Arc<WriterFigures> {
        self.figures.clone()
    }
}

struct Run {
    lake: Arc<Lake>,
    limits: WriterLimits,
    health: Health,
    figures: Arc<WriterFigures>,
}

impl Run {
    async fn run(self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.recv().await {
            let batch = self.gather(first, &mut queue).await;
            self.commit(batch).await;
        }
    }

    async fn gather(&self, first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
        let deadline = Instant::now() + self.limits.interval;
        let mut bytes = first.room.num_permits();
        let mut batch = vec![first];
        while bytes < self.limits.commit_bytes && batch.len() < self.limits.queue_segments {
            match timeout_at(deadline, queue.recv()).await {
                Ok(Some(job)) => {
                    bytes += job.room.num_permits();
                    batch.push(job);
                }
                Ok(None) | Err(_) => break,
            }
        }
        batch
    }

    async fn commit(&self, batch: Vec<Job>) {
        let started = Instant::now();
        let mut fences: BTreeMap<Journal, Vec<Fence>> = BTreeMap::new();
        let (mut segments, mut waiting, mut rooms) = (Vec::new(), Vec::new(), Vec::new());
        let mut under_way = Vec::new();
        for job in batch {
            let header = job.segment.header.clone();
            if let Some(fence) = job.fence {
                let Some(begun) = fence.begin() else {
                    (job.answer)(Outcome::Fenced);
                    continue;
                };
                under_way.push(begun);
                fences.entry(Journal::of(&header)).or_default().push(fence);
            }
            segments.push(job.segment);
            waiting.push((header, job.answer));
            rooms.push(job.room);
        }
        if segments.is_empty() {
            return;
        }
        let guard = |journal: &Journal| fences.get(journal).is_none_or(|all| all.iter().all(Fence::holds));
        let committed = self.lake.commit_guarded(segments, &guard).await;
        drop(under_way);
        match committed {
            Ok(report) => {
                self.health.clear("lake");
                self.count(&report, started);
                for (header, answer) in waiting {
                    answer(outcome(&report, &header));
                }
            }
            Err(error) => self.fail(&error, waiting).await,
        }
    }

    fn count(&self, report: &CommitReport, started: Instant) {
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.rows.fetch_add(report.rows as u64, Ordering::Relaxed);
        self.figures.refused.fetch_add(report.refused.len() as u64, Ordering::Relaxed);
        metrics::counter!("wattle_fog_commits_total").increment(1);
        metrics::counter!("wattle_fog_rows_total").increment(report.rows as u64);
        metrics::counter!("wattle_fog_readings_total").increment(report.readings as u64);
        metrics::counter!("wattle_fog_segments_refused_total").increment(report.refused.len() as u64);
        metrics::histogram!("wattle_fog_commit_seconds").record(started.elapsed().as_secs_f64());
        for (header, why) in &report.refused {
            tracing::warn!(edge = %header.edge, from = header.from, to = header.to, %why, "segment refused");
        }
    }

    async fn fail(&self, error: &LakeError, waiting: Vec<(SegmentHeader, Answer)>) {
        tracing::error!(%error, segments = waiting.len(), "commit failed; the edges keep their segments");
        metrics::counter!("wattle_fog_commit_failures_total").increment(1);
        self.health.fail("lake", error.to_string());
        for (header, answer) in waiting {
            let position = self.lake.positions(&header.edge, header.incarnation).await.ok().flatten();
            answer(Outcome::Failed(position, format!("the lake could not be written: {error}")));
        }
    }
}

/// What has become of a segment that was given to a commit.
pub fn outcome(report: &CommitReport, header: &SegmentHeader) -> Outcome {
    let journal = Journal::of(header);
    if report.fenced.contains(&journal) {
        return Outcome::Fenced;
    }
    let position = report.positions.get(&journal).copied().flatten();
    match report.refused.iter().find(|(refused, _)| refused == header) {
        // Another of the same range may have been taken in its place.
        Some(_) if position.is_some_and(|position| header.to <= position) => Outcome::Committed(position),
        Some((_, why)) => Outcome::Refused(position, why.clone()),
        None => Outcome::Committed(position),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
