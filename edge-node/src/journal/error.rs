//! What can go wrong with a journal, in words for whoever runs the node.

use std::io;
use std::path::{Path, PathBuf};

use wattle_columns::SegmentError;
use wattle_wire::EdgeId;

/// Why the journal could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{} can't be {action}: {source}; check the disk and the permissions of the journal's folder", path.display())]
    Io {
        /// What was tried, as a participle.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No room on the disk. Nothing is lost: rows wait in the buffer, and the next call tries again.
    #[error("the disk under {} is full; make room, or lower the journal's byte budget", path.display())]
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// The buffer is full of rows that could not be written yet. The row was not taken: stop taking input, call
    /// [`Journal::sync`](super::Journal::sync), and offer it again.
    #[error(
        "the journal holds {bytes} bytes that wait for the disk and takes no more; look for an earlier disk error"
    )]
    Full {
        /// What waits.
        bytes: usize,
    },
    /// The log alone is above the byte budget, because its rows could not be sealed yet. The row was not taken: offer it
    /// again after a sealing. A [`Journal::sync`](super::Journal::sync) does not help.
    #[error(
        "the journal's log has {bytes} bytes that are not sealed yet, and its budget is {budget_bytes}; it goes on when \
         they are sealed. If it stays so, raise [journal] budget_mib or look for an earlier error of sealing"
    )]
    LogFull {
        /// What the log takes on disk.
        bytes: u64,
        /// What log and segments may take.
        budget_bytes: u64,
    },
    /// Another process has the journal open.
    #[error("{} is in use by another process; stop that one, or give this one a folder of its own", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder is the journal of another edge.
    #[error("{} is the journal of edge {found} and not of {expected}; name the folder of {expected}", dir.display())]
    OtherEdge {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: EdgeId,
        /// Whose was expected.
        expected: EdgeId,
    },
    /// Nothing of a journal is in a folder.
    #[error("{} holds no journal; an edge's is the folder `journal` in its data folder", dir.display())]
    NoJournal {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder doesn't say whose journal it holds.
    #[error("{} doesn't say whose journal it is: {reason}; `wattle-edge journal repair --edge NAME` mends it", dir.display())]
    NoIdentity {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The lake is ahead of the journal: the folder is an old copy, and its numbers were given out twice.
    #[error(
        "the lake has entries up to {committed} of this journal, which has sent up {last}: the folder is a copy, of an old \
         one or of another machine's. Stop the node, run `wattle-edge journal repair --restored` on the folder, and start it \
         again"
    )]
    Ahead {
        /// How far the lake is.
        committed: u64,
        /// The last entry that it can have.
        last: u64,
    },
    /// A copy's new life finds something where the files of its former life belong.
    #[error(
        "{} is there already, and a file of the journal's former life belongs there: move the folder around it out of the \
         data folder, keep it, and start again",
        path.display()
    )]
    Occupied {
        /// Where a file would have been written over.
        path: PathBuf,
    },
    /// A record above [`MAX_RECORD_BYTES`](super::MAX_RECORD_BYTES), or one that can't be written at all.
    #[error("a record is larger than the journal takes ({} bytes)", super::MAX_RECORD_BYTES)]
    RecordTooLarge,
    /// A gap was appended; only the journal itself makes them.
    #[error("a gap can't be appended: the journal makes its gaps itself")]
    GapAppended,
    /// A checkpoint of entries that don't exist yet.
    #[error("a checkpoint covers entry {sequence}, and the journal ends at {last}")]
    CheckpointAhead {
        /// What the checkpoint claims to cover.
        sequence: u64,
        /// The journal's last entry.
        last: u64,
    },
    /// Rows don't become a segment.
    #[error("rows can't be sealed")]
    Segment(#[from] SegmentError),
}

/// For `map_err`: names what was tried and on what, and tells a full disk from the rest.
pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::DiskFull { path },
        _ => JournalError::Io { action, path, source },
    }
}
