//! The values in an error's text, by name, for programs. The names are part of the API.

use super::MAX_NEXT_OFFSETS_BYTES;
use crate::{
    broker::{CommitFenced, Error, GroupOffsetOutOfRange, ImportRefused, Shortage},
    catalog::groups::MemberId,
    types::{Offset, PartitionId, SettingError, limits},
};

/// The values in the text of an error.
pub(super) fn of(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::InvalidTopicName(_)
        | Error::UnknownTopic { .. }
        | Error::TopicRecreated { .. }
        | Error::TopicExists { .. }
        | Error::PlainTopic { .. }
        | Error::VersionedTopic { .. }
        | Error::NotCompacted { .. }
        | Error::InvalidPartitionCount { .. }
        | Error::FewerPartitions { .. }
        | Error::TooManyPartitions { .. }
        | Error::DeletedPartitionsRemain { .. }
        | Error::InvalidSetting(_) => of_topics(error),
        Error::UnknownPartition { .. }
        | Error::MalformedRecord { .. }
        | Error::RecordTooLarge { .. }
        | Error::RecordExceedsResponse { .. }
        | Error::WrongPartition { .. }
        | Error::KeyRequired { .. }
        | Error::PartitionFull { .. }
        | Error::RetentionHeld { .. }
        | Error::DamagedRecords { .. } => of_records(error),
        Error::OffsetOutOfRange { .. } | Error::ShiftOutOfRange { .. } => of_places(error),
        Error::GroupOffsetOutOfRange(out) => of_group_offset(out),
        Error::VersionOutOfRange {
            topic,
            before,
            latest,
        } => vec![
            ("topic", topic.clone()),
            ("before", before.to_string()),
            ("latest", latest.to_string()),
        ],
        Error::MemberFenced { group }
        | Error::SessionEnded { group }
        | Error::UnknownGroup { group }
        | Error::GroupExists { group }
        | Error::GroupKind { group, .. } => vec![("group", group.clone())],
        Error::UnknownMember { group, member } => of_member(group, *member),
        Error::GroupHasMembers { group, members } => {
            vec![("group", group.clone()), ("members", members.to_string())]
        }
        Error::TooManyForGroups { .. }
        | Error::TooManyProducers(_)
        | Error::TooManyErasures
        | Error::TooManyKeyTrims
        | Error::TooManyTokens
        | Error::RequestTooLarge { .. } => of_counts(error),
        Error::CommitFenced(fenced) => of_fenced(fenced),
        Error::Import(refused) => of_import(refused),
        Error::NothingCommitted {
            group,
            topic,
            partition,
        } => {
            let mut pairs = vec![("group", group.clone())];
            pairs.extend(topic.clone().map(|topic| ("topic", topic)));
            pairs.extend(partition.map(|partition| ("partition", partition.to_string())));
            pairs
        }
        Error::NoOffset {
            group,
            topic,
            partition,
        } => vec![
            ("group", group.clone()),
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
        ],
        Error::InvalidGroupName(error) => {
            let mut metadata = vec![("group", error.name.clone())];
            metadata.extend(error.letter.clone().map(|letter| ("character", letter)));
            metadata.extend(too_long(error.bytes, limits::MAX_GROUP_NAME_BYTES));
            metadata
        }
        Error::UnknownProducer { .. } | Error::Fenced { .. } | Error::OutOfSequence { .. } => {
            of_producers(error)
        }
        Error::MalformedCondition { index, .. } => vec![("index", index.to_string())],
        Error::Conflict { failed } => vec![("failed", failed.len().to_string())],
        Error::DiskFull(shortage) => disk_full(*shortage),
        Error::NoProducerNamed { name } => vec![("name", name.clone())],
        Error::ReadStalled { next_offsets: next } => vec![("next_offsets", next_offsets(next))],
        Error::UnknownToken { token } => vec![("token", token.clone())],
        Error::UnknownErasure { id } => vec![("erasure", format!("{id:016x}"))],
        Error::MalformedRequest { .. }
        | Error::Backup(_)
        | Error::EmptyAppend
        | Error::Overloaded { .. }
        | Error::StorageUnavailable { .. }
        | Error::ShuttingDown
        | Error::OutcomeUnknown => Vec::new(),
    }
}

/// Metadata of an error that there are too many of something.
fn of_counts(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::TooManyForGroups {
            group, count, most, ..
        } => {
            let mut pairs = vec![("group", group.clone())];
            pairs.extend(count_and_limit(*count, *most));
            pairs
        }
        Error::RequestTooLarge { what, count, limit } => {
            let mut pairs = vec![("what", (*what).to_owned())];
            pairs.extend(count_and_limit(*count, *limit));
            pairs
        }
        Error::TooManyProducers(excess) => count_and_limit(excess.count, excess.most).into(),
        Error::TooManyErasures => one_more_than(limits::MAX_ERASURES),
        Error::TooManyKeyTrims => one_more_than(limits::MAX_KEY_TRIMS),
        Error::TooManyTokens => one_more_than(limits::MAX_ACCESS_TOKENS),
        _ => Vec::new(),
    }
}

/// The size of a name, and how large it may be, if it is too long.
fn too_long(bytes: usize, limit: usize) -> Vec<(&'static str, String)> {
    match bytes > limit {
        true => vec![("bytes", bytes.to_string()), ("limit", limit.to_string())],
        false => Vec::new(),
    }
}

/// How many there are or would be, and how many there may be.
pub(super) fn count_and_limit(count: usize, limit: usize) -> [(&'static str, String); 2] {
    [("count", count.to_string()), ("limit", limit.to_string())]
}

/// The count and the limit where there are as many as there may be, and one more is asked for.
fn one_more_than(limit: usize) -> Vec<(&'static str, String)> {
    count_and_limit(limit + 1, limit).into()
}

/// Partitions with offsets, such as `0:17,3:5`; as many as there is room for.
fn next_offsets(next: &[(PartitionId, Offset)]) -> String {
    let mut text = String::new();
    for (partition, offset) in next {
        let one = format!("{partition}:{offset}");
        if text.len() + 1 + one.len() > MAX_NEXT_OFFSETS_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&one);
    }
    text
}

/// The values of errors about topics and settings.
fn of_topics(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::InvalidTopicName(error) => {
            let mut pairs = vec![("topic", error.name.clone())];
            pairs.extend(too_long(error.bytes, limits::MAX_TOPIC_NAME_BYTES));
            pairs
        }
        Error::UnknownTopic { topic }
        | Error::TopicExists { topic }
        | Error::VersionedTopic { topic }
        | Error::NotCompacted { topic }
        | Error::PlainTopic { topic } => vec![("topic", topic.clone())],
        Error::TopicRecreated {
            topic,
            expected,
            actual,
        } => vec![
            ("topic", topic.clone()),
            ("expected_id", expected.to_string()),
            ("actual_id", actual.to_string()),
        ],
        Error::InvalidPartitionCount { partitions } => vec![
            ("partitions", partitions.to_string()),
            ("limit", limits::MAX_PARTITIONS_PER_TOPIC.to_string()),
        ],
        Error::FewerPartitions {
            topic,
            partitions,
            existing,
        } => vec![
            ("topic", topic.clone()),
            ("partitions", partitions.to_string()),
            ("existing", existing.to_string()),
        ],
        Error::TooManyPartitions {
            existing,
            asked,
            most,
        } => {
            let count = existing.saturating_add(usize::try_from(*asked).unwrap_or(usize::MAX));
            let mut pairs = vec![
                ("existing", existing.to_string()),
                ("asked", asked.to_string()),
            ];
            pairs.extend(count_and_limit(count, *most));
            pairs
        }
        Error::DeletedPartitionsRemain { remaining, asked } => vec![
            ("remaining", remaining.to_string()),
            ("asked", asked.to_string()),
        ],
        Error::InvalidSetting(error) => vec![("setting", setting(error).to_owned())],
        _ => Vec::new(),
    }
}

fn of_group_offset(out: &GroupOffsetOutOfRange) -> Vec<(&'static str, String)> {
    vec![
        ("group", out.group.clone()),
        ("topic", out.topic.clone()),
        ("partition", out.partition.to_string()),
        ("offset", out.offset.to_string()),
        ("earliest", out.earliest.to_string()),
        ("high_watermark", out.high_watermark.to_string()),
    ]
}

fn of_fenced(fenced: &CommitFenced) -> Vec<(&'static str, String)> {
    vec![
        ("group", fenced.group.clone()),
        ("topic", fenced.topic.clone()),
        ("partition", fenced.partition.to_string()),
        ("partitions", fenced.partitions.to_string()),
        ("generation", fenced.current.unwrap_or_default().to_string()),
    ]
}

fn of_import(refused: &ImportRefused) -> Vec<(&'static str, String)> {
    match refused {
        ImportRefused::NotEmpty { topic }
        | ImportRefused::UnderWay { topic }
        | ImportRefused::Importing { topic }
        | ImportRefused::Ended { topic } => vec![("topic", topic.clone())],
        ImportRefused::Other {
            topic, partition, ..
        }
        | ImportRefused::Partition {
            topic, partition, ..
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
        ],
        ImportRefused::Record {
            topic,
            partition,
            number,
            ..
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("number", number.to_string()),
        ],
    }
}

fn of_places(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::OffsetOutOfRange {
            topic,
            partition,
            offset,
            earliest,
            high_watermark,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("earliest", earliest.to_string()),
            ("high_watermark", high_watermark.to_string()),
        ],
        Error::ShiftOutOfRange {
            topic,
            partition,
            by,
            from,
            earliest,
            high_watermark,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("shift", by.to_string()),
            ("committed", from.to_string()),
            ("earliest", earliest.to_string()),
            ("high_watermark", high_watermark.to_string()),
        ],
        _ => Vec::new(),
    }
}

/// The values of errors about records of a partition.
fn of_records(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::UnknownPartition {
            topic,
            partition,
            partitions,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("partitions", partitions.to_string()),
        ],
        Error::MalformedRecord {
            topic,
            index,
            reason,
        } => {
            let mut pairs = vec![("topic", topic.clone()), ("index", index.to_string())];
            if let Some((size, limit)) = reason.size() {
                pairs.push(("bytes", size.to_string()));
                pairs.push(("limit", limit.to_string()));
            }
            pairs
        }
        Error::KeyRequired { topic, index } => {
            vec![("topic", topic.clone()), ("index", index.to_string())]
        }
        Error::RecordTooLarge {
            topic,
            index,
            bytes,
            limit,
        } => vec![
            ("topic", topic.clone()),
            ("index", index.to_string()),
            ("bytes", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::RecordExceedsResponse {
            topic,
            partition,
            offset,
            bytes,
            limit,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("size", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::WrongPartition {
            topic,
            index,
            partition,
            belongs,
        } => vec![
            ("topic", topic.clone()),
            ("index", index.to_string()),
            ("partition", partition.to_string()),
            ("belongs", belongs.to_string()),
        ],
        Error::PartitionFull {
            topic,
            partition,
            bytes,
            limit,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("bytes", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::RetentionHeld {
            topic,
            partition,
            group,
            from,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("group", group.clone()),
            ("from_offset", from.to_string()),
        ],
        Error::DamagedRecords {
            topic,
            partition,
            from,
            to,
            ..
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("from_offset", from.to_string()),
            ("to_offset", to.to_string()),
        ],
        _ => Vec::new(),
    }
}

/// The values of errors about producers.
fn of_producers(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::UnknownProducer { id } => vec![("producer", id.to_string())],
        Error::Fenced { id, epoch, current } => vec![
            ("producer", id.to_string()),
            ("epoch", epoch.to_string()),
            ("current", current.to_string()),
        ],
        Error::OutOfSequence {
            id,
            topic,
            partition,
            sequence,
            expected,
        } => vec![
            ("producer", id.to_string()),
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("sequence", sequence.to_string()),
            ("expected", expected.to_string()),
        ],
        _ => Vec::new(),
    }
}

fn of_member(group: &str, member: MemberId) -> Vec<(&'static str, String)> {
    vec![
        ("group", group.to_owned()),
        ("member", format!("{:016x}", member.0)),
    ]
}

fn disk_full(shortage: Shortage) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("needed", shortage.needed.to_string()),
        ("disk.reserve_bytes", shortage.reserve.to_string()),
    ];
    if let Some(free) = shortage.free {
        pairs.push(("free", free.to_string()));
    }
    pairs
}

fn setting(error: &SettingError) -> &str {
    match error {
        SettingError::Unknown { name } => name,
        SettingError::NotAWord { name, .. }
        | SettingError::NotAQuantity { name, .. }
        | SettingError::Fixed { name }
        | SettingError::Together { name, .. }
        | SettingError::OutOfBounds { name, .. } => name,
    }
}
