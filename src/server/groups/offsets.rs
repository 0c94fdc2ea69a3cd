//! Converts offsets that clients commit.

use bytes::Bytes;

use crate::{
    broker::{Error, GroupOffset},
    catalog::groups::Generation,
    proto,
    server::log::position,
    types::{Offset, PartitionId},
};

/// What the numbers of an offset count as.
const NUMBERS_BYTES: usize = 32;

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

/// What offsets count as for the quota of appended bytes.
pub(super) fn bytes(offsets: &[proto::GroupOffset]) -> usize {
    let mut bytes = 0;
    for offset in offsets {
        bytes += NUMBERS_BYTES + offset.topic.len() + offset.metadata.len();
    }
    bytes
}
