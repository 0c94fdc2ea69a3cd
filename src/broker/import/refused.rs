//! Why an import, or a record of it, is refused.

use crate::{
    broker::{Kind, state::Topic},
    types::{Offset, PartitionId},
};

/// Why an import, or a record of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImportRefused {
    #[error(
        "topic {topic:?} has records, or had some: an import takes a topic that never had one; create another"
    )]
    NotEmpty { topic: String },
    #[error("another import into topic {topic:?} is under way; wait for its end")]
    UnderWay { topic: String },
    #[error(
        "an import into topic {topic:?} has not come to its end (appends=import), and nobody else appends meanwhile: \
         finish it with `taffrail import`, or delete the topic, or take it as it is with \
         `taffrail topic alter {topic} --reset appends`"
    )]
    Importing { topic: String },
    #[error(
        "topic {topic:?} is not being imported any more: its setting appends was reset meanwhile"
    )]
    Ended { topic: String },
    #[error(
        "partition {partition} of topic {topic:?} was begun with another export: it starts at offset {has}, and this \
         one at {asked}; delete the topic and import again"
    )]
    Other {
        topic: String,
        partition: PartitionId,
        has: Offset,
        asked: Offset,
    },
    #[error("partition {partition} of topic {topic:?} cannot be imported: {problem}")]
    Partition {
        topic: String,
        partition: PartitionId,
        problem: String,
    },
    #[error(
        "record {number}, for partition {partition} of topic {topic:?}, cannot be imported: {problem}"
    )]
    Record {
        topic: String,
        partition: PartitionId,
        // The client's number for the record.
        number: u64,
        problem: String,
    },
}

impl ImportRefused {
    pub(super) fn partition(topic: &Topic, partition: PartitionId, problem: String) -> Self {
        Self::Partition {
            topic: topic.name.to_string(),
            partition,
            problem,
        }
    }

    /// What the caller should do.
    pub(in crate::broker) fn kind(&self) -> Kind {
        match self {
            Self::Partition { .. } | Self::Record { .. } => Kind::InvalidArgument,
            _ => Kind::FailedPrecondition,
        }
    }

    /// The reason in `google.rpc.ErrorInfo`.
    pub(in crate::broker) fn reason(&self) -> &'static str {
        match self {
            Self::NotEmpty { .. } => "TOPIC_NOT_EMPTY",
            Self::UnderWay { .. } => "IMPORT_UNDER_WAY",
            Self::Importing { .. } => "TOPIC_IMPORTING",
            Self::Ended { .. } => "IMPORT_ENDED",
            Self::Other { .. } => "IMPORT_OF_OTHER",
            Self::Partition { .. } | Self::Record { .. } => "IMPORT_MALFORMED",
        }
    }
}
