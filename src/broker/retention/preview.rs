//! Previews what an alter or a trim would remove; nothing is changed.

use std::collections::BTreeMap;

use super::{Decision, decide, place_of};
use crate::{
    broker::{Broker, Error, Meant, Shared, state::PartitionRef},
    catalog::{Planned, Refusal},
    storage::log::Part,
    types::{GroupName, Offset, PartitionId, RetentionHold, TopicSettings},
};

/// What would be removed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) partition: PartitionId,
    /// Where its log would start.
    pub(crate) before: Offset,
    pub(crate) records: u64,
    /// The size of the segments that would be removed.
    pub(crate) bytes: u64,
    /// The groups that have not committed all of these records, with how many they have not.
    pub(crate) groups: Vec<(GroupName, u64)>,
}

impl Broker {
    /// What a change of settings would remove now, in each partition that would lose anything. May
    /// read files.
    pub(crate) fn preview_alter(
        &self,
        name: &str,
        set: &BTreeMap<String, String>,
        reset: &[String],
    ) -> Result<Vec<Removal>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(name)?;
        let settings = match shared
            .sequencer
            .planned()
            .decide_alter(topic.id, set, reset)
        {
            Ok(settings) => settings,
            Err(Refusal::Setting(error)) => return Err(error.into()),
            Err(_) => {
                return Err(Error::UnknownTopic {
                    topic: name.to_owned(),
                });
            }
        };
        let mut removals = Vec::new();
        for at in 0..topic.partitions.len() {
            let partition = PartitionRef {
                topic: topic.clone(),
                at,
            };
            let before = shared.would_go(&partition, &settings)?;
            let removal = before.map(|before| shared.removal(&partition, before));
            removals.extend(removal.filter(|removal| removal.records > 0 || removal.bytes > 0));
        }
        Ok(removals)
    }

    /// What a trim would remove, by force or not; refused as the trim would be.
    pub(crate) fn preview_trim(
        &self,
        topic: Meant<'_>,
        partition: PartitionId,
        before: Offset,
        by_force: bool,
    ) -> Result<Removal, Error> {
        let topic = self.shared.partitions.topics().find_meant(topic)?;
        let partition = topic.partition(partition)?;
        partition.check_end(before)?;
        if topic.settings().retention_hold == RetentionHold::Groups && !by_force {
            let planned = self.shared.sequencer.planned();
            if let Some(held) = held_before(&partition, before, &planned) {
                return Err(held);
            }
        }
        Ok(self.shared.removal(&partition, before))
    }
}

/// The error of a trim before this offset, if a group that keeps records has not committed them.
pub(in crate::broker) fn held_before(
    partition: &PartitionRef,
    before: Offset,
    planned: &Planned,
) -> Option<Error> {
    let place = place_of(partition);
    let holder = planned.groups().holder(place)?;
    (holder.from < before).then(|| Error::RetentionHeld {
        topic: partition.topic.name.to_string(),
        partition: place.1,
        group: holder.group.to_string(),
        from: holder.from,
    })
}

impl Shared {
    /// Where a partition would start under these settings, if anything would be removed.
    fn would_go(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
    ) -> Result<Option<Offset>, Error> {
        let reader = self.partitions.reader(partition);
        // What is too much but stays because it is the newest goes with the next append.
        let end = partition.range().1;
        let next = Part {
            base: end,
            end,
            bytes: 0,
            last_append_ms: Some(i64::MAX),
            is_sealed: true,
        };
        loop {
            let now_ms = self.clock.now_ms();
            let held_from = self.held_from(place_of(partition), settings);
            let decision = reader.with_parts(|parts, bytes| {
                // Retention would seal the other parts first.
                let parts = parts.map(|part| Part {
                    is_sealed: true,
                    ..part
                });
                let mut parts = parts.chain([next]);
                let held_from = held_from.as_ref().map(|held| held.from);
                decide(settings, &mut parts, bytes, held_from, now_ms)
            });
            match decision {
                Decision::Read(part) => self
                    .read_age(partition, &part, now_ms)
                    .map_err(|error| self.health.unavailable(&error))?,
                Decision::Seal { end, .. } => return Ok(Some(end)),
                Decision::Keep { before, .. } => return Ok(before),
            }
        }
    }

    /// How many records a partition has between two offsets. There are fewer than offsets where
    /// compaction or a trim of an entity has removed some.
    pub(super) fn records_between(
        &self,
        partition: &PartitionRef,
        from: Offset,
        to: Offset,
    ) -> u64 {
        let (reader, end) = (self.partitions.reader(partition), partition.range().1);
        let records_from = |from| reader.count(from, end).records;
        records_from(from).saturating_sub(records_from(to))
    }

    /// What a trim at this offset would remove.
    fn removal(&self, partition: &PartitionRef, before: Offset) -> Removal {
        let (start, end) = partition.range();
        let before = before.clamp(start, end);
        let bytes = self.partitions.reader(partition).with_parts(|parts, _| {
            let whole = parts.take_while(|part| part.end <= before);
            whole.map(|part| part.bytes).sum()
        });
        let readers = self
            .sequencer
            .planned()
            .groups()
            .readers(place_of(partition));
        let mut groups = Vec::new();
        for (group, next) in readers {
            let from = next.max(start);
            if from < before {
                groups.push((group, self.records_between(partition, from, before)));
            }
        }
        Removal {
            partition: partition.partition().id,
            before,
            records: self.records_between(partition, start, before),
            bytes,
            groups,
        }
    }
}
