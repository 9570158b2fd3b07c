//! What can be taken away, to show that the simulation would notice. The product has no such switches: each stands in
//! the world around it, which then lies in the one way that makes the rule void.

/// Something that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// The fsync of a log file.
    LogBytes,
    /// That rows last as soon as they are there: they are written, and then comes the fsync.
    LogAtOnce,
    /// The fsync of what a killed process has written, before the next one relies on it.
    FoundBytes,
    /// The fsync of the folder after a log file was made, or before anything relies on the names that an opening has found.
    LogName,
    /// The fsync of a segment.
    SegmentBytes,
    /// The fsync of the folder after a segment got its name.
    SegmentName,
    /// The fsync of the noted position of the lake.
    CommittedBytes,
    /// The fsync of the note of what was handed out.
    HandedBytes,
    /// The fsync of the folder after either got its name, which it gets once.
    PositionName,
    /// The fsync of the note of a copy's new life.
    RestoredBytes,
    /// The fsyncs of folders while what a copy holds of its former life moves into a folder of that.
    FormerName,
    /// The fsync of the devices' states.
    CheckpointBytes,
    /// The fsync of the folder after these got their name.
    CheckpointName,
    /// The fsync of the journal's identity.
    IdentityBytes,
    /// The fsync of the folder after that has gone or got its name, as a copy begins a new life.
    IdentityName,
    /// That a log file is read back as it was written: one byte in its middle is another.
    LogRead,
    /// The order of fsync and acknowledgement: a sync says at once that it is done.
    SyncBeforeAck,
    /// A device's storage of its state before it goes on.
    DeviceStore,
    /// An acknowledgement goes to the broker only on the connection that delivered.
    ConnectionOfAck,
    /// The edge's check for numbers of a device that it has had.
    DuplicateCheck,
    /// That check's memory over a restart of the edge.
    DuplicateMemory,
    /// The fsync of the lake's data files.
    LakeFiles,
    /// The fsync of an entry of a table's log.
    LakeEntry,
    /// The fsync of an entry that another process has written, before anything is said of it.
    LakeEntryOfOthers,
    /// The positions in a table's commit.
    Positions,
    /// The newest of them, when a table is asked for its position.
    PositionCheck,
    /// The check that a table is still what a commit was made for.
    ConflictCheck,
    /// The look at what other tables have, before gaps are written.
    Settling,
    /// The order of commit and answer: a segment is answered when it has come.
    CommitBeforeAnswer,
    /// What tells a copy of a journal from the journal: the files' own identity.
    NewLife,
    /// The check that a lake isn't ahead of what was handed out.
    AheadCheck,
    /// The way up of what a copy holds of the life that it was copied from.
    FormerLife,
}

impl Switch {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::LogBytes,
        Self::LogAtOnce,
        Self::FoundBytes,
        Self::LogName,
        Self::SegmentBytes,
        Self::SegmentName,
        Self::CommittedBytes,
        Self::HandedBytes,
        Self::PositionName,
        Self::RestoredBytes,
        Self::FormerName,
        Self::CheckpointBytes,
        Self::CheckpointName,
        Self::IdentityBytes,
        Self::IdentityName,
        Self::LogRead,
        Self::SyncBeforeAck,
        Self::DeviceStore,
        Self::ConnectionOfAck,
        Self::DuplicateCheck,
        Self::DuplicateMemory,
        Self::LakeFiles,
        Self::LakeEntry,
        Self::LakeEntryOfOthers,
        Self::Positions,
        Self::PositionCheck,
        Self::ConflictCheck,
        Self::Settling,
        Self::CommitBeforeAnswer,
        Self::NewLife,
        Self::AheadCheck,
        Self::FormerLife,
    ];
}
