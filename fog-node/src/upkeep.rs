//! Keeps the lake's files few, in the background: merges small ones and deletes what no version needs any more.
//!
//! Nothing waits for it, and nothing is lost when it is cut off or fails: it is tried again at the next turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use wattle_process::Health;

use crate::lake::{Lake, LakeError};

/// How often files that no version needs are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// The upkeep of a lake.
pub(crate) struct Upkeep {
    pub(crate) lake: Arc<Lake>,
    pub(crate) health: Health,
    /// How large files are merged to, bytes.
    pub(crate) compact_bytes: u64,
}

impl Upkeep {
    /// Runs until it is dropped.
    pub(crate) async fn run(self, every: Duration) {
        let mut turns = interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept: Option<Instant> = None;
        loop {
            turns.tick().await;
            let sweep = swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
            match self.turn(sweep).await {
                Ok(()) => {
                    self.health.clear("upkeep");
                    if sweep {
                        swept = Some(Instant::now());
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "small files could not be merged; it is tried again");
                    self.health.fail("upkeep", error.to_string());
                }
            }
        }
    }

    async fn turn(&self, sweep: bool) -> Result<(), LakeError> {
        let started = Instant::now();
        let report = self.lake.compact(self.compact_bytes).await?;
        metrics::histogram!("wattle_fog_compact_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("wattle_fog_files_merged_total").increment(report.replaced as u64);
        if sweep {
            let deleted = self.lake.sweep().await?;
            metrics::counter!("wattle_fog_files_deleted_total").increment(deleted as u64);
        }
        Ok(())
    }
}
