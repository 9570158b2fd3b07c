//! Keeps the lake's files few, in the background: merges small ones and deletes what no version needs any more.
//!
//! Nothing waits for it, and nothing is lost when it is cut off or fails: it is tried again at the next turn. What fails
//! keeps nothing else from being done, and is logged once, however many turns it lasts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use wattle_process::Health;

use crate::lake::{Failures, Lake, LakeError};

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
            let (turn, has_swept) = self.turn(swept.is_none_or(|swept| swept.elapsed() >= SWEEP)).await;
            if has_swept {
                swept = Some(Instant::now());
            }
            self.tell(turn);
        }
    }

    /// What a turn has come to, and whether it has swept; it sweeps whatever became of the merging.
    async fn turn(&self, sweep: bool) -> (Result<(), LakeError>, bool) {
        let mut failures = Failures::default();
        failures.note(self.compact().await);
        let has_swept = sweep && failures.note(self.lake.sweep().await).is_some();
        (failures.or(()), has_swept)
    }

    async fn compact(&self) -> Result<(), LakeError> {
        let started = Instant::now();
        let compacted = self.lake.compact(self.compact_bytes).await;
        metrics::histogram!("wattle_fog_compact_seconds").record(started.elapsed().as_secs_f64());
        compacted.map(drop)
    }

    /// Says in the health what a turn has come to, and in the log where that is new. Gives whether it is.
    fn tell(&self, turn: Result<(), LakeError>) -> bool {
        let Err(error) = turn else {
            self.health.clear("upkeep");
            return false;
        };
        let text = error.to_string();
        let anew = !self.health.faults().iter().any(|(part, why)| *part == "upkeep" && *why == text);
        if anew {
            tracing::error!(%error, "upkeep of the lake has failed in part, the rest is done; it is tried again");
            self.health.fail("upkeep", text);
        }
        anew
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Error;
    use std::path::Path;
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::*;
    use crate::lake::rows::{Journal, NOON};

    async fn upkeep() -> (TempDir, Upkeep) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Arc::new(Lake::open(folder.path()).await.expect("a lake"));
        (folder, Upkeep { lake, health: Health::new(), compact_bytes: 1 << 20 })
    }

    fn data_files(table: &Path) -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(table).expect("a folder").map(|file| file.expect("a file").path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
    }

    #[tokio::test]
    async fn what_fails_at_every_turn_is_logged_once_and_stays_in_the_health_until_it_works() {
        let (_folder, upkeep) = upkeep().await;
        let failed = |why| Err(LakeError::Folder { path: "lake".into(), source: Error::other(why) });
        assert!(upkeep.tell(failed("no disk")));
        assert!(!upkeep.tell(failed("no disk")));
        assert!(upkeep.tell(failed("no room")), "another reason");
        assert!(upkeep.health.faults()[0].1.contains("no room"));
        assert!(!upkeep.tell(Ok(())));
        assert!(upkeep.health.faults().is_empty());
        assert!(upkeep.tell(failed("no room")), "again");
    }

    #[tokio::test]
    async fn a_turn_sweeps_also_when_a_file_could_not_be_merged_and_says_the_same_of_it_every_time() {
        let (folder, upkeep) = upkeep().await;
        let mut journal = Journal::new(7);
        for second in 0..20 {
            let segment = journal.reading("cp-1", NOON + second, 3680, second).cut();
            upkeep.lake.commit(vec![segment]).await.expect("a commit");
        }
        let table = folder.path().join("readings_raw");
        fs::write(data_files(&table).remove(5), "rot").expect("damaged");
        let left = table.join("part-1.parquet");
        fs::write(&left, "of a merge that was cut off").expect("a file");
        let file = fs::File::options().write(true).open(&left).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(10_000)).expect("a time");
        let (turn, has_swept) = upkeep.turn(true).await;
        assert!(turn.is_err() && has_swept);
        assert!(!left.exists());
        assert!(upkeep.tell(turn));
        for _ in 0..3 {
            let (turn, _) = upkeep.turn(true).await;
            assert!(turn.is_err() && !upkeep.tell(turn));
        }
    }
}
