//! The edge's journal without its disk: rows get their numbers, become columns, and go to the lake in large segments.
//!
//! Segments are committed by a task of its own while the simulation goes on; [`QUEUE`] of them may wait, then the
//! simulation does. Where no lake is wanted, rows go to whoever asks for them, and are kept nowhere.

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

/// Numbers rows and hands them on.
pub struct Journal {
    next: u64,
    to: To,
}

enum To {
    /// Segments for a lake.
    Lake(Box<SegmentBuilder>, mpsc::Sender<Segment>),
    /// Row by row.
    Listener(Box<dyn FnMut(Micros, Row) + Send>),
}

/// What becomes of the segments; done when the journal is closed.
pub struct Committing(JoinHandle<anyhow::Result<()>>);

impl Journal {
    /// A journal that goes to `lake`. `incarnation` tells it from any other of the same lake.
    pub fn open(lake: Arc<Lake>, incarnation: Incarnation) -> (Self, Committing) {
        let edge = EdgeId::new("simulation").expect("a name");
        let (segments, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(commit(lake, waiting));
        let to = To::Lake(Box::new(SegmentBuilder::new(edge, incarnation)), segments);
        (Self { next: 1, to }, Committing(task))
    }

    /// A journal that goes to whoever listens.
    pub fn listened(listener: impl FnMut(Micros, Row) + Send + 'static) -> Self {
        Self { next: 1, to: To::Listener(Box::new(listener)) }
    }

    /// Takes the next row. Called on a thread that may wait.
    ///
    /// # Errors
    /// When the lake takes no more; [`Committing::done`] says why.
    pub fn push(&mut self, at_us: Micros, row: Row) -> anyhow::Result<()> {
        let sequence = self.next;
        self.next += 1;
        match &mut self.to {
            To::Lake(builder, _) => {
                builder.push(&Record { sequence, at_us, row })?;
                if builder.len() >= SEGMENT_ENTRIES { self.seal() } else { Ok(()) }
            }
            To::Listener(listener) => {
                listener(at_us, row);
                Ok(())
            }
        }
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
        let To::Lake(builder, segments) = &mut self.to else { return Ok(()) };
        let Some(segment) = builder.finish() else { return Ok(()) };
        segments.blocking_send(segment).map_err(|_| anyhow::anyhow!("the lake takes no more"))
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
