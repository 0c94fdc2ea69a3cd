//! Finding offsets, and positions on the wire.

use super::{
    Client, Error,
    status::{AtStake, answer},
};
use crate::{
    proto,
    types::{Offset, PartitionId, Position, TopicId},
};

/// An offset found in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: PartitionId,
    /// The offset that was found, between `earliest` and `high_watermark`.
    pub offset: Offset,
    /// The first offset that has not been trimmed.
    pub earliest: Offset,
    /// The offset that the next record will get.
    pub high_watermark: Offset,
    /// The id of the topic that the offsets belong to, for
    /// [`Read::topic_id`](super::Read::topic_id); `None` if the broker did not send it.
    pub topic_id: Option<TopicId>,
}

impl Client {
    /// Finds the offset of a position in every partition of a topic, by partition number.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, or if the broker is not available.
    pub async fn list_offsets(
        &self,
        topic: &str,
        position: Position,
    ) -> Result<Vec<PartitionOffset>, Error> {
        let request = proto::ListOffsetsRequest {
            topic: topic.to_owned(),
            position: Some(to_wire(position)),
            partitions: Vec::new(),
            topic_id: String::new(),
        };
        let mut log = self.log.clone();
        let response = answer(
            self.request_timeout,
            AtStake::Nothing,
            log.list_offsets(request),
        )
        .await?;
        let topic_id = TopicId::parse(&response.topic_id);
        let found = response.offsets.into_iter().map(|found| PartitionOffset {
            partition: PartitionId(found.partition),
            offset: Offset(found.offset),
            earliest: Offset(found.earliest),
            high_watermark: Offset(found.high_watermark),
            topic_id,
        });
        Ok(found.collect())
    }
}

pub(super) fn to_wire(position: Position) -> proto::Position {
    use proto::position::At;
    let at = match position {
        Position::Earliest => At::Edge(proto::Edge::Earliest.into()),
        Position::Latest => At::Edge(proto::Edge::Latest.into()),
        Position::Offset(offset) => At::Offset(offset.0),
        Position::Timestamp(timestamp) => At::TimestampMs(timestamp),
    };
    proto::Position { at: Some(at) }
}
