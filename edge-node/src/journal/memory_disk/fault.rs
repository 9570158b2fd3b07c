//! What goes wrong with a disk.

use std::io;

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room: `ENOSPC`. A write keeps half of its bytes. Removing and syncing work.
    Full,
    /// The device fails: `EIO`. A write keeps half of its bytes; what a failed sync should have kept is lost, unless it is
    /// written once more.
    Failing,
    /// The process is killed in the step: a write keeps half of its bytes, and they last if they should.
    Killed,
    /// Nothing can be changed: `EROFS`.
    ReadOnly,
    /// The power goes before the step: it and everything after it fails, reading too, until [`super::MemoryDisk::lose_power`].
    PowerCut,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Failing => io::Error::other("the device has failed"),
            Self::Killed => io::Error::other("the process is dead"),
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
            Self::PowerCut => io::Error::other("the power is off"),
        }
    }
}
