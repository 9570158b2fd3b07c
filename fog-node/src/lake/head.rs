//! The end of a table's log, without its files: all that an append needs to know.
//!
//! A head begins at a snapshot and goes on entry by entry: by our own commits without reading anything, by those of
//! others by reading theirs. So it costs the same whether the table has ten files or ten thousand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalake::kernel::Action;
use deltalake::logstore::{LogStore, get_actions};
use deltalake::{DeltaTable, DeltaTableError};
use tokio::sync::OnceCell;

use super::log;
use super::table::RETENTION;

/// When a head isn't trusted any more: others might have committed and dropped those entries, and the number after
/// ours would be free again. This spares tries; a clock that stood still with the node is made up for by [`super::table::Table`].
const OLD: Duration = RETENTION.checked_div(4).expect("four is not zero");

/// What is found of an application.
pub(crate) enum Position {
    /// It needn't be kept.
    Known(Option<u64>),
    /// It took a pass over the log by itself.
    LookedUp(Option<u64>),
}

/// The end of a table's log.
#[derive(Clone)]
pub(crate) struct Head {
    base: DeltaTable,
    version: u64,
    seen: Instant,
    /// Positions of commits after the base, and those that were looked up in the base. Shared by all who look at this head.
    positions: Arc<BTreeMap<String, Option<u64>>>,
    /// Every position of the base, once it was asked for; none where the log doesn't tell them in one pass.
    of_base: Arc<OnceCell<Option<BTreeMap<String, u64>>>>,
}

impl Head {
    /// The end of the log as a snapshot has it.
    pub(crate) fn of(base: &DeltaTable) -> Result<Self, DeltaTableError> {
        let version = base.version().ok_or(DeltaTableError::NotInitialized)?;
        Ok(Self {
            base: base.clone(),
            version,
            seen: Instant::now(),
            positions: Arc::default(),
            of_base: Arc::default(),
        })
    }

    /// The same end of the log, reckoned from a newer snapshot: no commit between the two bases has a position that
    /// isn't known here. Its own end, if others have gone on.
    pub(crate) fn rebased(&self, base: &DeltaTable) -> Result<Self, DeltaTableError> {
        if base.version().is_some_and(|version| version > self.version) {
            return Self::of(base);
        }
        Ok(Self { base: base.clone(), ..self.clone() })
    }

    /// The version that an append follows.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The table with schema and properties that still hold; its files may be old.
    pub(crate) fn table(&self) -> &DeltaTable {
        &self.base
    }

    /// Whether it was last compared with the disk so long ago that it has to be again.
    pub(crate) fn is_old(&self) -> bool {
        self.seen.elapsed() > OLD
    }

    /// The head after a commit of ours, which carries `positions`.
    pub(crate) fn after(&self, positions: Vec<(String, u64)>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.seen = Instant::now();
        Arc::make_mut(&mut next.positions)
            .extend(positions.into_iter().map(|(app, position)| (app, Some(position))));
        next
    }

    /// The head after all commits that are there by now. None when the log doesn't tell, or when schema or
    /// properties have changed: it has to be read anew.
    pub(crate) async fn followed(mut self) -> Result<Option<Self>, DeltaTableError> {
        if self.is_old() {
            return Ok(None);
        }
        let log = self.base.log_store();
        while let Some(actions) = entry(&log, self.version + 1).await? {
            for action in actions {
                match action {
                    Action::Txn(txn) => {
                        Arc::make_mut(&mut self.positions)
                            .insert(txn.app_id, u64::try_from(txn.version).ok());
                    }
                    Action::Metadata(_) | Action::Protocol(_) => return Ok(None),
                    _ => {}
                }
            }
            self.version += 1;
        }
        self.seen = Instant::now();
        Ok(Some(self))
    }

    /// The position of an application; none when it has none. `folder` is the log's: the first who asks for one that no commit since
    /// the base has told of reads all that the base has, in one pass, for all who look at this head.
    pub(crate) async fn position(&self, app: &str, folder: &Path) -> Result<Position, DeltaTableError> {
        if let Some(position) = self.positions.get(app) {
            return Ok(Position::Known(*position));
        }
        let version = self.base.version().ok_or(DeltaTableError::NotInitialized)?;
        let log = self.base.log_store();
        let read = || log::positions(folder, &log, version);
        if let Some(all) = self.of_base.get_or_try_init(read).await? {
            return Ok(Position::Known(all.get(app).copied()));
        }
        let found = self.base.snapshot()?.transaction_version(&log, app).await?;
        Ok(Position::LookedUp(found.and_then(|version| u64::try_from(version).ok())))
    }

    /// Keeps what was looked up.
    pub(crate) fn remember(&mut self, app: &str, position: Option<u64>) {
        Arc::make_mut(&mut self.positions).insert(app.to_owned(), position);
    }
}

/// What one entry of a log says; none when there is no such entry.
pub(crate) async fn entry(log: &impl LogStore, version: u64) -> Result<Option<Vec<Action>>, DeltaTableError> {
    let Some(bytes) = log.read_commit_entry(version).await? else { return Ok(None) };
    Ok(Some(get_actions(version, &bytes)?))
}
