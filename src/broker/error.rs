//! What can go wrong with a request, and what the caller should do about it.

use crate::types::{MalformedRecord, Offset, PartitionId, SettingError, TopicNameError, limits};

/// Why a request was not carried out. The text names the thing and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error("there is no topic {topic:?}; create it first")]
    UnknownTopic { topic: String },
    #[error("topic {topic:?} has no partition {partition}; it has {partitions}, numbered from 0")]
    UnknownPartition { topic: String, partition: PartitionId, partitions: u32 },
    #[error("topic {topic:?} exists already")]
    TopicExists { topic: String },
    #[error("a topic cannot have {partitions} partitions; it has 1 to {}", limits::MAX_PARTITIONS_PER_TOPIC)]
    InvalidPartitionCount { partitions: u32 },
    #[error(
        "this broker has {existing} partitions and holds at most {}; {asked} more do not fit",
        limits::MAX_PARTITIONS
    )]
    TooManyPartitions { existing: usize, asked: u32 },
    #[error(transparent)]
    InvalidSetting(#[from] SettingError),
    #[error("the request is malformed: {reason}")]
    MalformedRequest { reason: String },
    #[error("record {index} for topic {topic:?} is malformed: {reason}")]
    MalformedRecord { topic: String, index: usize, reason: MalformedRecord },
    #[error(
        "record {index} for topic {topic:?} would take {bytes} bytes; the topic's max.record.bytes is {limit}: \
         send smaller records or raise it"
    )]
    RecordTooLarge { topic: String, index: usize, bytes: u64, limit: u64 },
    #[error("the append has no records; send at least one")]
    EmptyAppend,
    #[error("the append has {count} {what}, at most {limit} are allowed; split it")]
    RequestTooLarge { what: &'static str, count: usize, limit: usize },
    #[error(
        "offset {offset} is outside of partition {partition} of topic {topic:?}, which holds {earliest} up to \
         {high_watermark}; read from earliest or latest instead"
    )]
    OffsetOutOfRange {
        topic: String,
        partition: PartitionId,
        offset: Offset,
        // What the log holds.
        earliest: Offset,
        high_watermark: Offset,
    },
    #[error(
        "offsets {from} up to {to} of partition {partition} of topic {topic:?} are damaged on disk ({cause}); \
         what follows can be read from offset {to}"
    )]
    DamagedRecords { topic: String, partition: PartitionId, from: Offset, to: Offset, cause: String },
    #[error("the disk is full: free some space, trim or delete topics; the broker goes on by itself")]
    DiskFull,
    #[error("the broker has too much work waiting; try again in {retry_after_ms} ms")]
    Overloaded { retry_after_ms: u64 },
    #[error("the broker is shutting down; connect again when it is back")]
    ShuttingDown,
    #[error(
        "the broker's storage failed after the request had begun to be written: it is stored, or not; \
         read to find out, once the broker has been restarted"
    )]
    OutcomeUnknown,
}

/// What the caller of a refused request should do: the rule behind the gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Change the request.
    InvalidArgument,
    /// Name something that exists.
    NotFound,
    /// Use what is there, or another name.
    AlreadyExists,
    /// Read elsewhere.
    OutOfRange,
    /// Report the damage; read on behind it.
    DataLoss,
    /// Make the request smaller, or wait until there is room.
    ResourceExhausted,
    /// Try again later; nothing happened.
    Unavailable,
    /// Find out what happened.
    OutcomeUnknown,
}

impl Error {
    /// What the caller should do.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::InvalidTopicName(_)
            | Self::InvalidPartitionCount { .. }
            | Self::InvalidSetting(_)
            | Self::MalformedRequest { .. }
            | Self::MalformedRecord { .. }
            | Self::RecordTooLarge { .. }
            | Self::EmptyAppend => Kind::InvalidArgument,
            Self::UnknownTopic { .. } | Self::UnknownPartition { .. } => Kind::NotFound,
            Self::TopicExists { .. } => Kind::AlreadyExists,
            Self::OffsetOutOfRange { .. } => Kind::OutOfRange,
            Self::DamagedRecords { .. } => Kind::DataLoss,
            Self::TooManyPartitions { .. }
            | Self::RequestTooLarge { .. }
            | Self::DiskFull
            | Self::Overloaded { .. } => Kind::ResourceExhausted,
            Self::ShuttingDown => Kind::Unavailable,
            Self::OutcomeUnknown => Kind::OutcomeUnknown,
        }
    }

    /// The reason in `google.rpc.ErrorInfo`: stable, for programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::InvalidTopicName(_) => "INVALID_TOPIC_NAME",
            Self::UnknownTopic { .. } => "UNKNOWN_TOPIC",
            Self::UnknownPartition { .. } => "UNKNOWN_PARTITION",
            Self::TopicExists { .. } => "TOPIC_EXISTS",
            Self::InvalidPartitionCount { .. } => "INVALID_PARTITION_COUNT",
            Self::TooManyPartitions { .. } => "TOO_MANY_PARTITIONS",
            Self::InvalidSetting(_) => "INVALID_SETTING",
            Self::MalformedRequest { .. } => "MALFORMED_REQUEST",
            Self::MalformedRecord { .. } => "MALFORMED_RECORD",
            Self::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            Self::EmptyAppend => "EMPTY_APPEND",
            Self::RequestTooLarge { .. } => "REQUEST_TOO_LARGE",
            Self::OffsetOutOfRange { .. } => "OFFSET_OUT_OF_RANGE",
            Self::DamagedRecords { .. } => "DAMAGED_RECORDS",
            Self::DiskFull => "DISK_FULL",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
        }
    }
}
