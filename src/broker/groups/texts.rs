//! The texts of errors about groups: which group, which partition, what is wrong, and what to do.

use std::fmt;

use crate::{
    catalog::groups::{Generation, Many, MemberId},
    types::{Offset, PartitionId},
};

/// An offset of a group that is outside its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupOffsetOutOfRange {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    /// The range of the log.
    pub(crate) earliest: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) asked: Asked,
}

/// What the offset was needed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A member is to continue there.
    #[default]
    GoOn,
    /// A reset is to set the group's offset to it.
    Set,
    /// An append commits it.
    Commit,
}

/// A commit in an append that is fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitFenced {
    pub(crate) group: String,
    /// The first such partition; `count` is how many there are.
    pub(crate) topic: String,
    pub(crate) partition: PartitionId,
    pub(crate) partitions: usize,
    /// The generation and member that the append names for it.
    pub(crate) generation: Generation,
    pub(crate) member: Option<MemberId>,
    /// The partition's present generation; `None` if nobody owns it.
    pub(crate) current: Option<Generation>,
}

impl fmt::Display for GroupOffsetOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            topic,
            partition,
            offset,
            earliest,
            high_watermark,
            asked,
        } = self;
        match asked {
            Asked::GoOn => write!(
                f,
                "group {group:?} is at offset {offset} of partition {partition} of topic {topic:?}, which holds {}: \
                 reset the group, or join with another `offset_gone`",
                held(*earliest, *high_watermark)
            ),
            Asked::Set => write!(
                f,
                "offset {offset} is outside of partition {partition} of topic {topic:?}, and nothing was set for group \
                 {group:?}: set it to {earliest} to {high_watermark}"
            ),
            Asked::Commit => write!(
                f,
                "nothing was appended: offset {offset} of partition {partition} of topic {topic:?} is above the end, \
                 which is {high_watermark}, and group {group:?} cannot have read so far; commit the offset behind what \
                 was read"
            ),
        }
    }
}

impl fmt::Display for CommitFenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            topic,
            partition,
            partitions,
            generation,
            ..
        } = self;
        write!(
            f,
            "nothing was appended: {partitions} of the offsets of group {group:?} do not count, first that of \
             partition {partition} of topic {topic:?} with generation {generation}, which {}; handle and commit only \
             what is assigned to the member now",
            self.standing(),
        )
    }
}

impl CommitFenced {
    /// What is wrong with the first partition.
    fn standing(&self) -> String {
        match (self.current, self.member) {
            (None, _) => "nobody has now".to_owned(),
            (Some(current), Some(member)) if current == self.generation => {
                format!("is not member {member}'s")
            }
            (Some(current), _) => format!("has generation {current} now"),
        }
    }
}

/// The offsets that a log has.
pub(crate) fn held(earliest: Offset, high_watermark: Offset) -> String {
    match earliest < high_watermark {
        true => format!("{earliest} to {}", high_watermark.0 - 1),
        false => format!("nothing, and whose next offset is {high_watermark}"),
    }
}

/// The text if a group has committed nothing by which an offset could be set.
pub(crate) fn nothing_committed(
    group: &str,
    topic: Option<&str>,
    partition: Option<PartitionId>,
) -> String {
    let place = match (topic, partition) {
        (Some(topic), Some(partition)) => format!("partition {partition} of topic {topic:?}"),
        (Some(topic), None) => format!("topic {topic:?}"),
        (None, _) => "any topic".to_owned(),
    };
    format!(
        "group {group:?} has committed nothing in {place}, and nothing was set: leave that out, or reset to a position"
    )
}

/// The text if there is too much of something.
pub(crate) fn too_many(group: &str, what: Many, count: usize, most: usize) -> String {
    let things = match what {
        Many::Members => {
            return format!(
                "group {group:?} would have {count} members, at most {most} are allowed"
            );
        }
        Many::Topics => {
            return format!(
                "a member of group {group:?} would take {count} topics and prefixes, at most \
                 {most} are allowed"
            );
        }
        Many::Groups => "groups",
        Many::Offsets => "committed offsets of all groups",
        Many::MetadataBytes => "bytes of metadata of all committed offsets",
        Many::Partitions => "partitions that members of all groups have",
        Many::Bytes => "bytes of memory for groups (half of memory.catalog_bytes)",
    };
    format!("with group {group:?} there would be {count} {things}, at most {most} are allowed")
}
