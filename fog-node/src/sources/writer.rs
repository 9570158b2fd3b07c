//! The one writer of a lake, and the bounded queue before it.
//!
//! Segments wait until [`WriterLimits::interval`] after the first of them or until they come to
//! [`WriterLimits::commit_bytes`], then go into one commit. While that runs, the next ones gather. The queue is
//! bounded by bytes and by count: when it is full, [`LakeWriter::offer`] waits, the caller's stream stands still, and
//! the edge's journal keeps what comes.
//!
//! Each segment is answered once: after the commit of every raw table, or with the reason for which it wasn't taken. When
//! the lake can't be written, all segments of that commit are answered so; the edge comes back with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use wattle_columns::Segment;
use wattle_process::Health;
use wattle_wire::uplink::Committed;

use crate::lake::{CommitReport, Journal, Lake, LakeError};

/// The bounds of the queue and of a commit.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// The longest that the first segment of a commit waits for others.
    pub interval: Duration,
    /// A commit is made without waiting when this many encoded bytes have gathered.
    pub commit_bytes: usize,
    /// The most encoded bytes that wait.
    pub queue_bytes: usize,
    /// The most segments that wait.
    pub queue_segments: usize,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            commit_bytes: 32 << 20,
            queue_bytes: 128 << 20,
            queue_segments: 256,
        }
    }
}

/// What becomes of a segment that was offered.
pub type Answer = oneshot::Receiver<Committed>;

struct Job {
    segment: Segment,
    bytes: usize,
    answer: oneshot::Sender<Committed>,
    _room: OwnedSemaphorePermit,
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

    /// Queues a segment of so many encoded bytes; waits while the queue is full.
    ///
    /// The answer fails only when the process stops before it could be given.
    pub async fn offer(&self, segment: Segment, bytes: usize) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let room = bytes.clamp(1, self.queue_bytes);
        // A permit count above u32 can't be asked for; a segment has at most 32 MiB.
        let permits = u32::try_from(room).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().acquire_many_owned(permits).await {
            // When the writer is gone the answer is dropped with the job, and the receiver sees that.
            let _ = self.jobs.send(Job { segment, bytes, answer, _room: room }).await;
        }
        receiver
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
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while bytes < self.limits.commit_bytes && batch.len() < self.limits.queue_segments {
            match timeout_at(deadline, queue.recv()).await {
                Ok(Some(job)) => {
                    bytes += job.bytes;
                    batch.push(job);
                }
                Ok(None) | Err(_) => break,
            }
        }
        batch
    }

    async fn commit(&self, batch: Vec<Job>) {
        let started = Instant::now();
        let (segments, waiting): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|job| {
                let header = job.segment.header.clone();
                (job.segment, (header, job.answer))
            })
            .unzip();
        match self.lake.commit(segments).await {
            Ok(report) => {
                self.health.clear("lake");
                self.count(&report, started);
                for (header, answer) in waiting {
                    let refusal = report.refused.iter().find(|(refused, _)| *refused == header);
                    let committed = Committed {
                        incarnation: header.incarnation,
                        sequence: report.positions.get(&Journal::of(&header)).copied().flatten(),
                        refused: refusal.map(|(_, why)| why.to_string()).unwrap_or_default(),
                    };
                    // Whoever has gone asks for the position when it comes back.
                    let _ = answer.send(committed);
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

    async fn fail(
        &self,
        error: &LakeError,
        waiting: Vec<(wattle_wire::uplink::SegmentHeader, oneshot::Sender<Committed>)>,
    ) {
        tracing::error!(%error, segments = waiting.len(), "commit failed; the edges keep their segments");
        metrics::counter!("wattle_fog_commit_failures_total").increment(1);
        self.health.fail("lake", error.to_string());
        for (header, answer) in waiting {
            let position = self.lake.positions(&header.edge, header.incarnation).await.ok().flatten();
            let refused = format!("the lake could not be written: {error}");
            let _ = answer.send(Committed { incarnation: header.incarnation, sequence: position, refused });
        }
    }
}
