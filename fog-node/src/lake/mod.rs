//! The lake: Delta tables in a folder, each row in them once.
//!
//! ```text
//! <lake>/readings_raw         every reading, with its verdict           | raw: from segments
//! <lake>/events               every event, also what was refused        |
//! <lake>/decisions            every decision                            |
//! <lake>/intervals_revisions  minutes of devices, each value they had   | derived: from the raw tables
//! <lake>/sessions_revisions   stays of vehicles, each value they had    |
//! ```
//!
//! A Delta transaction covers one table. So each raw table's commit carries, as `txn` actions, the position of each
//! journal that it has reached (`<edge>/<incarnation>` -> highest contiguous sequence), and drops what
//! stands at or below the position of the snapshot that it commits onto. After a crash between two tables they
//! stand at different positions; the lowest is what an edge is told, and each table skips what it has.
//! A derived table's commit carries the versions of the raw tables that it was derived from.
//!
//! Invariants:
//! - A row of a journal is in its table once: no commit is retried blindly. Another writer makes it reload
//!   the snapshot and drop again against that.
//! - Positions have no holes: a segment that would leave one is refused.
//! - What [`Lake::commit`] has returned from is on the disk.
//! - A node may be stopped at any moment and for any time, by its system or by whoever hosts that, and no clock has to tell. Others
//!   go on meanwhile, and drop what is older than two hours: files that no entry names yet, and entries of the log
//!   that a checkpoint covers. So the files of an entry are claimed right before it is written ([`sweep`]), and right after it a
//!   checkpoint is looked for that had overtaken it: such an entry is none, and is written again at the end of the log.
//! - What fails in one table, or in one file of it, keeps upkeep and derivation of the others from nothing.
//! - One commit, one derivation and one compaction at a time per [`Lake`]; none waits for another, nor do queries.
//!
//! Each commit leaves a small file per table. [`Lake::compact`] and [`Lake::sweep`] have to be called every now and
//! then, or questions become slow; commits don't.

mod admit;
mod columns;
mod commit;
mod compact;
mod derive;
mod disk;
mod error;
#[cfg(test)]
mod gap_tests;
#[cfg(test)]
pub(crate) mod guard_tests;
mod head;
mod log;
#[cfg(test)]
mod pause_tests;
mod raw;
pub mod schema;
mod settle;
mod sweep;
#[cfg(test)]
mod sweep_tests;
#[cfg(test)]
mod sync_tests;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::rows;
mod unreadable;
#[cfg(test)]
mod upkeep_tests;
mod views;

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;
use wattle_fog_core::clean::Limits;
use wattle_wire::EdgeId;
use wattle_wire::uplink::Incarnation;

pub use admit::{Journal, Refusal};
pub use commit::{CommitReport, Guard};
pub use compact::CompactReport;
pub use derive::DeriveReport;
pub(crate) use error::Failures;
pub use error::LakeError;
pub use raw::{Append, RawTable, RawTables};
pub use views::{TABLES, VIEWS};

use disk::ToDisk;
use table::Table;

/// A lake in a folder.
pub struct Lake {
    folder: PathBuf,
    limits: Limits,
    readings: Table,
    events: Table,
    decisions: Table,
    intervals: Table,
    sessions: Table,
    committing: Mutex<()>,
    deriving: Mutex<derive::Progress>,
    compacting: Mutex<compact::Unreadable>,
}

impl Lake {
    /// Opens the lake in a folder, or makes it, with the default cleaning limits.
    ///
    /// # Errors
    /// When the folder or a table can't be made or read.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, LakeError> {
        Self::open_with(folder, Limits::default()).await
    }

    /// Opens the lake with cleaning limits of its own.
    ///
    /// # Errors
    /// When the folder or a table can't be made or read.
    pub async fn open_with(folder: impl AsRef<Path>, limits: Limits) -> Result<Self, LakeError> {
        Self::open_on(folder.as_ref(), limits, &disk::to_disk()).await
    }

    async fn open_on(given: &Path, limits: Limits, to_disk: &ToDisk) -> Result<Self, LakeError> {
        let unusable = |source| LakeError::Folder { path: given.to_owned(), source };
        std::fs::create_dir_all(given).map_err(unusable)?;
        let folder = given.canonicalize().map_err(unusable)?;
        Ok(Self {
            readings: Table::open(&folder, "readings_raw", &schema::readings_raw(), to_disk).await?,
            events: Table::open(&folder, "events", &schema::events(), to_disk).await?,
            decisions: Table::open(&folder, "decisions", &schema::decisions(), to_disk).await?,
            intervals: Table::open(&folder, "intervals_revisions", &schema::intervals(), to_disk).await?,
            sessions: Table::open(&folder, "sessions_revisions", &schema::sessions(), to_disk).await?,
            folder,
            limits,
            committing: Mutex::new(()),
            deriving: Mutex::new(derive::Progress::default()),
            compacting: Mutex::new(compact::Unreadable::default()),
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How far the lake has got in a journal: every entry up to this one is in every raw table. None when it has
    /// nothing of that journal.
    ///
    /// # Errors
    /// When a table's log can't be read.
    pub async fn positions(&self, edge: &EdgeId, incarnation: Incarnation) -> Result<Option<u64>, LakeError> {
        self.raw_tables().position(&Journal { edge: edge.clone(), incarnation }).await
    }

    fn tables(&self) -> [&Table; 5] {
        [&self.readings, &self.events, &self.decisions, &self.intervals, &self.sessions]
    }
}
