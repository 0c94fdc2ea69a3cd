//! Refuses appends at `retention.bytes`, if nothing may be removed to make room.

use super::place_of;
use crate::{
    broker::{
        Error, Shared, lock,
        state::{Next, PartitionRef},
    },
    catalog::Planned,
    types::{LimitPolicy, RetentionHold},
};

impl Shared {
    /// Refuses an append of `more` bytes to a full partition, if the limit's policy is to refuse,
    /// or a group holds what would have to be removed. Queued appends count too. `planned` is the
    /// planned catalog, if the caller has its lock.
    pub(in crate::broker) fn check_limits(
        &self,
        partition: &PartitionRef,
        next: &Next,
        more: u64,
        planned: Option<&Planned>,
    ) -> Result<(), Error> {
        let settings = partition.topic.settings();
        let Some(limit) = settings.retention_bytes else {
            return Ok(());
        };
        let may_be_held =
            settings.retention_hold == RetentionHold::Groups && settings.is_retained();
        let discards = settings.limit_policy == LimitPolicy::Discard;
        if discards && !may_be_held {
            return Ok(());
        }
        if !discards && more > limit {
            return Err(Error::RequestTooLarge {
                what: "bytes for a partition with limit.policy=refuse and this retention.bytes",
                count: usize::try_from(more).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            });
        }
        let bytes = {
            let log = lock(&partition.partition().log);
            let under_way = next.appended_bytes.saturating_sub(log.appended_bytes());
            log.size().1 + under_way
        };
        if bytes.saturating_add(more) <= limit {
            return Ok(());
        }
        let place = place_of(partition);
        let holder = match planned {
            _ if !may_be_held => None,
            Some(planned) => planned.groups().holder(place),
            None => self.sequencer.planned().groups().holder(place),
        };
        // What the groups have read can go: retention removes it, or a trim could.
        let held = holder.filter(|holder| {
            let log = lock(&partition.partition().log);
            let left = bytes.saturating_sub(log.bytes_before(holder.from));
            holder.from < log.end() && left.saturating_add(more) > limit
        });
        let (topic, partition) = (partition.topic.name.to_string(), place.1);
        match held {
            Some(holder) => Err(Error::RetentionHeld {
                topic,
                partition,
                group: holder.group.to_string(),
                from: holder.from,
            }),
            None if discards => Ok(()),
            None => Err(Error::PartitionFull {
                topic,
                partition,
                bytes,
                limit,
            }),
        }
    }
}
