//! `ListOffsets`.

use super::position::{partitions, position};
use crate::{
    broker::{Broker, Error, FoundOffset},
    proto::{ListOffsetsRequest, ListOffsetsResponse, PartitionOffset},
};

/// Finds offsets; may read files.
pub(super) fn find(
    broker: &Broker,
    request: ListOffsetsRequest,
) -> Result<ListOffsetsResponse, Error> {
    let at = position(request.position)?;
    let found = broker.list_offsets(&request.topic, at, &partitions(request.partitions)?)?;
    Ok(ListOffsetsResponse {
        offsets: found.iter().map(offset).collect(),
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
