//! What can go wrong with a lake.

use std::path::PathBuf;
use std::sync::Arc;

use deltalake::DeltaTableError;

/// A failure of the lake as a whole. A refused segment is none: see [`super::CommitReport`].
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The folder can't be made or read.
    #[error("lake folder {} can't be used: {source}; check that it exists and that this user may write there", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A table can't be read or written.
    #[error("table {table} can't be {doing}: {source}")]
    Table {
        /// Which.
        table: &'static str,
        /// `opened`, `read`, `written`.
        doing: &'static str,
        /// What the table format says.
        source: Box<DeltaTableError>,
    },
    /// A file was written and can't be brought to the disk.
    #[error("{} can't be brought to the disk: {source}; check the disk", .path.display())]
    NotSynced {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A data file that a table names can't be read.
    #[error(
        "data file {} can't be read: {source}; check the disk, and put the file back from a copy of the lake: until then queries that need its rows fail", .path.display()
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Several things have failed, while the rest was done.
    #[error("{}", told(.0))]
    Several(
        /// Each of them.
        Vec<LakeError>,
    ),
    /// The process ends while a file is brought to the disk.
    #[error("the process is stopping")]
    Stopping,
    /// A query over the lake's own tables failed.
    #[error("the lake can't be queried for {what}: {source}")]
    Query {
        /// For what.
        what: &'static str,
        /// What the engine says.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// Columns that can't be put together: a fault of this program or a table of another version.
    #[error("columns of {what} don't fit: {source}")]
    Columns {
        /// Of what.
        what: &'static str,
        /// What Arrow says.
        source: arrow::error::ArrowError,
    },
    /// Others kept writing to a table for as long as we tried.
    #[error(
        "table {table} was written by others {attempts} times while we tried to commit; try again later, and let only one fog node write a lake"
    )]
    Contended {
        /// Which.
        table: &'static str,
        /// How often we tried.
        attempts: usize,
    },
}

/// How many of several failures are told.
const TOLD: usize = 3;

fn told(failures: &[LakeError]) -> String {
    let mut texts: Vec<_> = failures.iter().take(TOLD).map(ToString::to_string).collect();
    if failures.len() > TOLD {
        texts.push(format!("and {} more", failures.len() - TOLD));
    }
    texts.join("; ")
}

/// What has failed while the rest went on.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<LakeError>);

impl Failures {
    /// What was done; or none, and the failure is kept.
    pub(crate) fn note<T>(&mut self, result: Result<T, LakeError>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Keeps a failure.
    pub(crate) fn push(&mut self, error: LakeError) {
        self.0.push(error);
    }

    /// What was done, if nothing has failed.
    ///
    /// # Errors
    /// All that has failed.
    pub(crate) fn or<T>(mut self, done: T) -> Result<T, LakeError> {
        match (self.0.pop(), self.0.is_empty()) {
            (None, _) => Ok(done),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.0.push(last);
                Err(LakeError::Several(self.0))
            }
        }
    }
}

pub(crate) trait Context<T> {
    fn columns(self, what: &'static str) -> Result<T, LakeError>;
}

impl<T> Context<T> for Result<T, arrow::error::ArrowError> {
    fn columns(self, what: &'static str) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Columns { what, source })
    }
}

pub(crate) trait QueryContext<T> {
    fn querying(self, what: &'static str) -> Result<T, LakeError>;
}

impl<T> QueryContext<T> for Result<T, datafusion::error::DataFusionError> {
    fn querying(self, what: &'static str) -> Result<T, LakeError> {
        self.map_err(|source| LakeError::Query { what, source: Box::new(source) })
    }
}
