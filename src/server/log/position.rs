//! Places in a log, as the wire has them and as the broker has them.

use crate::{
    broker::Error,
    proto::{self, Edge, position::At},
    types::{Offset, PartitionId, Position},
};

/// A position; absent, the earliest.
pub(super) fn position(position: Option<proto::Position>) -> Result<Position, Error> {
    Ok(match position.and_then(|position| position.at) {
        None => Position::Earliest,
        Some(At::Offset(offset)) => Position::Offset(Offset(offset)),
        Some(At::TimestampMs(timestamp)) => Position::Timestamp(timestamp),
        Some(At::Edge(number)) => match Edge::try_from(number) {
            Ok(Edge::Unspecified | Edge::Earliest) => Position::Earliest,
            Ok(Edge::Latest) => Position::Latest,
            Err(_) => {
                let reason =
                    format!("there is no edge {number}; send EDGE_EARLIEST or EDGE_LATEST");
                return Err(Error::MalformedRequest { reason });
            }
        },
    })
}

/// Partitions, each with its position if it has one of its own.
pub(super) fn partitions(
    partitions: Vec<proto::PartitionPosition>,
) -> Result<Vec<(PartitionId, Option<Position>)>, Error> {
    partitions
        .into_iter()
        .map(|partition| {
            let own = partition
                .position
                .map(|own| position(Some(own)))
                .transpose()?;
            Ok((PartitionId(partition.partition), own))
        })
        .collect()
}
