//! The report about a data directory.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

pub(crate) use crate::storage::checkpoint::State as CopyState;
use crate::{
    storage::{backup::Taken, journal::Fault},
    types::{Offset, PartitionId, TopicId, TopicName, TopicSettings},
};

/// What a data directory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The backup that the directory is, if it is one.
    pub(crate) backup: Option<Taken>,
    /// The directory's identity; `None` if its file is damaged.
    pub(crate) id: Option<u64>,
    /// The version of its formats.
    pub(crate) version: u32,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) journal: Journal,
    /// How many producers are known.
    pub(crate) producers: u64,
    /// How many consumer groups there are.
    pub(crate) groups: u64,
    /// How many offsets the groups have committed.
    pub(crate) group_offsets: u64,
    /// Erasures that are not complete: bytes of the entity may be anywhere.
    pub(crate) erasures: Vec<Erasure>,
    /// Trims of entities that are not complete: segments still have records that readers are not
    /// shown.
    pub(crate) key_trims: Vec<KeyTrims>,
    /// The topics, by name.
    pub(crate) topics: Vec<Topic>,
    /// Directories of deleted topics, and of topics that are not known otherwise.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Damage, in the order in which it was found: checkpoint, journal, then topic by topic.
    pub(crate) damage: Vec<Damage>,
}

/// What was found of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The state of the file and of its copy.
    pub(crate) copies: [CopyState; 2],
    /// Journal entries up to this one are in segments, according to the checkpoint with its deltas.
    pub(crate) applied: Option<u64>,
    /// The journal file that a start reads first.
    pub(crate) journal_file: Option<u64>,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The journal's files by number, those without one first.
    pub(crate) files: Vec<JournalFile>,
    /// The sequence of the last entry.
    pub(crate) end: u64,
    /// A last write that was never acknowledged. The next start cuts it off; it is not damage.
    pub(crate) torn: Option<Torn>,
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalFile {
    pub(crate) path: PathBuf,
    /// The file's number; `None` if it has not been used yet.
    pub(crate) number: Option<u64>,
    pub(crate) salt: Option<u64>,
    /// Whether a start reads it; otherwise a checkpoint covers its entries.
    pub(crate) needed: bool,
    /// How many entries were found; 0 in files that are not needed, which are not read.
    pub(crate) entries: u64,
    /// The sequences of these entries.
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
    /// In milliseconds since 1970.
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
    /// Sound records in the journal that no segment has yet, according to the checkpoint.
    pub(crate) journal_records: u64,
    /// The segments, by base offset.
    pub(crate) segments: Vec<Segment>,
    /// The tables of records, by offset. Offsets that no table covers are looked up in the log, so
    /// nothing is lost.
    pub(crate) key_runs: Vec<KeyRun>,
    /// The tables of last versions, by number, then files of earlier versions.
    pub(crate) last_versions: Vec<LastVersions>,
}

/// A table of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRun {
    pub(crate) path: PathBuf,
    /// The offsets that it covers.
    pub(crate) offsets: Range<Offset>,
    /// The number of rows in its header.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) state: KeyFileState,
}

/// A table of last versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastVersions {
    pub(crate) path: PathBuf,
    /// The numbers that it covers.
    pub(crate) numbers: Range<u64>,
    /// The number of rows in its header.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) state: KeyFileState,
}

impl LastVersions {
    /// A file that was not examined yet.
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

/// The state of a file of a key index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFileState {
    /// Sound, as far as it was checked.
    Sound,
    Damaged,
    /// Another file has replaced it, or it is ahead of the log: a start removes it.
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
    /// The number of sound records if every frame was checked, otherwise the number of offsets.
    pub(crate) records: u64,
    pub(crate) state: SegmentState,
    pub(crate) index: IndexState,
}

/// The state of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// It does not change any more.
    Sealed,
    /// The one that grows.
    Active,
    /// It was begun behind the checkpoint: a start writes it again, from the journal.
    BehindCheckpoint,
}

/// The state of a segment's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// The segment is active, so its index is missing or incomplete.
    NotYet,
    Sound,
    Missing,
    Damaged,
}

/// Something that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: PathBuf,
    /// The topic, and below the partition, whose records are concerned, if that is known.
    pub(crate) topic: Option<TopicName>,
    pub(crate) partition: Option<PartitionId>,
    /// The records that cannot be read; `None` if that is not known, or if all can be read.
    pub(crate) offsets: Option<Range<Offset>>,
    pub(crate) kind: DamageKind,
}

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DamageKind {
    /// The operating system cannot read the file.
    Unreadable { cause: String },
    /// The file that identifies the directory; the next start writes it again.
    Identity,
    /// A copy of the checkpoint; the other one is used.
    CheckpointCopy,
    /// The checkpoint: a start scans all segments, and has forgotten all producers.
    Checkpoint,
    /// Acknowledged entries of the journal, which are lost.
    JournalEntries { sequences: Range<u64> },
    /// A part of an entry.
    JournalItem { sequence: u64 },
    /// The first block of a journal file; its note is used instead.
    JournalHeader,
    /// Notes about the journal files.
    JournalNotes,
    /// A journal file that may have acknowledged entries is not as it was: a start fails.
    JournalFile { fault: Fault },
    /// As `JournalFile`; the operating system cannot read it.
    JournalUnreadable { cause: String },
    /// As `JournalFile`; it is missing.
    JournalFileMissing { number: u64 },
    /// The file that describes a topic; it is written again at the topic's next change.
    TopicFile,
    /// The header of a segment; its records can be read.
    SegmentHeader,
    /// Records in a segment are damaged.
    Records,
    /// Records are in no segment.
    MissingRecords,
    /// An index that contradicts its segment; it is rebuilt when needed.
    Index,
    /// A table of records; it is rebuilt from the log.
    KeyRun,
    /// A table of records without rows for some of its records, which are hidden by that.
    IncompleteRun,
    /// A table of last versions is damaged or missing.
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

    /// Whether records, or last versions of removed records, are lost by this damage. All other
    /// damage is repaired by the next start, or when needed.
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
