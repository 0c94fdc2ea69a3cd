//! What is left to read of a topic.

use std::{collections::BTreeMap, time::Duration};

use crate::cli::template::timestamp_ms;
use crate::{
    client::{Client, Read, ReadBatch},
    types::{Offset, PartitionId, Position, RecordView, TopicId},
};

/// The partitions to read, with the next position and the end of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) source: Source,
    partitions: BTreeMap<PartitionId, Left>,
    follow: bool,
    /// With `follow`: the partition ends at the first record with this timestamp or a later one.
    until_ms: BTreeMap<PartitionId, i64>,
    /// How many more records may be printed.
    max: Option<u64>,
}

/// The topic to read, and a filter for its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) topic: String,
    /// The topic's id, once it is known: a topic that was created again under the same name is
    /// another one.
    pub(super) topic_id: Option<TopicId>,
    /// Only records with one of these keys; all records if it is empty.
    pub(super) keys: Vec<Vec<u8>>,
    /// Only records of one of these types; all records if it is empty.
    pub(super) types: Vec<String>,
}

/// What is left to read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    next: Position,
    /// The end; `None` if new records are followed.
    end: Option<Offset>,
}

impl Source {
    /// Builds a read of the topic, without any partitions yet. It does not reconnect by itself: the
    /// command does, because it reads the token's file again.
    pub(super) fn read(&self, client: &Client) -> Read {
        let mut read = client.read(&self.topic).retry_for(Duration::ZERO);
        if let Some(id) = self.topic_id {
            read = read.topic_id(id);
        }
        for key in &self.keys {
            read = read.key(key);
        }
        for event_type in &self.types {
            read = read.event_type(event_type);
        }
        read
    }
}

impl Left {
    /// From a place to an end, in a partition with this high watermark. `latest` becomes an offset
    /// now, so that a later reconnection does not skip records.
    pub(super) fn new(from: Position, end: Option<Offset>, high_watermark: Offset) -> Self {
        let from = match from {
            Position::Latest => Position::Offset(high_watermark),
            from => from,
        };
        let next = match (from, end) {
            // Nothing lies between the two. An offset above the high watermark is kept, for the
            // broker to refuse.
            (Position::Offset(from), Some(end)) if end <= from && from <= high_watermark => {
                Position::Offset(end)
            }
            _ => from,
        };
        Self { next, end }
    }

    fn is_empty(self) -> bool {
        let Some(end) = self.end else {
            return false;
        };
        match self.next {
            Position::Offset(offset) => offset == end,
            Position::Latest => true,
            Position::Earliest | Position::Timestamp(_) => end == Offset::ZERO,
        }
    }
}

impl Plan {
    /// Reads these partitions.
    pub(super) fn of(
        source: Source,
        partitions: BTreeMap<PartitionId, Left>,
        follow: bool,
        max: Option<u64>,
    ) -> Self {
        Self {
            source,
            partitions,
            follow,
            until_ms: BTreeMap::new(),
            max,
        }
    }

    /// Ends each of these partitions at the first record with this timestamp or a later one.
    pub(super) fn until_ms(self, until_ms: BTreeMap<PartitionId, i64>) -> Self {
        Self { until_ms, ..self }
    }

    /// The read of what is left; `None` if nothing is left.
    pub(super) fn read(&self, client: &Client) -> Option<Read> {
        if self.is_complete() {
            return None;
        }
        let mut read = self.source.read(client).max_records(self.max.unwrap_or(0));
        for (partition, left) in &self.partitions {
            if !left.is_empty() {
                read = read.partition_from(*partition, left.next);
            }
        }
        Some(if self.follow { read.follow() } else { read })
    }

    /// Whether to print a record. A record with a late enough timestamp ends its partition.
    pub(super) fn is_wanted(&mut self, partition: PartitionId, record: &RecordView<'_>) -> bool {
        let offset = Offset(record.offset.unwrap_or_default());
        let Some(left) = self.partitions.get_mut(&partition) else {
            return false;
        };
        let until_ms = self.until_ms.get(&partition);
        let is_late = until_ms.is_some_and(|ms| timestamp_ms(record) >= *ms);
        if left.end.is_none() && is_late {
            left.end = Some(offset);
        }
        self.max != Some(0) && left.end.is_none_or(|end| offset < end)
    }

    /// Counts a printed record.
    pub(super) fn count_printed(&mut self) {
        if let Some(max) = &mut self.max {
            *max -= 1;
        }
    }

    /// Moves on behind a printed batch. Returns true if the partition has come to its end while the
    /// read would go on: it must be opened again without the partition.
    pub(super) fn advance(&mut self, batch: &ReadBatch) -> bool {
        self.go_on_at(batch.partition, batch.next_offset);
        let left = self.partitions.get(&batch.partition);
        let end = left.and_then(|left| left.end);
        end.is_some_and(|end| end <= batch.next_offset && end < batch.high_watermark)
    }

    /// Skips the records before this offset, which cannot be read.
    pub(super) fn pass_over(&mut self, partition: PartitionId, to: Offset) {
        self.go_on_at(partition, to);
    }

    fn go_on_at(&mut self, partition: PartitionId, offset: Offset) {
        if let Some(left) = self.partitions.get_mut(&partition) {
            let offset = left.end.map_or(offset, |end| offset.min(end));
            left.next = Position::Offset(offset);
        }
    }

    /// Whether nothing is left to read.
    pub(super) fn is_complete(&self) -> bool {
        self.max == Some(0) || self.partitions.values().all(|left| left.is_empty())
    }
}
