//! What can go wrong with a lake.

use std::path::PathBuf;

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
