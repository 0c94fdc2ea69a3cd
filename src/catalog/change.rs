//! Changes of the catalog: durable facts, which a journal entry carries beside frames. Their
//! encoding is in `storage/format/change.rs`.

use super::{AccessToken, Erasure, KeyTrim, Token, groups::GroupChange};
use crate::types::{
    GroupName, Offset, PartitionId, ProducerId, TopicId, TopicName, TopicSettings, Version,
};

/// A durable fact about topics, producers, entities and consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new topic.
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
    /// A partition's log starts here, unless it starts later already.
    Trim {
        topic: TopicId,
        partition: PartitionId,
        before: Offset,
    },
    /// The log of a partition without records starts and ends here, unless it ends later already.
    StartAt {
        topic: TopicId,
        partition: PartitionId,
        offset: Offset,
    },
    /// A producer has this epoch; earlier epochs are fenced.
    OpenProducer {
        producer: ProducerId,
        epoch: u32,
        name: String,
    },
    /// A producer is forgotten.
    ForgetProducer { producer: ProducerId },
    /// An entity's records are erased for every reader; their bytes are still to be removed.
    Erase { topic: TopicId, erasure: Erasure },
    /// The bytes of an erasure are gone.
    ErasureComplete { id: u64 },
    /// A topic has this many partitions, unless it has more already.
    AddPartitions { topic: TopicId, partitions: u32 },
    /// An entity's records below a version are gone for every reader.
    TrimKey { topic: TopicId, trim: KeyTrim },
    /// The bytes of records that were trimmed by entity are gone: for each of these keys, the
    /// records below a version.
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
    /// A new access token.
    CreateToken { token: AccessToken },
    /// An access token is revoked.
    RevokeToken { id: u64 },
}

impl Change {
    pub(crate) fn is_of_group(&self) -> bool {
        matches!(self, Self::Group { .. })
    }

    /// Whether the change only moves committed offsets, which nobody waits for.
    pub(crate) fn is_of_offsets(&self) -> bool {
        self.is_of_group() && !self.moves_partitions()
    }

    /// Whether it makes members of a group join or leave, or changes the owner of partitions.
    pub(crate) fn moves_partitions(&self) -> bool {
        let Self::Group { change, .. } = self else {
            return false;
        };
        !change.joined.is_empty() || !change.left.is_empty() || !change.owned.is_empty()
    }
}
