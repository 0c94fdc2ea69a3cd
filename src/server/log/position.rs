//! Converts positions in a log.

use crate::{
    broker::Error,
    proto::{self, Edge, position::At},
    types::{Offset, PartitionId, Position, TopicId},
};

/// The id of the topic that a request means, if it gives one.
pub(in crate::server) fn topic_id(text: &str) -> Result<Option<TopicId>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = TopicId::parse(text).ok_or_else(|| Error::MalformedRequest {
        reason: format!("{text:?} is not a topic's id, which has 16 hexadecimal digits"),
    })?;
    Ok(Some(id))
}

/// Converts a position; an absent one is the earliest.
pub(in crate::server) fn position(position: Option<proto::Position>) -> Result<Position, Error> {
    let Some(position) = position else {
        return Ok(Position::Earliest);
    };
    let reason = match position.at {
        Some(At::Offset(offset)) => return Ok(Position::Offset(Offset(offset))),
        Some(At::TimestampMs(timestamp)) => return Ok(Position::Timestamp(timestamp)),
        Some(At::Edge(number)) => match Edge::try_from(number) {
            Ok(Edge::Unspecified | Edge::Earliest) => return Ok(Position::Earliest),
            Ok(Edge::Latest) => return Ok(Position::Latest),
            Err(_) => format!("there is no edge {number}; send EDGE_EARLIEST or EDGE_LATEST"),
        },
        // Some clients send this instead of a value that they cannot encode, such as a wrong name
        // of an edge.
        None => "a position says nothing; set its `offset`, `edge` or `timestamp_ms`, or leave the position out"
            .to_owned(),
    };
    Err(Error::MalformedRequest { reason })
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
