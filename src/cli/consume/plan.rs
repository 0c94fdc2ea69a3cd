//! What is left to read.

use std::{collections::BTreeMap, time::Duration};

use crate::cli::template::timestamp_ms;
use crate::{
    client::{Client, Read, ReadBatch},
    types::{Offset, PartitionId, Position, RecordView, TopicId},
};

/// The partitions to read, where each goes on and where it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) source: Source,
    partitions: BTreeMap<PartitionId, Left>,
    follow: bool,
    /// With `follow`: a record of this time or later ends its partition.
    until_ms: BTreeMap<PartitionId, i64>,
    /// How many more records to print.
    max: Option<u64>,
}

/// What is read: a topic, and which records of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) topic: String,
    /// Which topic of that name, once it is known: what is left to read is left of that one.
    pub(super) topic_id: Option<TopicId>,
    /// Empty: whatever their key.
    pub(super) keys: Vec<Vec<u8>>,
    /// Empty: whatever their type.
    pub(super) types: Vec<String>,
}

/// What is left of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    next: Position,
    /// Where it stops; none if it goes on with what is appended.
    end: Option<Offset>,
}

impl Source {
    /// A read of it, of no partition yet. It ends with its connection: the command makes another
    /// one itself, with the token that is in its file by then.
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
    /// From a place to an end of a partition whose high watermark is known. What is latest is
    /// settled now, so that connecting again does not skip what has been appended since.
    pub(super) fn new(from: Position, end: Option<Offset>, high_watermark: Offset) -> Self {
        let from = match from {
            Position::Latest => Position::Offset(high_watermark),
            from => from,
        };
        let next = match (from, end) {
            // There is nothing between the two. One above the high watermark is left for the broker
            // to refuse.
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

    /// These partitions end at a record of such a time.
    pub(super) fn until_ms(self, until_ms: BTreeMap<PartitionId, i64>) -> Self {
        Self { until_ms, ..self }
    }

    /// What to ask the broker for; none if there is nothing left.
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

    /// Whether a record is to be printed. One that is late enough ends its partition.
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

    /// A record was printed.
    pub(super) fn count_printed(&mut self) {
        if let Some(max) = &mut self.max {
            *max -= 1;
        }
    }

    /// A batch has been printed. True if its partition is at its end, and there would be more of
    /// it: the read is opened again, without it.
    pub(super) fn advance(&mut self, batch: &ReadBatch) -> bool {
        self.go_on_at(batch.partition, batch.next_offset);
        let left = self.partitions.get(&batch.partition);
        let end = left.and_then(|left| left.end);
        end.is_some_and(|end| end <= batch.next_offset && end < batch.high_watermark)
    }

    /// What lies before this offset cannot be read.
    pub(super) fn pass_over(&mut self, partition: PartitionId, to: Offset) {
        self.go_on_at(partition, to);
    }

    fn go_on_at(&mut self, partition: PartitionId, offset: Offset) {
        if let Some(left) = self.partitions.get_mut(&partition) {
            let offset = left.end.map_or(offset, |end| offset.min(end));
            left.next = Position::Offset(offset);
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_complete(&self) -> bool {
        self.max == Some(0) || self.partitions.values().all(|left| left.is_empty())
    }
}
