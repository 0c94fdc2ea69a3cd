//! Where server-sent events are resumed: the id of each event has the positions of all partitions
//! that are read.
//!
//! An id is the topic's id and the offset of the next record of each partition, as in
//! `00000000000000a7/0:17,3:5`. A browser that connects again sends the last id that it has
//! received (`Last-Event-ID`). If the topic was deleted and created again since, its id differs.

use std::collections::BTreeMap;

use super::{problem::Problem, query::malformed};
use crate::{
    proto::{ListOffsetsResponse, PartitionPosition, Position, position::At},
    server::limits::MAX_EVENT_PARTITIONS,
};

/// A partition, and the offset of the next record in it.
pub(super) type Place = (u32, u64);

/// Where a read goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) topic_id: String,
    places: BTreeMap<u32, u64>,
}

impl Places {
    /// Those that were looked up for a read that begins.
    pub(super) fn of(found: ListOffsetsResponse) -> Result<Self, Problem> {
        let count = found.offsets.len();
        if count > MAX_EVENT_PARTITIONS {
            return Err(malformed(format!(
                "an event's id has room for {MAX_EVENT_PARTITIONS} partitions, and these are \
                 {count}; choose some with partition="
            )));
        }
        let places = found.offsets.iter();
        Ok(Self {
            topic_id: found.topic_id,
            places: places
                .map(|found| (found.partition, found.offset))
                .collect(),
        })
    }

    /// Goes on where an id says, in those of its partitions that are read.
    pub(super) fn resume(&mut self, places: &[Place]) {
        for (partition, offset) in places {
            self.go_on_at(*partition, *offset);
        }
    }

    pub(super) fn go_on_at(&mut self, partition: u32, offset: u64) {
        if let Some(place) = self.places.get_mut(&partition) {
            *place = offset;
        }
    }

    /// The positions, for a read request.
    pub(super) fn positions(&self) -> Vec<PartitionPosition> {
        let places = self.places.iter();
        places
            .map(|(partition, offset)| position(*partition, *offset))
            .collect()
    }

    /// The line of an event with its id.
    pub(super) fn id_line(&self) -> String {
        let mut line = format!("id: {}/", self.topic_id);
        for (nth, (partition, offset)) in self.places.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            line.push_str(&format!("{comma}{partition}:{offset}"));
        }
        line.push('\n');
        line
    }
}

pub(super) fn position(partition: u32, offset: u64) -> PartitionPosition {
    PartitionPosition {
        partition,
        position: Some(Position {
            at: Some(At::Offset(offset)),
        }),
    }
}

/// Parses an id into the topic's id and the positions.
pub(super) fn parse_id(id: &str) -> Result<(String, Vec<Place>), Problem> {
    let parsed = id.split_once('/').and_then(|(topic_id, places)| {
        let places = parse_places(places)?;
        Some((topic_id.to_owned(), places))
    });
    parsed.ok_or_else(|| {
        malformed(format!(
            "Last-Event-ID {id:?} is no id of an event from here"
        ))
    })
}

/// Parses positions such as `0:17,3:5`.
pub(super) fn parse_places(text: &str) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    for place in text.split(',') {
        let (partition, offset) = place.split_once(':')?;
        places.push((partition.parse().ok()?, offset.parse().ok()?));
    }
    Some(places)
}
