//! The edge's journal without its disk: rows get their numbers, become columns, and go to the lake in large segments.
//!
//! Segments are committed by a task of its own while the simulation goes on; [`QUEUE`] of them may wait, then the
//! simulation does.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wattle_columns::{Segment, SegmentBuilder};
use wattle_fog::lake::Lake;
use wattle_wire::row::{Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{EdgeId, Micros};

/// Entries of a segment: few commits, and a memory of about 100 MB.
const SEGMENT_ENTRIES: u64 = 100_000;
/// Segments that wait for the lake.
const QUEUE: usize = 1;

/// Numbers rows and fills segments.
pub struct Journal {
    builder: SegmentBuilder,
    next: u64,
    segments: mpsc::Sender<Segment>,
}

/// What becomes of the segments; done when the journal is closed.
pub struct Committing(JoinHandle<anyhow::Result<()>>);

impl Journal {
    /// A journal that goes to `lake`. `incarnation` tells it from any other of the same lake.
    pub fn open(lake: Arc<Lake>, incarnation: Incarnation) -> (Self, Committing) {
        let edge = EdgeId::new("simulation").expect("a name");
        let (segments, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(commit(lake, waiting));
        (Self { builder: SegmentBuilder::new(edge, incarnation), next: 1, segments }, Committing(task))
    }

    /// Takes the next row. Called on a thread that may wait.
    ///
    /// # Errors
    /// When the lake takes no more; [`Committing::done`] says why.
    pub fn push(&mut self, at_us: Micros, row: Row) -> anyhow::Result<()> {
        self.builder.push(&Record { sequence: self.next, at_us, row })?;
        self.next += 1;
        if self.builder.len() >= SEGMENT_ENTRIES { self.seal() } else { Ok(()) }
    }

    /// Hands on what is left.
    ///
    /// # Errors
    /// When the lake takes no more; [`Committing::done`] says why.
    pub fn close(mut self) -> anyhow::Result<u64> {
        self.seal()?;
        Ok(self.next - 1)
    }

    fn seal(&mut self) -> anyhow::Result<()> {
        let Some(segment) = self.builder.finish() else { return Ok(()) };
        self.segments.blocking_send(segment).map_err(|_| anyhow::anyhow!("the lake takes no more"))
    }
}

impl Committing {
    /// Waits until the lake has everything.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn done(self) -> anyhow::Result<()> {
        self.0.await.context("the lake's writer ended early")?
    }
}

async fn commit(lake: Arc<Lake>, mut waiting: mpsc::Receiver<Segment>) -> anyhow::Result<()> {
    while let Some(segment) = waiting.recv().await {
        let report = lake.commit(vec![segment]).await?;
        if let Some((header, refusal)) = report.refused.first() {
            bail!("the lake refused entries {} to {}: {refusal}", header.from, header.to);
        }
    }
    Ok(())
}
