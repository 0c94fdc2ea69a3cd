//! Finding offsets.

use super::{
    Broker, Error, Meant,
    partitions::Partitions,
    state::{PartitionRef, Topic},
};
use crate::types::{Offset, PartitionId, Position, TopicId};

use std::sync::Arc;

/// An offset in a partition, and the partition's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundOffset {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) earliest: Offset,
    pub(crate) high_watermark: Offset,
}

impl Broker {
    /// Finds the offset of a position in these partitions, or in all if none are given. Finding a
    /// time reads files. The offsets belong to the topic that is returned with them.
    pub(crate) fn list_offsets<'a>(
        &self,
        topic: impl Into<Meant<'a>>,
        position: Position,
        partitions: &[(PartitionId, Option<Position>)],
    ) -> Result<(TopicId, Vec<FoundOffset>), Error> {
        let topic = self.shared.partitions.topics().find_meant(topic.into())?;
        let positions = positions(&topic, position, partitions)?;
        let found = positions
            .into_iter()
            .map(|(partition, position)| self.shared.partitions.find_offset(&partition, position))
            .collect();
        Ok((topic.id, topic.unless_deleted(found)?))
    }
}

/// The partitions that a request names, each with its position.
pub(super) fn positions(
    topic: &Arc<Topic>,
    position: Position,
    partitions: &[(PartitionId, Option<Position>)],
) -> Result<Vec<(PartitionRef, Position)>, Error> {
    if partitions.is_empty() {
        return (0..topic.partition_count())
            .map(|id| Ok((topic.partition(PartitionId(id))?, position)))
            .collect();
    }
    let mut seen: Vec<PartitionId> = partitions.iter().map(|(id, _)| *id).collect();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::MalformedRequest {
            reason: format!("partition {} is named twice", twice[0]),
        });
    }
    partitions
        .iter()
        .map(|(id, own)| Ok((topic.partition(*id)?, own.unwrap_or(position))))
        .collect()
}

impl Partitions {
    /// The offset of a position, which must be within the log.
    pub(super) fn find_offset(
        &self,
        at: &PartitionRef,
        position: Position,
    ) -> Result<FoundOffset, Error> {
        let partition = at.partition();
        let (earliest, high_watermark) = at.range();
        let topic = || at.topic.name.to_string();
        let offset = match position {
            Position::Earliest => earliest,
            Position::Latest => high_watermark,
            Position::Offset(offset) if (earliest..=high_watermark).contains(&offset) => offset,
            Position::Offset(offset) => {
                let partition = partition.id;
                return Err(Error::OffsetOutOfRange {
                    topic: topic(),
                    partition,
                    offset,
                    earliest,
                    high_watermark,
                });
            }
            Position::Timestamp(timestamp_ms) => {
                let found = self.reader(at).find_time(timestamp_ms);
                found.map_err(|error| self.explain_at(at, earliest, error))?
            }
        };
        Ok(FoundOffset {
            partition: partition.id,
            offset,
            earliest,
            high_watermark,
        })
    }
}
