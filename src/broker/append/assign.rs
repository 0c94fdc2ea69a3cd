//! Orders an append, under the locks of every partition that it writes to or has a condition on.
//!
//! First everything is looked up and compared, which changes nothing visible. Then, when nothing
//! can fail any more, offsets, versions and sequences are assigned and the frames are queued. The
//! comparison includes facts that may not be durable yet; an answer that depends on them waits
//! until they are.

use std::sync::{Arc, RwLockReadGuard};

use super::{
    Appended, AppendedRange, Attempt, Checked, CheckedBatch, Files, Rest,
    frame::{self, Assigned},
    runs,
};
use crate::{
    broker::{
        Actual, Admission, Broker, Error, Expected, FailedCondition, ImportRefused, Pending,
        Shared,
        commit::Commit,
        keys::{Looked, Wanted},
        lock,
        pending::pending,
        state::{Next, PartitionRef},
    },
    catalog::{
        Change, Planned,
        producers::{Decision, Producers},
    },
    env::{Ordered, OrderedGuard},
    storage::{
        format::{
            entry::{self, Item},
            frame::{Batch, Frame},
        },
        keys::table::EntryId,
    },
    types::{AppendsFrom, Durability, Offset, PartitionId, TopicId, Version},
};

/// The partitions of an append, in the order in which all appends lock them.
struct Place {
    partitions: Vec<PartitionRef>,
}

/// The result of comparing an append with what is stored.
enum Compared {
    /// The append may happen; these are the table entries of all its keys.
    New(Vec<EntryId>),
    /// The producer's batches are stored already.
    Repeated,
    /// Some conditions do not hold.
    Conflict(Vec<FailedCondition>),
    /// The append is refused, because of something that may not be durable yet.
    Refused(Error),
    /// Files must be read first for the keys with these indexes.
    Unknown(Vec<usize>),
}

impl Broker {
    /// Assigns offsets, versions and sequences, and queues the frames; or leaves the append for
    /// later, if files must be read.
    pub(super) fn assign(
        &self,
        append: Checked,
        admission: Admission,
        files: Files,
    ) -> Result<Attempt, Error> {
        let shared = &self.shared;
        let place = Place::of(&append)?;
        let open = match hold_open(&place.partitions) {
            Ok(open) => open,
            Err(closing) => {
                return shared
                    .sequencer
                    .refuse_durably(closing)
                    .map(Attempt::Queued);
            }
        };
        let wanted = place.wanted(&append);
        let mut looked = Looked::default();
        let mut has_made_room = false;
        loop {
            let mut next = place.lock();
            let needs_planned = append.producer.is_some() || !append.commits.is_empty();
            let mut planned = needs_planned.then(|| shared.sequencer.planned_now());
            let producers = planned.as_deref().map(|planned| &planned.producers);
            let compared = place.compare(&append, &wanted, &mut next, producers, &looked);
            next.iter_mut()
                .for_each(|next| next.keys.count_memory(&shared.partitions.key_memory));
            match compared {
                Compared::New(entries) => {
                    if let Err(full) =
                        place.check_limits(shared, &append, &next, planned.as_deref())
                    {
                        return shared.sequencer.refuse_durably(full).map(Attempt::Queued);
                    }
                    let changes = match shared.decide_group_offsets(&append, planned.as_deref()) {
                        Ok(changes) => changes,
                        Err(error) => {
                            return shared.sequencer.refuse_durably(error).map(Attempt::Queued);
                        }
                    };
                    let queued = place.take(
                        shared,
                        &append,
                        (&entries, changes),
                        &mut next,
                        planned.as_deref_mut(),
                        admission,
                    );
                    next.iter_mut()
                        .for_each(|next| next.keys.count_memory(&shared.partitions.key_memory));
                    return queued.map(Attempt::Queued);
                }
                Compared::Unknown(_) if files == Files::Leave => {
                    drop((next, planned, wanted, open));
                    return Ok(Attempt::left(Rest::Checked(append), admission));
                }
                Compared::Unknown(unknown) => {
                    drop((next, planned));
                    looked.look_up(&shared.partitions, &place.partitions, &wanted, &unknown)?;
                }
                Compared::Repeated => {
                    drop((next, planned, wanted, open));
                    return self.answer_again(append).map(Attempt::Queued);
                }
                Compared::Conflict(failed) => {
                    drop((next, planned, wanted, open));
                    return self
                        .answer_again_or_refuse(append, failed)
                        .map(Attempt::Queued);
                }
                Compared::Refused(error @ Error::TooManyProducers(_)) if !has_made_room => {
                    has_made_room = shared.make_room_for(&append, planned.as_deref_mut())?;
                    if !has_made_room {
                        return shared.sequencer.refuse_durably(error).map(Attempt::Queued);
                    }
                }
                Compared::Refused(error) => {
                    return shared.sequencer.refuse_durably(error).map(Attempt::Queued);
                }
            }
        }
    }
}

impl Place {
    fn of(append: &Checked) -> Result<Self, Error> {
        let mut partitions = Vec::new();
        for batch in &append.batches {
            for run in runs(&batch.plan) {
                partitions.push(batch.topic.partition(run[0].partition)?);
            }
        }
        for condition in &append.conditions {
            partitions.push(condition.topic.partition(condition.partition)?);
        }
        partitions.sort_by_key(key);
        partitions.dedup_by_key(|partition| key(partition));
        Ok(Self { partitions })
    }

    /// The index of a partition in the list.
    fn at(&self, topic: TopicId, partition: PartitionId) -> usize {
        self.partitions
            .binary_search_by_key(&(topic, partition), key)
            .expect("all of the append were collected")
    }

    /// The keys whose versions are needed: those of all records, by batch and plan, then those of
    /// all conditions.
    fn wanted<'a>(&self, append: &'a Checked) -> Vec<Wanted<'a>> {
        let mut wanted = Vec::new();
        for batch in &append.batches {
            for run in runs(&batch.plan) {
                let at = self.at(batch.topic.id, run[0].partition);
                let keyed = run.iter().filter_map(|record| record.key);
                wanted.extend(keyed.map(|(key, hash)| Wanted {
                    at,
                    hash,
                    key: key.in_bytes(&batch.records),
                }));
            }
        }
        for condition in &append.conditions {
            let at = self.at(condition.topic.id, condition.partition);
            let key = condition.condition.expected.key();
            wanted.extend(
                key.zip(condition.hash)
                    .map(|(key, hash)| Wanted { at, hash, key }),
            );
        }
        wanted
    }

    fn lock(&self) -> Vec<OrderedGuard<'_, Next>> {
        self.partitions
            .iter()
            .map(|partition| lock(&partition.partition().next))
            .collect()
    }

    /// Compares the append with what is stored and under way. Adds what it finds out about keys to
    /// the key tables, which is right whether or not the append happens.
    fn compare(
        &self,
        append: &Checked,
        wanted: &[Wanted<'_>],
        next: &mut [OrderedGuard<'_, Next>],
        producers: Option<&Producers>,
        looked: &Looked,
    ) -> Compared {
        if let Some(producers) = producers {
            match decide(append, producers) {
                Ok(Decision::New) => {}
                Ok(Decision::Duplicate) => return Compared::Repeated,
                Err(error) => return Compared::Refused(error),
            }
        }
        let entries = match looked.entries(&self.partitions, wanted, next) {
            Ok(entries) => entries,
            Err(unknown) => return Compared::Unknown(unknown),
        };
        let failed = self.failed(append, wanted.len(), &entries, next);
        if failed.is_empty() {
            Compared::New(entries)
        } else {
            Compared::Conflict(failed)
        }
    }

    /// The conditions that do not hold.
    fn failed(
        &self,
        append: &Checked,
        wanted: usize,
        entries: &[EntryId],
        next: &[OrderedGuard<'_, Next>],
    ) -> Vec<FailedCondition> {
        let about_keys = append
            .conditions
            .iter()
            .filter(|condition| condition.hash.is_some())
            .count();
        let mut keys = entries[wanted - about_keys..].iter();
        let mut failed = Vec::new();
        for (index, checked) in append.conditions.iter().enumerate() {
            let at = &next[self.at(checked.topic.id, checked.partition)];
            let actual = match checked.hash {
                Some(_) => {
                    let entry = keys.next().expect("every key of a condition was wanted");
                    Actual::Version(at.keys.table.version(*entry))
                }
                None => Actual::NextOffset(at.offset),
            };
            if !checked.condition.expected.holds(actual) {
                failed.push(FailedCondition {
                    index,
                    condition: checked.condition.told(),
                    actual,
                });
            }
        }
        failed
    }

    /// Refuses an append to a partition that is full.
    fn check_limits(
        &self,
        shared: &Shared,
        append: &Checked,
        next: &[OrderedGuard<'_, Next>],
        planned: Option<&Planned>,
    ) -> Result<(), Error> {
        let mut more = vec![0; self.partitions.len()];
        for batch in &append.batches {
            for run in runs(&batch.plan) {
                more[self.at(batch.topic.id, run[0].partition)] += frame::most_len(run);
            }
        }
        for ((partition, next), more) in self.partitions.iter().zip(next).zip(more) {
            // Partitions with a condition only get no records.
            if more > 0 {
                shared.check_limits(partition, next, more, planned)?;
            }
        }
        Ok(())
    }

    /// Assigns offsets, versions and sequences, and queues the frames.
    fn take(
        &self,
        shared: &Shared,
        append: &Checked,
        (entries, changes): (&[EntryId], Vec<Change>),
        next: &mut [OrderedGuard<'_, Next>],
        mut planned: Option<&mut Planned>,
        admission: Admission,
    ) -> Result<Pending<Appended>, Error> {
        // From here on nothing fails, unless the broker shuts down.
        let room = shared.sequencer.reserve()?;
        let mut producers = planned.as_deref_mut().map(Planned::producers_mut);
        if let (Some(producers), Some(producer), Some(holder)) =
            (producers.as_deref_mut(), append.producer, &append.holder)
        {
            producers.hold(producer.id, holder.id());
        }
        let now = shared.clock.now_ms();
        let mut entries = entries.iter();
        let (mut items, mut owners) = (Vec::new(), Vec::new());
        let mut answer = Appended {
            batches: Vec::with_capacity(append.batches.len()),
            forgotten: false,
        };
        for batch in &append.batches {
            let mut ranges = Vec::new();
            for run in runs(&batch.plan) {
                let at = self.at(batch.topic.id, run[0].partition);
                let next = &mut *next[at];
                next.append_time_ms = next.append_time_ms.max(now);
                let (versions, frame) = take_run(append, batch, run, next, &mut entries);
                next.keys.lag += frame.bytes().len() as u64;
                next.appended_bytes += frame.bytes().len() as u64;
                if let (Some(producers), Some(of)) =
                    (producers.as_deref_mut(), frame.header().batch)
                {
                    producers.apply_batch(
                        of.producer,
                        of.epoch,
                        batch.topic.id,
                        run[0].partition,
                        of.sequence,
                    );
                }
                ranges.push(AppendedRange {
                    partition: run[0].partition,
                    first_offset: frame.header().base,
                    count: frame.header().count,
                    append_time_ms: next.append_time_ms,
                    versions: if append.return_versions {
                        versions
                    } else {
                        Vec::new()
                    },
                });
                items.push(Item::Frame(frame));
                owners.push(self.partitions[at].clone());
            }
            answer.batches.push(ranges);
        }

        let has_changes = !changes.is_empty();
        items.extend(changes.into_iter().map(Item::Change));
        let bytes = entry::encoded_len(&items);
        debug_assert!(bytes as u64 <= shared.options.journal().capacity());
        let is_synced =
            |owner: &PartitionRef| owner.topic.settings().durability == Durability::Sync;
        let sync = has_changes || owners.iter().any(is_synced);
        let (giver, pending) = pending();
        let done = Box::new(move |done: Result<(), Error>| giver.give(done.map(|()| answer)));
        let (charge, under_way) = admission.into_charge();
        let commit = Commit {
            bytes,
            items,
            partitions: owners,
            sync,
            charge,
            under_way: Some(under_way),
            done,
            can_be_refused: false,
            gathers: false,
            counted: None,
        };
        shared.sequencer.plan_reserved(planned, room, commit)?;
        Ok(pending)
    }
}

/// Assigns the next offsets and versions of a partition to a run of records, and builds its frame.
fn take_run<'a>(
    append: &Checked,
    batch: &CheckedBatch,
    run: &[super::Planned],
    next: &mut Next,
    entries: &mut impl Iterator<Item = &'a EntryId>,
) -> (Vec<Version>, Frame) {
    let base = next.offset;
    let versions: Vec<Version> = run
        .iter()
        .zip(base.0..)
        .map(|(record, offset)| match record.key {
            Some(_) => {
                let entry = entries.next().expect("every key of a record was wanted");
                next.keys.table.push(*entry, Offset(offset))
            }
            None => Version::NONE,
        })
        .collect();
    let of = append
        .producer
        .zip(batch.sequence)
        .map(|(producer, sequence)| Batch {
            producer: producer.id,
            epoch: producer.epoch,
            sequence,
        });
    let assigned = Assigned {
        base,
        append_time_ms: next.append_time_ms,
        versions: &versions,
        batch: of,
    };
    let frame = frame::build(batch, run, &assigned);
    next.offset = frame.header().end();
    (versions, frame)
}

/// Whether a producer's batches are new.
fn decide(append: &Checked, producers: &Producers) -> Result<Decision, Error> {
    let Some(producer) = append.producer else {
        return Ok(Decision::New);
    };
    let batches = numbered(append);
    let holder = append.holder.as_ref().map(|holder| holder.id());
    producers
        .decide_append(producer.id, producer.epoch, &batches, holder)
        .map_err(|refused| {
            let topic = |at: usize| append.batches[at].topic.name.to_string();
            Error::of_producer(producer, refused, |at| {
                (topic(at), batches[at].1, batches[at].2)
            })
        })
}

/// A producer's batches with their sequences.
fn numbered(append: &Checked) -> Vec<(TopicId, PartitionId, u64)> {
    let mut batches = Vec::with_capacity(append.batches.len());
    for batch in &append.batches {
        if let (Some(first), Some(sequence)) = (batch.plan.first(), batch.sequence) {
            batches.push((batch.topic.id, first.partition, sequence));
        }
    }
    batches
}

impl Shared {
    /// Forgets other producers to make room for the partitions that this one has not appended to
    /// before; returns whether there is room now.
    fn make_room_for(
        &self,
        append: &Checked,
        planned: Option<&mut Planned>,
    ) -> Result<bool, Error> {
        let (Some(planned), Some(producer)) = (planned, append.producer) else {
            return Ok(false);
        };
        let needed = planned.producers.room_for(producer.id, &numbered(append));
        let holder = append.holder.as_ref().map(|holder| holder.id());
        self.make_room(planned, needed, holder, Some(producer.id))
    }
}

/// The key by which partitions are locked in order.
fn key(partition: &PartitionRef) -> (TopicId, PartitionId) {
    (partition.topic.id, partition.partition().id)
}

/// Keeps the topics from being deleted until the append is queued.
fn hold_open(
    partitions: &[PartitionRef],
) -> Result<Vec<Ordered<RwLockReadGuard<'_, Option<AppendsFrom>>>>, Error> {
    let mut held = Vec::new();
    for partition in partitions
        .chunk_by(|one, other| Arc::ptr_eq(&one.topic, &other.topic))
        .map(|of_one| &of_one[0])
    {
        let open = partition.topic.open.read();
        let topic = || partition.topic.name.to_string();
        match *open {
            Some(AppendsFrom::Clients) => held.push(open),
            Some(AppendsFrom::Import) => {
                return Err(ImportRefused::Importing { topic: topic() }.into());
            }
            None => return Err(Error::UnknownTopic { topic: topic() }),
        }
    }
    Ok(held)
}

impl Expected {
    /// The key that the condition is about, if it is about one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::KeyAbsent { key } | Self::KeyExists { key } | Self::KeyAt { key, .. } => {
                Some(key)
            }
            Self::PartitionAt { .. } => None,
        }
    }

    fn holds(&self, actual: Actual) -> bool {
        match (self, actual) {
            (Self::KeyAbsent { .. }, Actual::Version(actual)) => actual == Version::NONE,
            (Self::KeyExists { .. }, Actual::Version(actual)) => actual != Version::NONE,
            (Self::KeyAt { version, .. }, Actual::Version(actual)) => *version == actual,
            (Self::PartitionAt { next, .. }, Actual::NextOffset(actual)) => *next == actual,
            _ => false,
        }
    }
}
