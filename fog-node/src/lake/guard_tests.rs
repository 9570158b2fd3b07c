//! Work that is taken away while it is committed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::disk::{ToDisk, to_disk};
use super::tests::rows::{Journal as Rows, NOON};
use super::tests::{commit, lake, one, position, some};
use super::*;

/// How long a disk stands still at most.
const LIMIT: Duration = Duration::from_secs(60);

/// A disk that stands still while it is told to.
#[derive(Default)]
pub(crate) struct Stopped {
    /// Whether it is to stand still, and how much waits for it.
    state: Mutex<(bool, usize)>,
    goes_on: Condvar,
}

impl Stopped {
    /// From here on nothing reaches the disk, or everything does.
    pub(crate) fn stop(&self, still: bool) {
        self.state.lock().expect("nobody panics").0 = still;
        self.goes_on.notify_all();
    }

    /// Whether something waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.state.lock().expect("nobody panics").1 > 0
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("nobody panics");
        state.1 += 1;
        let (mut state, _) =
            self.goes_on.wait_timeout_while(state, LIMIT, |(still, _)| *still).expect("nobody panics");
        state.1 -= 1;
    }
}

/// A lake on such a disk.
pub(crate) async fn lake_on(folder: &Path, disk: &Arc<Stopped>) -> Lake {
    let (disk, own) = (disk.clone(), to_disk());
    let to_disk: ToDisk = Arc::new(move |path| {
        disk.pass();
        own(path)
    });
    Lake::open_on(folder, Limits::default(), &to_disk).await.expect("a lake")
}

/// How many rows there are of each table, and how many different numbers.
pub(crate) async fn counts(lake: &Lake) -> [(i64, i64); 3] {
    let mut counts = [(0, 0); 3];
    for (count, table) in counts.iter_mut().zip(["readings_raw", "events", "decisions"]) {
        let different = "count(DISTINCT incarnation || '/' || sequence)";
        *count = (
            one(lake, &format!("SELECT count(*) FROM {table}")).await,
            one(lake, &format!("SELECT {different} FROM {table}")).await,
        );
    }
    counts
}

#[tokio::test]
async fn nothing_more_is_written_once_the_guard_says_no_and_whoever_comes_next_completes_it_once() {
    // Asked once for each table, `events` last.
    for yes in 0..3 {
        let (_folder, lake) = lake().await;
        let (mut journal, mut other) = (Rows::new(7), Rows::new(8));
        let (segment, others) = (some(&mut journal, NOON), some(&mut other, NOON));
        let (taken_away, asked) = (Journal::of(&segment.header), AtomicUsize::new(0));
        let guard = |journal: &Journal| *journal != taken_away || asked.fetch_add(1, Ordering::Relaxed) < yes;
        let report = lake.commit_guarded(vec![segment.clone(), others], &guard).await.expect("a commit");
        assert_eq!(report.fenced, [taken_away.clone()].into(), "after {yes} times yes");
        assert_eq!((position(&lake, 7).await, position(&lake, 8).await), (None, Some(13)));
        let [readings, events, decisions] = counts(&lake).await;
        let expected = match yes {
            0 => [10, 1, 2],
            1 => [20, 1, 2],
            _ => [20, 1, 4],
        };
        assert_eq!([readings.0, events.0, decisions.0], expected, "after {yes} times yes");
        commit(&lake, vec![segment]).await;
        assert_eq!(counts(&lake).await, [(20, 20), (2, 2), (4, 4)]);
        assert_eq!(position(&lake, 7).await, Some(13));
    }
}
