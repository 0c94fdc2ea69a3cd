//! What is left to read.

use std::collections::BTreeMap;

use crate::{
    client::{Client, Read, ReadBatch},
    types::{Offset, PartitionId, Position, TopicId},
};

/// The partitions to read, where each goes on and where it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    topic: String,
    /// Which topic of that name, once it is known: what is left to read is left of that one.
    topic_id: Option<TopicId>,
    partitions: BTreeMap<PartitionId, Left>,
    follow: bool,
    /// How many more records to print.
    max: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    next: Position,
    /// The high watermark when the command started.
    end: Offset,
}

impl Left {
    fn is_empty(self) -> bool {
        match self.next {
            Position::Offset(offset) => offset == self.end,
            Position::Latest => true,
            Position::Earliest | Position::Timestamp(_) => self.end == Offset::ZERO,
        }
    }
}

impl Plan {
    /// Reads these partitions, which end there now.
    pub(super) fn of(
        topic: &str,
        ends: impl Iterator<Item = (PartitionId, Offset)>,
        from: Position,
        follow: bool,
        max: Option<u64>,
    ) -> Self {
        // What is latest is settled now, so that connecting again does not skip what has been
        // appended since.
        let next = |end| {
            if from == Position::Latest {
                Position::Offset(end)
            } else {
                from
            }
        };
        let partitions = ends
            .map(|(partition, end)| {
                (
                    partition,
                    Left {
                        next: next(end),
                        end,
                    },
                )
            })
            .collect();
        Self {
            topic: topic.to_owned(),
            topic_id: None,
            partitions,
            follow,
            max,
        }
    }

    /// Reads no other topic of that name.
    pub(super) fn of_topic_id(self, topic_id: Option<TopicId>) -> Self {
        Self { topic_id, ..self }
    }

    /// What to ask the broker for; none if there is nothing left.
    pub(super) fn read(&self, client: &Client) -> Option<Read> {
        if self.is_complete() {
            return None;
        }
        let mut read = client.read(&self.topic).max_records(self.max.unwrap_or(0));
        if let Some(id) = self.topic_id {
            read = read.topic_id(id);
        }
        for (partition, left) in &self.partitions {
            if self.follow || !left.is_empty() {
                read = read.partition_from(*partition, left.next);
            }
        }
        Some(if self.follow { read.follow() } else { read })
    }

    /// Whether the record at this offset is to be printed.
    pub(super) fn is_wanted(&self, partition: PartitionId, offset: u64) -> bool {
        let is_past_end = self
            .partitions
            .get(&partition)
            .is_none_or(|left| offset >= left.end.0);
        self.max != Some(0) && (self.follow || !is_past_end)
    }

    /// A record was printed.
    pub(super) fn count_printed(&mut self) {
        if let Some(max) = &mut self.max {
            *max -= 1;
        }
    }

    /// A batch has been printed.
    pub(super) fn advance(&mut self, batch: &ReadBatch) {
        self.go_on_at(batch.partition, batch.next_offset);
    }

    /// What lies before this offset cannot be read.
    pub(super) fn pass_over(&mut self, partition: PartitionId, to: Offset) {
        self.go_on_at(partition, to);
    }

    fn go_on_at(&mut self, partition: PartitionId, offset: Offset) {
        if let Some(left) = self.partitions.get_mut(&partition) {
            let offset = if self.follow {
                offset
            } else {
                offset.min(left.end)
            };
            left.next = Position::Offset(offset);
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_complete(&self) -> bool {
        self.max == Some(0)
            || (!self.follow && self.partitions.values().all(|left| left.is_empty()))
    }
}
