//! What is found in a data directory.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

pub(crate) use crate::storage::checkpoint::State as CopyState;
use crate::{
    storage::journal::Fault,
    types::{Offset, PartitionId, TopicId, TopicName, TopicSettings},
};

/// What a data directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The directory's identity; none if the file that says it is damaged.
    pub(crate) id: Option<u64>,
    /// The version of its formats.
    pub(crate) version: u32,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) journal: Journal,
    /// How many producers are known.
    pub(crate) producers: u64,
    /// How many consumer groups.
    pub(crate) groups: u64,
    /// How many offsets they have committed.
    pub(crate) group_offsets: u64,
    /// Those that are not complete: bytes of the entity may be anywhere.
    pub(crate) erasures: Vec<Erasure>,
    /// Trims of entities that are not complete: readers are not shown what segments still have.
    pub(crate) key_trims: Vec<KeyTrims>,
    /// In order of their names.
    pub(crate) topics: Vec<Topic>,
    /// Directories of deleted topics, and of topics that nothing else knows of.
    pub(crate) leftovers: Vec<PathBuf>,
    /// In the order in which it was found: checkpoint, journal, then topic by topic.
    pub(crate) damage: Vec<Damage>,
}

/// What was found of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The state of the file and of its copy.
    pub(crate) copies: [CopyState; 2],
    /// Entries up to this one are in segments, with what has changed since these.
    pub(crate) applied: Option<u64>,
    /// The journal file that a start reads first.
    pub(crate) journal_file: Option<u64>,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    /// In order of their numbers, those without one first.
    pub(crate) files: Vec<JournalFile>,
    /// The last entry's sequence: where the chain of entries ends.
    pub(crate) end: u64,
    /// A last write that was never acknowledged; the next start cuts it off. Not damage.
    pub(crate) torn: Option<Torn>,
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalFile {
    pub(crate) path: PathBuf,
    /// Number and salt; none if the file has not been used yet.
    pub(crate) number: Option<u64>,
    pub(crate) salt: Option<u64>,
    /// Whether a start reads it; otherwise a checkpoint covers what is in it.
    pub(crate) needed: bool,
    /// How many entries were found. Files that are not needed are not looked into.
    pub(crate) entries: u64,
    /// Their sequences, from the first up to behind the last.
    pub(crate) sequences: Range<u64>,
}

/// Bytes of a write that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Range<u64>,
}

/// Trims of a partition's entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyTrims {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
    /// How many are not complete.
    pub(crate) waiting: u64,
}

/// An erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
    /// Since 1970.
    pub(crate) requested_ms: i64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    pub(crate) partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    /// The first offset that has not been trimmed.
    pub(crate) start: Offset,
    /// The offset behind the last record.
    pub(crate) end: Offset,
    /// Sound records in the journal that are not in a segment yet, as far as a checkpoint says.
    pub(crate) journal_records: u64,
    /// In order of their bases.
    pub(crate) segments: Vec<Segment>,
    /// The key index, in order of the offsets. What no run covers is looked for in the log, so that
    /// nothing is lost.
    pub(crate) key_runs: Vec<KeyRun>,
    /// What outlives records that are gone, in order of the tables' numbers, then files of earlier
    /// versions.
    pub(crate) last_versions: Vec<LastVersions>,
}

/// A file of a key index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRun {
    pub(crate) path: PathBuf,
    /// What it covers.
    pub(crate) offsets: Range<Offset>,
    /// As its header says.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) state: KeyFileState,
}

/// A file of the last versions of records that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastVersions {
    pub(crate) path: PathBuf,
    /// What it covers.
    pub(crate) numbers: Range<u64>,
    /// As its header says.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) state: KeyFileState,
}

impl LastVersions {
    /// One that has not been looked at.
    pub(super) fn new(path: PathBuf, numbers: Range<u64>) -> Self {
        Self {
            path,
            numbers,
            rows: 0,
            bytes: 0,
            state: KeyFileState::LeftOver,
        }
    }
}

/// What a file of a key index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFileState {
    /// As far as it was checked.
    Sound,
    Damaged,
    /// Another took its place, or it is ahead of the log: a start removes it.
    LeftOver,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) base: Offset,
    /// The offset behind its last record.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// Sound records, if every frame was checked; otherwise as many as there are offsets.
    pub(crate) records: u64,
    pub(crate) state: SegmentState,
    pub(crate) index: IndexState,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// It does not change any more.
    Sealed,
    /// The one that grows.
    Active,
    /// It was begun behind the checkpoint: a start writes it anew, from the journal.
    BehindCheckpoint,
}

/// What a segment's index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// An active segment has no index, or a part of one.
    NotYet,
    Sound,
    Missing,
    Damaged,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: PathBuf,
    /// The topic and the partition, where it is known whose records are concerned.
    pub(crate) topic: Option<TopicName>,
    pub(crate) partition: Option<PartitionId>,
    /// The records that cannot be read; none if that is not known, or if all can be.
    pub(crate) offsets: Option<Range<Offset>>,
    pub(crate) kind: DamageKind,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DamageKind {
    /// The operating system does not give its bytes.
    Unreadable { cause: String },
    /// The file that says whose the directory is; written anew at the next start.
    Identity,
    /// A copy of the checkpoint; the other one is used.
    CheckpointCopy,
    /// The checkpoint: a start looks through all segments, and has forgotten producers.
    Checkpoint,
    /// Acknowledged entries of the journal that are lost, from the first up to behind the last.
    JournalEntries { sequences: Range<u64> },
    /// A part of an entry.
    JournalItem { sequence: u64 },
    /// The first block of a journal file; a copy of what it says is used.
    JournalHeader,
    /// The copies of what the first blocks of journal files say, or some of them.
    JournalNotes,
    /// A journal file that may hold acknowledged entries is not as it was: no start goes on without
    /// them.
    JournalFile { fault: Fault },
    /// As `JournalFile`: the operating system does not give its bytes.
    JournalUnreadable { cause: String },
    /// As `JournalFile`: it is not there.
    JournalFileMissing { number: u64 },
    /// The file that says what a topic is; written anew at the next change.
    TopicFile,
    /// The first bytes of a segment. Its records can be read.
    SegmentHeader,
    /// Records in a segment are damaged.
    Records,
    /// Records are in no segment.
    MissingRecords,
    /// An index that does not fit its segment; built anew when it is needed.
    Index,
    /// A file of a key index; built anew from the log.
    KeyRun,
    /// A file of a key index without rows of records that it covers: it hides them.
    IncompleteRun,
    /// A file of what outlives records that are gone, or it is missing.
    LastVersions,
}

impl Damage {
    pub(super) fn of_file(path: &Path, kind: DamageKind) -> Self {
        Self {
            path: path.to_owned(),
            topic: None,
            partition: None,
            offsets: None,
            kind,
        }
    }

    /// Whether records are lost by it, or what is known of those that are gone. What is not lost is
    /// mended by the next start, or when it is needed.
    pub(crate) fn loses_records(&self) -> bool {
        match &self.kind {
            DamageKind::JournalEntries { .. }
            | DamageKind::JournalItem { .. }
            | DamageKind::JournalFile { .. }
            | DamageKind::JournalUnreadable { .. }
            | DamageKind::JournalFileMissing { .. }
            | DamageKind::Records
            | DamageKind::MissingRecords
            | DamageKind::IncompleteRun
            | DamageKind::LastVersions => true,
            DamageKind::Unreadable { .. } => self.offsets.is_some(),
            DamageKind::Identity
            | DamageKind::CheckpointCopy
            | DamageKind::Checkpoint
            | DamageKind::JournalHeader
            | DamageKind::JournalNotes
            | DamageKind::TopicFile
            | DamageKind::SegmentHeader
            | DamageKind::Index
            | DamageKind::KeyRun => false,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.kind)?;
        if let Some(topic) = &self.topic {
            write!(f, "; topic {topic}")?;
        }
        if let Some(partition) = self.partition {
            write!(f, ", partition {partition}")?;
        }
        if let Some(offsets) = &self.offsets {
            write!(
                f,
                ", offsets {} up to {} cannot be read",
                offsets.start, offsets.end
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { cause } => write!(f, "cannot be read: {cause}"),
            Self::Identity => f.write_str("is lost or damaged; the next start makes it anew"),
            Self::CheckpointCopy => f.write_str("is a damaged copy of the checkpoint; the other one is used"),
            Self::Checkpoint => f.write_str(
                "is lost or damaged; the next start looks through all segments instead, and knows of producers only \
                 what the journal says",
            ),
            Self::JournalEntries { sequences } => {
                write!(f, "entries {} up to {} are damaged", sequences.start, sequences.end)
            }
            Self::JournalItem { sequence } => write!(f, "a part of entry {sequence} is damaged"),
            Self::JournalHeader => f.write_str("its first block is damaged; the copy of what it says is used"),
            Self::JournalNotes => f.write_str("is damaged in part; it is written anew as journal files are used again"),
            Self::JournalFile { fault } => {
                write!(f, "{fault}, and may hold acknowledged records; no broker starts without them")
            }
            Self::JournalUnreadable { cause } => {
                write!(f, "cannot be read ({cause}), and may hold acknowledged records; no broker starts without them")
            }
            Self::JournalFileMissing { number } => write!(
                f,
                "the journal file with the number {number} is missing, and may hold acknowledged records; no broker \
                 starts without them"
            ),
            Self::TopicFile => f.write_str("is damaged; it is written anew when the topic changes"),
            Self::SegmentHeader => f.write_str("its header is damaged or of another segment; its records can be read"),
            Self::Records => f.write_str("records are damaged"),
            Self::MissingRecords => f.write_str("records are missing"),
            Self::Index => f.write_str("does not fit its segment; it is built anew when it is needed"),
            Self::KeyRun => f.write_str("is damaged or of another partition; it is built anew from the log"),
            Self::IncompleteRun => f.write_str(
                "has no rows of some records, and hides them from reads of their entities; stop the broker and remove \
                    the file, and it is built anew from the log",
            ),
            Self::LastVersions => f.write_str(
                "is damaged or missing; which versions entities had in records that are gone is not known any more",
            ),
        }
    }
}
