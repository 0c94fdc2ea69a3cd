//! What can go wrong with a request, and what the caller should do about it.

mod texts;

use texts::{conflict, distance, kind_of_group, too_many_producers, version_out_of_range};

use super::{
    BackupRefused, FailedCondition, ImportRefused, Shortage,
    groups::{CommitFenced, GroupOffsetOutOfRange, held, nothing_committed, too_many},
};
use crate::{
    catalog::{
        groups::{Many, MemberId},
        producers::Excess,
    },
    types::{
        GroupNameError, MalformedRecord, Offset, PartitionId, ProducerId, SettingError, TopicId,
        TopicNameError, Version, limits,
    },
};

/// Why a request was not carried out. The text names what is wrong and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error("there is no topic {topic:?}; create it first")]
    UnknownTopic { topic: String },
    #[error("topic {topic:?} has no partition {partition}; it has {partitions}, numbered from 0")]
    UnknownPartition {
        topic: String,
        partition: PartitionId,
        partitions: u32,
    },
    #[error(
        "topic {topic:?} has been deleted and created anew: the request means the one with id {expected}, it has \
         {actual} now; its offsets and versions are others, so begin anew with it"
    )]
    TopicRecreated {
        topic: String,
        expected: TopicId,
        actual: TopicId,
    },
    #[error("topic {topic:?} exists already")]
    TopicExists { topic: String },
    #[error(
        "a topic cannot have {partitions} partitions; it has 1 to {}",
        limits::MAX_PARTITIONS_PER_TOPIC
    )]
    InvalidPartitionCount { partitions: u32 },
    #[error(
        "topic {topic:?} has {existing} partitions and cannot have {partitions}: a topic never has fewer than before"
    )]
    FewerPartitions {
        topic: String,
        partitions: u32,
        existing: u32,
    },
    #[error(
        "this broker has {existing} partitions and holds at most {most}; {asked} more do not fit"
    )]
    TooManyPartitions {
        existing: usize,
        asked: u32,
        most: usize,
    },
    #[error(
        "{remaining} partitions of deleted topics are being removed, and leave no room for {asked} more until they are \
         gone; try again in {} ms",
        limits::PARTITIONS_RETRY_MS
    )]
    DeletedPartitionsRemain { remaining: usize, asked: u32 },
    #[error(transparent)]
    InvalidSetting(#[from] SettingError),
    #[error("the request is malformed: {reason}")]
    MalformedRequest { reason: String },
    #[error("record {index} for topic {topic:?} is malformed: {reason}")]
    MalformedRecord {
        topic: String,
        index: usize,
        reason: MalformedRecord,
    },
    #[error(
        "record {index} for topic {topic:?} would take {bytes} bytes; the topic's max.record.bytes is {limit}: \
         send smaller records or raise it"
    )]
    RecordTooLarge {
        topic: String,
        index: usize,
        bytes: u64,
        limit: u64,
    },
    #[error(
        "the record at offset {offset} of partition {partition} of topic {topic:?} takes a response of {bytes} bytes, \
         and the client takes {limit} at most: ask for more (max_response_bytes), and let the client take it"
    )]
    RecordExceedsResponse {
        topic: String,
        partition: PartitionId,
        offset: Offset,
        bytes: usize,
        limit: usize,
    },
    #[error(
        "partition {partition} of topic {topic:?} has {bytes} bytes of {limit} (retention.bytes), and nothing goes to \
         make room for more (limit.policy=refuse): trim it, or raise the limit"
    )]
    PartitionFull {
        topic: String,
        partition: PartitionId,
        bytes: u64,
        limit: u64,
    },
    #[error(
        "{} has still to read partition {partition} of topic {topic:?} from offset {from} on \
         (retention.hold=groups): let it go on, reset or delete it, or trim with force",
        shown_group(.group)
    )]
    RetentionHeld {
        topic: String,
        partition: PartitionId,
        /// Empty where it is not shown to the caller.
        group: String,
        from: Offset,
    },
    #[error(
        "record {index} for topic {topic:?} has a key that belongs in partition {belongs}, not {partition}; leave the \
         partition out, or name that one"
    )]
    WrongPartition {
        topic: String,
        index: usize,
        partition: PartitionId,
        belongs: PartitionId,
    },
    #[error(
        "record {index} for topic {topic:?} has no key; the topic keeps the last records of each key \
         (cleanup.policy): give every record one"
    )]
    KeyRequired { topic: String, index: usize },
    #[error("topic {topic:?} is not compacted; set its cleanup.policy to compact first")]
    NotCompacted { topic: String },
    #[error("topic {topic:?} has keys=plain, and so no entities; use a topic with keys=versioned")]
    PlainTopic { topic: String },
    #[error(
        "the keys of topic {topic:?} have versions, and belong in the partitions they are in (keys=versioned): it \
         keeps as many as it has"
    )]
    VersionedTopic { topic: String },
    #[error("condition {index} is malformed: {reason}")]
    MalformedCondition { index: usize, reason: &'static str },
    #[error("{}", conflict(failed))]
    Conflict { failed: Vec<FailedCondition> },
    #[error(
        "this broker does not know producer {id}: it was never opened here, or is forgotten; open one"
    )]
    UnknownProducer { id: ProducerId },
    #[error(
        "producer {id} has been opened again and has epoch {current} now; epoch {epoch} may append no more"
    )]
    Fenced {
        id: ProducerId,
        epoch: u32,
        current: u32,
    },
    #[error(
        "batch {sequence} of producer {id} for partition {partition} of topic {topic:?} comes where {expected} should; \
         send what is missing first"
    )]
    OutOfSequence {
        id: ProducerId,
        topic: String,
        partition: PartitionId,
        sequence: u64,
        expected: u64,
    },
    #[error("there is no producer that is called {name:?}")]
    NoProducerNamed { name: String },
    #[error("{}", too_many_producers(*.0))]
    TooManyProducers(Excess),
    #[error(
        "{} erasures are waiting for their bytes to be removed, as many as may be; try again when some are complete",
        limits::MAX_ERASURES
    )]
    TooManyErasures,
    #[error(
        "{} trims of entities are waiting for their bytes to be removed, as many as may be; try again when some are \
         complete",
        limits::MAX_KEY_TRIMS
    )]
    TooManyKeyTrims,
    #[error(
        "{}",
        version_out_of_range(topic, *before, *latest)
    )]
    VersionOutOfRange {
        topic: String,
        before: Version,
        latest: Version,
    },
    #[error("there is no erasure {id:016x}, or it was complete so long ago that it is forgotten")]
    UnknownErasure { id: u64 },
    #[error(
        "another stream has joined group {group:?} as this member, or it was removed: this one is over; do not join \
         again by yourself"
    )]
    MemberFenced { group: String },
    #[error(
        "the member is not in group {group:?} any more: it was not heard of for its session's time; join again"
    )]
    SessionEnded { group: String },
    #[error(
        "group {group:?} has committed nothing for partition {partition} of topic {topic:?}, and the member is not to \
         begin by itself: reset the group, or join with another `no_offset`"
    )]
    NoOffset {
        group: String,
        topic: String,
        partition: PartitionId,
    },
    #[error(transparent)]
    InvalidGroupName(#[from] GroupNameError),
    #[error("there is no group {group:?}")]
    UnknownGroup { group: String },
    #[error(
        "group {group:?} has no member with the id {:016x}: it has left, or another client has joined with its name; \
         `describe` says who is in the group",
        member.0
    )]
    UnknownMember { group: String, member: MemberId },
    #[error("group {group:?} exists already")]
    GroupExists { group: String },
    #[error(
        "group {group:?} has {}, and would not know of it; stop what reads first",
        match *members { 1 => "a member".to_owned(), members => format!("{members} members") }
    )]
    GroupHasMembers { group: String, members: usize },
    #[error("{}", kind_of_group(group, *is_ephemeral))]
    GroupKind { group: String, is_ephemeral: bool },
    #[error("{}", too_many(group, *what, *count, *most))]
    TooManyForGroups {
        group: String,
        what: Many,
        count: usize,
        most: usize,
    },
    #[error("{}", nothing_committed(group, topic.as_deref(), *partition))]
    NothingCommitted {
        group: String,
        // `None`: in any topic.
        topic: Option<String>,
        // `None`: in the whole topic.
        partition: Option<PartitionId>,
    },
    #[error("{0}")]
    GroupOffsetOutOfRange(GroupOffsetOutOfRange),
    #[error("{0}")]
    CommitFenced(CommitFenced),
    #[error("the append has no records; send at least one")]
    EmptyAppend,
    #[error("the request has {count} {what}, at most {limit} are allowed; split it")]
    RequestTooLarge {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    #[error(
        "offset {offset} is outside of partition {partition} of topic {topic:?}, which holds {}; read from earliest or \
         latest instead",
        held(*earliest, *high_watermark)
    )]
    OffsetOutOfRange {
        topic: String,
        partition: PartitionId,
        offset: Offset,
        // The range of the log.
        earliest: Offset,
        high_watermark: Offset,
    },
    #[error(
        "{by} records from offset {from} of partition {partition} of topic {topic:?}, which is committed, is not in \
         its log, which holds {}: shift by {} to {}",
        held(*earliest, *high_watermark),
        distance(*from, *earliest),
        distance(*from, *high_watermark)
    )]
    ShiftOutOfRange {
        topic: String,
        partition: PartitionId,
        by: i64,
        // The committed offset.
        from: Offset,
        // The range of the log.
        earliest: Offset,
        high_watermark: Offset,
    },
    #[error(
        "offsets {from} to {} of partition {partition} of topic {topic:?} are damaged on disk ({cause}); what follows \
         can be read from offset {to}",
        to.0.saturating_sub(1)
    )]
    DamagedRecords {
        topic: String,
        partition: PartitionId,
        from: Offset,
        to: Offset,
        cause: String,
    },
    #[error(
        "the disk is full: {0}; free some space, trim or delete topics, or lower disk.reserve_bytes; the broker goes \
         on by itself"
    )]
    DiskFull(Shortage),
    #[error(
        "there are {} access tokens that have not expired, as many as may be; revoke some",
        limits::MAX_ACCESS_TOKENS
    )]
    TooManyTokens,
    #[error(transparent)]
    Backup(#[from] BackupRefused),
    #[error(transparent)]
    Import(#[from] ImportRefused),
    #[error("there is no access token {token:?}")]
    UnknownToken { token: String },
    #[error("the broker has too much work waiting; try again in {retry_after_ms} ms")]
    Overloaded { retry_after_ms: u64 },
    #[error(
        "the broker's storage cannot be read at the moment ({cause}); nothing was done and nothing is lost: \
         try again in {} ms",
        limits::STORAGE_RETRY_MS
    )]
    StorageUnavailable { cause: String },
    #[error(
        "the read was ended because its client had not taken what it was sent, and others needed the room or it has \
         changed: read on from next_offsets"
    )]
    ReadStalled {
        /// Where to continue reading each partition.
        next_offsets: Vec<(PartitionId, Offset)>,
    },
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
    /// Look at the present state, and decide again.
    Conflict,
    /// Bring about something else first.
    FailedPrecondition,
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
            | Self::FewerPartitions { .. }
            | Self::InvalidSetting(_)
            | Self::MalformedRequest { .. }
            | Self::MalformedRecord { .. }
            | Self::RecordTooLarge { .. }
            | Self::WrongPartition { .. }
            | Self::KeyRequired { .. }
            | Self::PlainTopic { .. }
            | Self::VersionedTopic { .. }
            | Self::MalformedCondition { .. }
            | Self::InvalidGroupName(_)
            | Self::EmptyAppend => Kind::InvalidArgument,
            Self::UnknownTopic { .. }
            | Self::UnknownPartition { .. }
            | Self::UnknownProducer { .. }
            | Self::NoProducerNamed { .. }
            | Self::UnknownGroup { .. }
            | Self::UnknownMember { .. }
            | Self::UnknownToken { .. }
            | Self::UnknownErasure { .. } => Kind::NotFound,
            Self::Conflict { .. } => Kind::Conflict,
            Self::MemberFenced { .. }
            | Self::GroupHasMembers { .. }
            | Self::GroupKind { .. }
            | Self::CommitFenced(_)
            | Self::NotCompacted { .. }
            | Self::RecordExceedsResponse { .. }
            | Self::TopicRecreated { .. }
            | Self::Fenced { .. }
            | Self::OutOfSequence { .. } => Kind::FailedPrecondition,
            Self::TopicExists { .. } | Self::GroupExists { .. } => Kind::AlreadyExists,
            Self::OffsetOutOfRange { .. }
            | Self::ShiftOutOfRange { .. }
            | Self::GroupOffsetOutOfRange(_)
            | Self::NothingCommitted { .. }
            | Self::VersionOutOfRange { .. }
            | Self::NoOffset { .. } => Kind::OutOfRange,
            Self::DamagedRecords { .. } => Kind::DataLoss,
            Self::TooManyPartitions { .. }
            | Self::DeletedPartitionsRemain { .. }
            | Self::TooManyProducers(_)
            | Self::TooManyErasures
            | Self::TooManyKeyTrims
            | Self::TooManyTokens
            | Self::TooManyForGroups { .. }
            | Self::RequestTooLarge { .. }
            | Self::DiskFull(_)
            | Self::PartitionFull { .. }
            | Self::RetentionHeld { .. }
            | Self::Overloaded { .. } => Kind::ResourceExhausted,
            Self::SessionEnded { .. }
            | Self::StorageUnavailable { .. }
            | Self::ReadStalled { .. }
            | Self::ShuttingDown => Kind::Unavailable,
            Self::Backup(refused) => refused.kind(),
            Self::Import(refused) => refused.kind(),
            Self::OutcomeUnknown => Kind::OutcomeUnknown,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::DiskFull(_)
            | Self::PartitionFull { .. }
            | Self::RetentionHeld { .. }
            | Self::DeletedPartitionsRemain { .. }
            | Self::Overloaded { .. } => true,
            _ => matches!(self.kind(), Kind::Unavailable | Kind::OutcomeUnknown),
        }
    }

    /// All reasons for which a request can be refused; these include those of appends.
    pub(crate) const REASONS: [&str; 53] = [
        "COMMIT_FENCED",
        "CONFLICT",
        "DAMAGED_RECORDS",
        "DISK_FULL",
        "EMPTY_APPEND",
        "FENCED",
        "GROUPS_FULL",
        "GROUP_EXISTS",
        "GROUP_HAS_MEMBERS",
        "GROUP_KIND",
        "INVALID_GROUP_NAME",
        "INVALID_PARTITION_COUNT",
        "INVALID_SETTING",
        "INVALID_TOPIC_NAME",
        "KEY_REQUIRED",
        "MALFORMED_CONDITION",
        "MALFORMED_RECORD",
        "MALFORMED_REQUEST",
        "NOT_COMPACTED",
        "NO_OFFSET",
        "OFFSET_OUT_OF_RANGE",
        "OUTCOME_UNKNOWN",
        "OUT_OF_SEQUENCE",
        "OVERLOADED",
        "PARTITION_FULL",
        "PLAIN_TOPIC",
        "READ_STALLED",
        "RECORD_TOO_LARGE",
        "REQUEST_TOO_LARGE",
        "RETENTION_HELD",
        "SESSION_ENDED",
        "SHUTTING_DOWN",
        "STORAGE_UNAVAILABLE",
        "TOO_MANY_ERASURES",
        "TOO_MANY_GROUPS",
        "TOO_MANY_KEY_TRIMS",
        "TOO_MANY_MEMBERS",
        "TOO_MANY_OFFSETS",
        "TOO_MANY_PARTITIONS",
        "TOO_MANY_PRODUCERS",
        "TOO_MANY_TOPICS",
        "TOPIC_EXISTS",
        "TOPIC_IMPORTING",
        "TOPIC_RECREATED",
        "UNKNOWN_ERASURE",
        "UNKNOWN_GROUP",
        "UNKNOWN_MEMBER",
        "UNKNOWN_PARTITION",
        "UNKNOWN_PRODUCER",
        "UNKNOWN_TOPIC",
        "VERSIONED_TOPIC",
        "VERSION_OUT_OF_RANGE",
        "WRONG_PARTITION",
    ];

    /// The reason in `google.rpc.ErrorInfo`: stable, for programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::InvalidTopicName(_) => "INVALID_TOPIC_NAME",
            Self::UnknownTopic { .. } => "UNKNOWN_TOPIC",
            Self::UnknownPartition { .. } => "UNKNOWN_PARTITION",
            Self::TopicRecreated { .. } => "TOPIC_RECREATED",
            Self::TopicExists { .. } => "TOPIC_EXISTS",
            Self::InvalidPartitionCount { .. } | Self::FewerPartitions { .. } => {
                "INVALID_PARTITION_COUNT"
            }
            Self::TooManyPartitions { .. } => "TOO_MANY_PARTITIONS",
            Self::InvalidSetting(_) => "INVALID_SETTING",
            Self::MalformedRequest { .. } => "MALFORMED_REQUEST",
            Self::MalformedRecord { .. } => "MALFORMED_RECORD",
            Self::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            Self::RecordExceedsResponse { .. } => "RECORD_EXCEEDS_RESPONSE",
            Self::WrongPartition { .. } => "WRONG_PARTITION",
            Self::KeyRequired { .. } => "KEY_REQUIRED",
            Self::NotCompacted { .. } => "NOT_COMPACTED",
            Self::PlainTopic { .. } => "PLAIN_TOPIC",
            Self::VersionedTopic { .. } => "VERSIONED_TOPIC",
            Self::MalformedCondition { .. } => "MALFORMED_CONDITION",
            Self::Conflict { .. } => "CONFLICT",
            Self::UnknownProducer { .. } | Self::NoProducerNamed { .. } => "UNKNOWN_PRODUCER",
            Self::Fenced { .. } => "FENCED",
            Self::OutOfSequence { .. } => "OUT_OF_SEQUENCE",
            Self::TooManyProducers(_) => "TOO_MANY_PRODUCERS",
            Self::TooManyErasures => "TOO_MANY_ERASURES",
            Self::TooManyKeyTrims => "TOO_MANY_KEY_TRIMS",
            Self::TooManyTokens => "TOO_MANY_TOKENS",
            Self::Backup(refused) => refused.reason(),
            Self::Import(refused) => refused.reason(),
            Self::UnknownToken { .. } => "UNKNOWN_TOKEN",
            Self::VersionOutOfRange { .. } => "VERSION_OUT_OF_RANGE",
            Self::UnknownErasure { .. } => "UNKNOWN_ERASURE",
            Self::MemberFenced { .. } => "FENCED",
            Self::SessionEnded { .. } => "SESSION_ENDED",
            Self::NoOffset { .. } | Self::NothingCommitted { .. } => "NO_OFFSET",
            Self::InvalidGroupName(_) => "INVALID_GROUP_NAME",
            Self::UnknownGroup { .. } => "UNKNOWN_GROUP",
            Self::UnknownMember { .. } => "UNKNOWN_MEMBER",
            Self::GroupExists { .. } => "GROUP_EXISTS",
            Self::GroupHasMembers { .. } => "GROUP_HAS_MEMBERS",
            Self::GroupKind { .. } => "GROUP_KIND",
            Self::CommitFenced(_) => "COMMIT_FENCED",
            Self::TooManyForGroups { what, .. } => match what {
                Many::Groups => "TOO_MANY_GROUPS",
                Many::Members => "TOO_MANY_MEMBERS",
                Many::Topics => "TOO_MANY_TOPICS",
                Many::Offsets | Many::MetadataBytes => "TOO_MANY_OFFSETS",
                Many::Partitions => "TOO_MANY_PARTITIONS",
                Many::Bytes => "GROUPS_FULL",
            },
            Self::EmptyAppend => "EMPTY_APPEND",
            Self::RequestTooLarge { .. } => "REQUEST_TOO_LARGE",
            Self::OffsetOutOfRange { .. }
            | Self::GroupOffsetOutOfRange(_)
            | Self::ShiftOutOfRange { .. } => "OFFSET_OUT_OF_RANGE",
            Self::DamagedRecords { .. } => "DAMAGED_RECORDS",
            Self::DiskFull(_) => "DISK_FULL",
            Self::PartitionFull { .. } => "PARTITION_FULL",
            Self::RetentionHeld { .. } => "RETENTION_HELD",
            Self::Overloaded { .. } | Self::DeletedPartitionsRemain { .. } => "OVERLOADED",
            Self::StorageUnavailable { .. } => "STORAGE_UNAVAILABLE",
            Self::ReadStalled { .. } => "READ_STALLED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
        }
    }
}

fn shown_group(group: &str) -> String {
    match group.is_empty() {
        true => "a group that you may not see".to_owned(),
        false => format!("group {group:?}"),
    }
}
