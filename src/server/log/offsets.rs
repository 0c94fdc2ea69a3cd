//! `ListOffsets`.

use super::position::{partitions, position, topic_id};
use crate::{
    broker::{Broker, Error, FoundOffset, Meant},
    proto::{ListOffsetsRequest, ListOffsetsResponse, PartitionOffset},
    server::turns::LongTurn,
};

/// Finds offsets; may read files.
pub(super) fn find(
    broker: &Broker,
    request: ListOffsetsRequest,
    turn: &mut LongTurn,
) -> Result<ListOffsetsResponse, Error> {
    let at = position(request.position)?;
    let topic = Meant {
        name: &request.topic,
        id: topic_id(&request.topic_id)?,
    };
    let (id, found) = broker.list_offsets(topic, at, &partitions(request.partitions)?)?;
    turn.count(found.len())?;
    Ok(ListOffsetsResponse {
        offsets: found.iter().map(offset).collect(),
        topic_id: id.to_string(),
    })
}

fn offset(found: &FoundOffset) -> PartitionOffset {
    PartitionOffset {
        partition: found.partition.0,
        offset: found.offset.0,
        earliest: found.earliest.0,
        high_watermark: found.high_watermark.0,
    }
}
