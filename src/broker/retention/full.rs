//! Refuses appends at `retention.bytes`, if nothing may be removed to make room.

use super::place_of;
use crate::{
    broker::{
        Error, Shared, lock,
        state::{Next, PartitionRef},
    },
    types::LimitPolicy,
};

impl Shared {
    /// Refuses an append of `more` bytes to a full partition, if the limit's policy is to refuse,
    /// or a group holds what would have to be removed. Queued appends count too.
    pub(in crate::broker) fn check_limits(
        &self,
        partition: &PartitionRef,
        next: &Next,
        more: u64,
    ) -> Result<(), Error> {
        let settings = partition.topic.settings();
        let Some(limit) = settings.retention_bytes else {
            return Ok(());
        };
        let holder = self.partitions.retention.holder(place_of(partition));
        let held = holder.filter(|_| settings.is_retained());
        if held.is_none() && settings.limit_policy == LimitPolicy::Discard {
            return Ok(());
        }
        let bytes = {
            let log = lock(&partition.partition().log);
            let under_way = next.appended_bytes.saturating_sub(log.appended_bytes());
            log.size().1 + under_way
        };
        if bytes.saturating_add(more) <= limit {
            return Ok(());
        }
        let (topic, partition) = (partition.topic.name.to_string(), partition.partition().id);
        Err(match held {
            Some(holder) => Error::RetentionHeld {
                topic,
                partition,
                group: holder.group.to_string(),
                from: holder.from,
            },
            None => Error::PartitionFull {
                topic,
                partition,
                bytes,
                limit,
            },
        })
    }
}
