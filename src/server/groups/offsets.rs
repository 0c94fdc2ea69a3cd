//! Converts offsets that clients commit.

use bytes::Bytes;

use crate::{
    broker::{Error, GroupOffset},
    catalog::groups::Generation,
    proto,
    server::log::position,
    types::{Offset, PartitionId},
};

/// Offsets of one commit.
pub(in crate::server) fn group_offsets(
    offsets: Vec<proto::GroupOffset>,
) -> Result<Vec<GroupOffset>, Error> {
    offsets.into_iter().map(group_offset).collect()
}

fn group_offset(offset: proto::GroupOffset) -> Result<GroupOffset, Error> {
    Ok(GroupOffset {
        topic_id: position::topic_id(&offset.topic_id)?,
        topic: offset.topic,
        partition: PartitionId(offset.partition),
        next_offset: Offset(offset.next_offset),
        // Copied, because it is kept for much longer than the request.
        metadata: Bytes::copy_from_slice(&offset.metadata),
        generation: match offset.generation {
            0 => None,
            generation => Some(Generation(generation)),
        },
        member: None,
    })
}
