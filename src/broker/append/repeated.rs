//! A repeated append gets the same answer as the first one. It is recognized by its producer's
//! sequences, the last of which are remembered with their positions, or by its event ids.
//!
//! The first append may not be durable yet. So the answer waits until everything queued before is
//! durable, and then the caller that waits looks it up.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{Appended, AppendedRange, Checked, CheckedBatch, Planned, runs};
use crate::{
    broker::{
        Broker, Error, Expected, FailedCondition, Pending, Shared, keys::Rows,
        partitions::Partitions, state::PartitionRef,
    },
    storage::{format::frame::Frame, keys::hash::KeyHash, log::FoundRecord},
    types::{Offset, RecordView, Records, StoredBatch, TopicId, Version},
};

impl Broker {
    /// Answers an append whose batches its producer has sent before.
    pub(super) fn answer_again(&self, append: Checked) -> Result<Pending<Appended>, Error> {
        if let Some(producer) = append.producer {
            let mut planned = self.shared.sequencer.planned_now();
            let producers = planned.producers_mut();
            producers.apply_use(producer.id);
            if let Some(holder) = &append.holder {
                producers.hold(producer.id, holder.id());
            }
            drop(planned);
            let mut applied = self.shared.sequencer.applied_now();
            applied.producers.apply_use(producer.id);
        }
        let shared = Arc::clone(&self.shared);
        let nothing = || Ok(Appended::default());
        let queued = self.shared.sequencer.queue_barrier(nothing)?;
        Ok(queued.then(move |durable| durable.and_then(|_| shared.first_answer(&append))))
    }

    /// Refuses an append because some conditions do not hold, unless that is because the append is
    /// stored already.
    pub(super) fn answer_again_or_refuse(
        &self,
        append: Checked,
        failed: Vec<FailedCondition>,
    ) -> Result<Pending<Appended>, Error> {
        let refused = self
            .shared
            .sequencer
            .refuse_durably(Error::Conflict { failed })?;
        let Some(before) = versions_before(&append) else {
            return Ok(refused);
        };
        let shared = Arc::clone(&self.shared);
        Ok(refused.then(move |refusal| match refusal {
            Err(Error::Conflict { .. }) => {
                match shared.partitions.find_by_event_ids(&append, before) {
                    Ok(Some(first)) => Ok(first),
                    Ok(None) => refusal,
                    Err(error) => Err(error),
                }
            }
            other => other,
        }))
    }
}

/// The version of each record's entity before the append, if the append can be recognized by its
/// event ids: every record must have one, and its entity must have a condition that tells which
/// versions the records would get. Conditions on other entities do not matter to an append that is
/// stored already.
fn versions_before(append: &Checked) -> Option<BTreeMap<(TopicId, KeyHash), Version>> {
    if append.producer.is_some() {
        return None;
    }
    let mut before = BTreeMap::new();
    for checked in &append.conditions {
        let version = match &checked.condition.expected {
            Expected::KeyAbsent { .. } => Version::NONE,
            Expected::KeyAt { version, .. } => *version,
            _ => continue,
        };
        // Two keys with the same hash cannot be told apart here, so it counts as a conflict.
        if before
            .insert((checked.topic.id, checked.hash?), version)
            .is_some_and(|other| other != version)
        {
            return None;
        }
    }
    let mut written = BTreeMap::new();
    for batch in &append.batches {
        for record in &batch.plan {
            let (key, hash) = record.key?;
            let at = (batch.topic.id, hash);
            let view = RecordView::parse(record.encoded.in_bytes(&batch.records)).ok()?;
            let one_key = *written.entry(at).or_insert(key.in_bytes(&batch.records))
                == key.in_bytes(&batch.records);
            if view.event_id.is_empty() || !before.contains_key(&at) || !one_key {
                return None;
            }
        }
    }
    Some(before)
}

impl Shared {
    /// The first answer to these batches, as far as it is remembered.
    fn first_answer(&self, append: &Checked) -> Result<Appended, Error> {
        let mut batches = Vec::new();
        for batch in &append.batches {
            let (Some(producer), Some(sequence)) = (append.producer, batch.sequence) else {
                continue;
            };
            let partition = batch.topic.partition(batch.plan[0].partition)?;
            let place = (batch.topic.id, partition.partition().id);
            let stored = self.sequencer.applied().producers.stored(
                producer.id,
                producer.epoch,
                place,
                sequence,
            );
            let Some(stored) = stored else {
                batches.push(Vec::new());
                continue;
            };
            let versions = match append.return_versions {
                true => self.partitions.versions_of(&partition, &stored)?,
                false => Vec::new(),
            };
            batches.push(vec![AppendedRange {
                partition: partition.partition().id,
                first_offset: stored.base,
                count: stored.count,
                append_time_ms: stored.append_time_ms,
                versions,
            }]);
        }
        let forgotten = batches.iter().any(Vec::is_empty);
        Ok(Appended { batches, forgotten })
    }
}

impl Partitions {
    /// The versions of a batch's records; none where one of them is gone. Compaction may have put
    /// the records into frames with others.
    fn versions_of(
        &self,
        partition: &PartitionRef,
        stored: &StoredBatch,
    ) -> Result<Vec<Version>, Error> {
        let end = stored.base.plus(u64::from(stored.count));
        let mut versions = Vec::new();
        let mut at = stored.base;
        while at < end {
            let frame = self
                .reader(partition)
                .frame_at(at)
                .map_err(|error| self.explain(partition, error))?;
            let Some(frame) = frame else {
                return Ok(Vec::new());
            };
            versions.extend(versions_in(&frame, at..end));
            at = frame.header().end();
        }
        let all_are_there = versions.len() as u64 == u64::from(stored.count);
        Ok(if all_are_there { versions } else { Vec::new() })
    }

    /// Finds the records of an append, each by its key, expected version and event id.
    fn find_by_event_ids(
        &self,
        append: &Checked,
        mut before: BTreeMap<(TopicId, KeyHash), Version>,
    ) -> Result<Option<Appended>, Error> {
        let mut batches = Vec::new();
        for batch in &append.batches {
            let mut ranges = Vec::new();
            for run in runs(&batch.plan) {
                let partition = batch.topic.partition(run[0].partition)?;
                let mut range: Option<AppendedRange> = None;
                for record in run {
                    let Some((_, hash)) = record.key else {
                        return Ok(None);
                    };
                    let Some(version) = before.get_mut(&(batch.topic.id, hash)) else {
                        return Ok(None);
                    };
                    // No record can have a version behind the last possible one.
                    let Some(next) = version.0.checked_add(1) else {
                        return Ok(None);
                    };
                    *version = Version(next);
                    let found = self.find_by_event_id(&partition, batch, record, *version)?;
                    let Some(found) = found else { return Ok(None) };
                    if !extend(&mut range, &partition, &found, *version) {
                        return Ok(None);
                    }
                }
                ranges.extend(range);
            }
            batches.push(ranges);
        }
        if !append.return_versions {
            batches
                .iter_mut()
                .flatten()
                .for_each(|range: &mut AppendedRange| range.versions.clear());
        }
        let forgotten = false;
        Ok(Some(Appended { batches, forgotten }))
    }

    fn find_by_event_id(
        &self,
        partition: &PartitionRef,
        batch: &CheckedBatch,
        record: &Planned,
        version: Version,
    ) -> Result<Option<FoundRecord>, Error> {
        let Some((key, hash)) = record.key else {
            return Ok(None);
        };
        let key = key.in_bytes(&batch.records);
        let Ok(sent) = RecordView::parse(record.encoded.in_bytes(&batch.records)) else {
            return Ok(None);
        };
        let wanted = Rows {
            hash,
            key: Some(key),
            from: version,
            backward: false,
            most: 1,
            limit: Offset(u64::MAX),
        };
        for (found, offset) in self.rows_of(partition, &wanted)? {
            let record = self
                .reader(partition)
                .record_at(offset)
                .map_err(|error| self.explain(partition, error))?;
            let is_it = |record: &FoundRecord| {
                let view = record.view();
                view.key == Some(key)
                    && view.version == Some(version.0)
                    && is_same_event(&view, &sent)
            };
            if let Some(record) = record.filter(|record| found == version && is_it(record)) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// Whether a record that was sent is the one that is stored. The event id alone is not enough: it
/// could be given to another event by mistake, which nobody would notice if it were answered as
/// stored. The timestamp may differ, because a client may take a new one for each attempt.
fn is_same_event(stored: &RecordView<'_>, sent: &RecordView<'_>) -> bool {
    stored.event_id == sent.event_id
        && stored.value == sent.value
        && stored.event_type == sent.event_type
        && stored.headers().eq(sent.headers())
}

/// Adds a record to a range; returns false if the record does not continue the range.
fn extend(
    range: &mut Option<AppendedRange>,
    partition: &PartitionRef,
    found: &FoundRecord,
    version: Version,
) -> bool {
    let view = found.view();
    let (Some(offset), Some(append_time_ms)) = (view.offset.map(Offset), view.append_time_ms)
    else {
        return false;
    };
    let range = range.get_or_insert_with(|| AppendedRange {
        partition: partition.partition().id,
        first_offset: offset,
        count: 0,
        append_time_ms,
        versions: Vec::new(),
    });
    let goes_on = range.first_offset.plus(range.count.into()) == offset
        && range.append_time_ms == append_time_ms;
    range.count += 1;
    range.versions.push(version);
    goes_on
}

/// The version of each record of a frame that has one of these offsets.
fn versions_in(frame: &Frame, offsets: Range<Offset>) -> Vec<Version> {
    let mut versions = Vec::new();
    for record in Records::new(&frame.records()) {
        let Ok((_, encoded)) = record else { break };
        let Ok(record) = RecordView::parse(encoded) else {
            break;
        };
        if record
            .offset
            .is_some_and(|at| offsets.contains(&Offset(at)))
        {
            versions.push(record.version.map_or(Version::NONE, Version));
        }
    }
    versions
}
