//! Imports: records are stored with the offsets, versions, times and event ids that they had
//! elsewhere.
//!
//! An import begins in a topic without records. Its first journal entry sets the topic's setting
//! `appends` to `import`, so that all other appends are refused, and has each partition start where
//! the exported one did. Each batch is one entry. The last entry resets `appends`. If an import is
//! broken off, the topic stays closed, and each partition has the beginning of what was exported;
//! the next import continues from there.
//!
//! A frame of an import begins at the partition's next offset and ends behind its last record. So
//! it also covers offsets whose records do not exist any more, as frames that compaction has
//! written do.
//!
//! Reading order: this page; `check.rs`, the checks of records; `refused.rs`.

mod check;
mod refused;

use std::sync::{Arc, atomic::Ordering};

use bytes::{BufMut, Bytes, BytesMut};

use check::Checked;
pub(crate) use refused::ImportRefused;

use super::{
    Admission, Broker, Error, Pending, Shared,
    commit::Commit,
    keys::{Looked, Wanted},
    lock,
    pending::pending,
    state::{Next, PartitionRef, Topic},
};
use crate::{
    catalog::Change,
    storage::{
        format::{
            entry::{self, Item},
            frame::{self, Frame},
        },
        keys::table::EntryId,
    },
    types::{AppendsFrom, Offset, PartitionId, limits},
};

/// An import under way. Until it is dropped, no other import into the topic can begin.
pub(crate) struct Import {
    topic: Arc<Topic>,
}

/// Records for one partition, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct ImportBatch {
    pub(crate) partition: PartitionId,
    /// The client's number for the first record, counted on for the others; errors name records by
    /// it.
    pub(crate) number: u64,
    /// In wire form, with the broker's fields, unchecked: tag, length and record, repeated.
    pub(crate) records: Bytes,
}

/// The header of a frame to be, and what it adds to its partition.
struct Covered {
    count: u32,
    end: Offset,
    append_time_ms: i64,
    latest_timestamp_ms: i64,
}

impl Import {
    fn of(topic: &Arc<Topic>) -> Result<Self, ImportRefused> {
        match topic.is_importing.swap(true, Ordering::AcqRel) {
            false => Ok(Self {
                topic: Arc::clone(topic),
            }),
            true => Err(ImportRefused::UnderWay {
                topic: topic.name.to_string(),
            }),
        }
    }

    /// The offset of the next record of each partition.
    pub(crate) fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        let partitions = self.topic.partitions.iter();
        let next = partitions.map(|partition| (partition.id, lock(&partition.next).offset));
        next.collect()
    }

    /// Fails if the topic no longer takes imports.
    fn check(&self, open: Option<AppendsFrom>) -> Result<(), Error> {
        let topic = self.topic.name.to_string();
        match open {
            Some(AppendsFrom::Import) => Ok(()),
            Some(AppendsFrom::Clients) => Err(ImportRefused::Ended { topic }.into()),
            None => Err(Error::UnknownTopic { topic }),
        }
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.topic.is_importing.store(false, Ordering::Release);
    }
}

impl Broker {
    /// Begins an import into a topic without records, whose partitions will start at `starts`; or
    /// continues an import that was broken off. When this returns, the beginning is durable.
    pub(crate) fn begin_import(
        &self,
        topic: &str,
        starts: &[(PartitionId, Offset)],
    ) -> Result<(Import, Pending<()>), Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(topic)?;
        shared.health.check_room()?;
        let import = Import::of(&topic)?;
        let mut open = topic.open.write();
        if *open == Some(AppendsFrom::Clients) && !is_empty(&topic) {
            let topic = topic.name.to_string();
            let refused = shared
                .sequencer
                .refuse_durably(ImportRefused::NotEmpty { topic }.into())?;
            return Ok((import, refused));
        }
        let mut changes = starts_of(&topic, starts)?;
        let mut planned = shared.sequencer.planned();
        let Ok(known) = planned.decide_topic(topic.id) else {
            let topic = topic.name.to_string();
            let refused = shared
                .sequencer
                .refuse_durably(Error::UnknownTopic { topic })?;
            return Ok((import, refused));
        };
        if known.settings.appends != AppendsFrom::Import {
            let mut settings = known.settings.clone();
            settings.appends = AppendsFrom::Import;
            let topic = topic.id;
            changes.insert(0, Change::Alter { topic, settings });
        }
        if changes.is_empty() {
            let queued = shared.sequencer.queue_barrier(|| Ok(()))?;
            return Ok((import, queued));
        }
        let begun = shared
            .sequencer
            .plan_together(&mut planned, changes, || Ok(()))?;
        *open = Some(AppendsFrom::Import);
        Ok((import, begun))
    }

    /// Queues a batch, if all its records are valid and may follow those in the partition. May read
    /// files.
    pub(crate) fn import(
        &self,
        import: &Import,
        batch: &ImportBatch,
        admission: Admission,
    ) -> Result<Pending<()>, Error> {
        let shared = &self.shared;
        let partition = import.topic.partition(batch.partition)?;
        let checked = check::batch(&partition, batch, shared.clock.now_ms())?;
        let capacity = usize::try_from(shared.options.journal().capacity()).unwrap_or(usize::MAX);
        let most = batch.records.len() + frame::HEADER_BYTES + 128;
        if most > capacity {
            return Err(Error::RequestTooLarge {
                what: "bytes",
                count: most,
                limit: capacity,
            });
        }
        let open = import.topic.open.read();
        import.check(*open)?;
        let wanted: Vec<Wanted<'_>> = checked.keyed(&batch.records).collect();
        let partitions = [partition];
        let mut looked = Looked::default();
        loop {
            let mut next = [lock(&partitions[0].partition().next)];
            let entries = looked.entries(&partitions, &wanted, &mut next);
            next[0].keys.count_memory(&shared.partitions.key_memory);
            match entries {
                Ok(entries) => {
                    let next = &mut *next[0];
                    check::follows(&partitions[0], batch, &checked, &entries, next)?;
                    shared.check_limits(&partitions[0], next, most as u64, None)?;
                    let records = (batch, &checked, &entries[..]);
                    return shared.take_import(partitions[0].clone(), records, next, admission);
                }
                Err(unknown) => {
                    drop(next);
                    looked.look_up(&shared.partitions, &partitions, &wanted, &unknown)?;
                }
            }
        }
    }

    /// Ends an import: the next offset of each partition is at least the one in `ends`, and clients
    /// may append again.
    pub(crate) fn end_import(
        &self,
        import: &Import,
        ends: &[(PartitionId, Offset)],
    ) -> Result<Pending<()>, Error> {
        let shared = &self.shared;
        let topic = &import.topic;
        let mut open = topic.open.write();
        import.check(*open)?;
        for &(partition, end) in ends {
            let partition = topic.partition(partition)?;
            check::end(&partition, end)?;
            shared.cover_up_to(partition, end)?;
        }
        let mut planned = shared.sequencer.planned();
        let Ok(known) = planned.decide_topic(topic.id) else {
            return shared.sequencer.refuse_durably(Error::UnknownTopic {
                topic: topic.name.to_string(),
            });
        };
        let mut settings = known.settings.clone();
        settings.appends = AppendsFrom::Clients;
        let change = Change::Alter {
            topic: topic.id,
            settings,
        };
        let ended = shared.sequencer.plan(&mut planned, change, || Ok(()))?;
        *open = Some(AppendsFrom::Clients);
        Ok(ended)
    }
}

impl Shared {
    /// Queues the frame of a checked batch.
    fn take_import(
        &self,
        partition: PartitionRef,
        (batch, checked, entries): (&ImportBatch, &Checked, &[EntryId]),
        next: &mut Next,
        admission: Admission,
    ) -> Result<Pending<()>, Error> {
        let covered = Covered {
            count: checked.count(),
            end: checked.last().offset.plus(1),
            append_time_ms: checked.last().append_time_ms,
            latest_timestamp_ms: checked.latest_timestamp_ms,
        };
        let (charge, under_way) = admission.into_charge();
        let frame = frame_of(&partition, next, &covered, &batch.records);
        let (giver, queued) = pending();
        let commit = Commit {
            charge,
            under_way: Some(under_way),
            done: Box::new(move |done| giver.give(done)),
            ..commit_of(partition, frame.clone())
        };
        self.sequencer.queue(commit)?;
        for (record, entry) in checked.with_versions().zip(entries) {
            next.keys
                .table
                .push_at(*entry, record.offset, record.version);
        }
        next.take(&frame);
        next.keys.count_memory(&self.partitions.key_memory);
        Ok(queued)
    }

    /// Queues a frame without records, which covers a partition's offsets up to `end`.
    fn cover_up_to(&self, partition: PartitionRef, end: Offset) -> Result<(), Error> {
        let of = Arc::clone(&partition.topic);
        let next = &mut *lock(&of.partitions[partition.at].next);
        if next.offset >= end {
            return Ok(());
        }
        let covered = Covered {
            count: 0,
            end,
            append_time_ms: match next.append_time_ms {
                i64::MIN => self.clock.now_ms(),
                last => last,
            },
            latest_timestamp_ms: i64::MIN,
        };
        let frame = frame_of(&partition, next, &covered, &[]);
        let commit = commit_of(partition, frame.clone());
        self.sequencer.queue(commit)?;
        next.take(&frame);
        Ok(())
    }
}

impl Next {
    /// Moves the partition on behind this frame.
    fn take(&mut self, frame: &Frame) {
        let bytes = frame.bytes().len() as u64;
        self.offset = frame.header().end();
        self.append_time_ms = self.append_time_ms.max(frame.header().append_time_ms);
        self.appended_bytes += bytes;
        self.keys.lag += bytes;
    }
}

/// Whether no partition has, or had, a record.
fn is_empty(topic: &Topic) -> bool {
    let mut partitions = topic.partitions.iter();
    partitions.all(|partition| lock(&partition.next).offset == Offset::ZERO)
}

/// The changes by which partitions start at these offsets. Partitions that have records already are
/// only compared: fails if they cannot be from the same export.
fn starts_of(topic: &Arc<Topic>, starts: &[(PartitionId, Offset)]) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for &(partition, offset) in starts {
        let found = topic.partition(partition)?;
        let next = lock(&found.partition().next).offset;
        if next > Offset::ZERO {
            let (start, _) = found.range();
            if offset > start || (start == next && offset != start) {
                let topic = topic.name.to_string();
                return Err(ImportRefused::Other {
                    topic,
                    partition,
                    has: start,
                    asked: offset,
                }
                .into());
            }
        } else if offset.0 > limits::MAX_IMPORTED_OFFSET {
            let problem = format!("it cannot start at offset {offset}");
            return Err(ImportRefused::partition(topic, partition, problem).into());
        } else if offset > Offset::ZERO {
            changes.push(Change::StartAt {
                topic: topic.id,
                partition,
                offset,
            });
        }
    }
    Ok(changes)
}

/// Makes the frame that begins at the partition's next offset.
fn frame_of(partition: &PartitionRef, next: &Next, covered: &Covered, records: &[u8]) -> Frame {
    let mut bytes = BytesMut::with_capacity(frame::HEADER_BYTES + records.len());
    bytes.put_bytes(0, frame::HEADER_BYTES);
    bytes.put_slice(records);
    let span = covered.end.0 - next.offset.0;
    let header = frame::Header {
        topic: partition.topic.id,
        partition: partition.partition().id,
        count: covered.count,
        base: next.offset,
        append_time_ms: covered.append_time_ms,
        latest_timestamp_ms: covered.latest_timestamp_ms,
        batch: None,
        span: u32::try_from(span).expect("it was checked that the key table has room for it"),
        tombstones_since_ms: None,
    };
    Frame::seal(header, bytes)
}

/// A commit of one frame. Its memory is not counted, and nobody is told when it is applied.
fn commit_of(partition: PartitionRef, frame: Frame) -> Commit {
    let items = vec![Item::Frame(frame)];
    Commit {
        bytes: entry::encoded_len(&items),
        items,
        partitions: vec![partition],
        sync: true,
        charge: None,
        under_way: None,
        done: Box::new(|_| {}),
        can_be_refused: false,
        gathers: false,
        counted: None,
    }
}
