//! What changes named state: the facts that a journal entry has beside the frames it carries. Their
//! bytes are in `storage/format/change.rs`.

use super::{AccessToken, Erasure, KeyTrim, Token, groups::GroupChange};
use crate::types::{
    GroupName, Offset, PartitionId, ProducerId, TopicId, TopicName, TopicSettings, Version,
};

/// A durable fact about topics, producers, entities and consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is a new topic.
    Create {
        topic: TopicId,
        seed: u64,
        name: TopicName,
        partitions: u32,
        settings: TopicSettings,
    },
    /// A topic and its records are gone.
    Delete { topic: TopicId },
    /// A topic has these settings now.
    Alter {
        topic: TopicId,
        settings: TopicSettings,
    },
    /// A partition's log starts here, if it did not start further on already.
    Trim {
        topic: TopicId,
        partition: PartitionId,
        before: Offset,
    },
    /// A producer has this epoch now; an earlier one appends no more.
    OpenProducer {
        producer: ProducerId,
        epoch: u32,
        name: String,
    },
    /// A producer is not known any more.
    ForgetProducer { producer: ProducerId },
    /// An entity's records are erased for every reader; their bytes are to be removed.
    Erase { topic: TopicId, erasure: Erasure },
    /// The bytes are removed.
    ErasureComplete { id: u64 },
    /// A topic has so many partitions now, if it did not have more already.
    AddPartitions { topic: TopicId, partitions: u32 },
    /// An entity's records below a version are gone for every reader.
    TrimKey { topic: TopicId, trim: KeyTrim },
    /// The bytes of records that trims of entities have taken are removed: of these keys, below
    /// these versions.
    KeysTrimmed {
        topic: TopicId,
        partition: PartitionId,
        trims: Vec<(Token, Version)>,
    },
    /// A consumer group has changed.
    Group {
        group: GroupName,
        change: GroupChange,
    },
    /// There is a new access token.
    CreateToken { token: AccessToken },
    /// An access token counts no more.
    RevokeToken { id: u64 },
}

impl Change {
    pub(crate) fn is_of_group(&self) -> bool {
        matches!(self, Self::Group { .. })
    }

    /// Whether all that changes by it is how far a group has come: nothing that anybody waits for.
    pub(crate) fn is_of_offsets(&self) -> bool {
        self.is_of_group() && !self.moves_partitions()
    }

    /// Whether members of a group come or go by it, or get or lose partitions.
    pub(crate) fn moves_partitions(&self) -> bool {
        let Self::Group { change, .. } = self else {
            return false;
        };
        !change.joined.is_empty() || !change.left.is_empty() || !change.owned.is_empty()
    }
}
