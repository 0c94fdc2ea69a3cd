//! Reads: finite and following are the same steps, repeated from where the last one stopped.
//!
//! A read goes up to *limits*, the high watermarks of its partitions as they were at one moment; a
//! read that follows takes them anew when it has reached one of them. So where it has come to all
//! of them, it has every atomic append as a whole.

use std::{future::Future, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Broker, ErasedEntity, Error, Meant,
    fetched::{Fetched, Filter, Most},
    offsets::positions,
    partition_cursor::{PartitionCursor, Returned},
    partitions::Partitions,
    state::{PartitionRef, Topic},
};
use crate::types::{Offset, PartitionId, Position, TopicId, limits};

/// What to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) topic: String,
    /// The topic's id, if it must be that one.
    pub(crate) topic_id: Option<TopicId>,
    /// Where to start in partitions that have no position of their own.
    pub(crate) start: Position,
    /// Empty: all.
    pub(crate) partitions: Vec<(PartitionId, Option<Position>)>,
    pub(crate) follow: bool,
    /// 0: no limit.
    pub(crate) max_records: u64,
    pub(crate) filter: Filter,
}

/// A read under way. What it holds on to does not depend on how much it has read: some bytes for
/// each partition, and the frames of one.
pub(crate) struct Reader {
    owner: Arc<Partitions>,
    topic: Arc<Topic>,
    moved: watch::Receiver<()>,
    /// Something may have moved since the limits were taken.
    limits_are_old: bool,
    /// How many notices of erasures the reader has been told, or began behind.
    told: u64,
    partitions: Box<[PartitionReader]>,
    /// How many of the partitions have not been read up to their limits.
    behind: usize,
    /// Which partition comes first in the next step.
    turn: usize,
    /// What was read ahead of the partition whose turn it is.
    fetched: Option<Fetched>,
    /// Where in the list the partition of the last batch with records is, and these records.
    last: Option<(usize, Returned)>,
    follow: bool,
    /// How many more records to return.
    remaining: u64,
    filter: Filter,
}

/// What a step of a read came to.
pub(crate) enum Step {
    /// Records of one partition, or how far the read has come in it.
    Batch(ReadBatch),
    /// There is nothing to return before this resolves.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The read is complete.
    End,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadBatch {
    pub(crate) partition: PartitionId,
    /// Where the next batch begins; everything before has been returned or did not match.
    pub(crate) next_offset: Offset,
    pub(crate) high_watermark: Offset,
    /// Whether `next_offset` has reached the high watermark; of a read that follows, in all its
    /// partitions: where the last batch of each has said so, every atomic append has been returned
    /// as a whole or not at all.
    pub(crate) caught_up: bool,
    /// Entities that have been erased since the read began.
    pub(crate) erased: Vec<ErasedEntity>,
    /// The records in wire form: tag, length, record, again and again.
    pub(crate) records: Vec<Bytes>,
}

/// A read of one partition. There may be 10,000 of them in each reader.
struct PartitionReader {
    /// Its limit was taken together with those of the other partitions.
    read: PartitionCursor,
    /// The partition's place in the topic.
    at: u32,
    /// The client has been told that it has caught up with the limit.
    told: bool,
}

impl Broker {
    /// Begins to read.
    pub(crate) fn read(&self, read: Read) -> Result<Reader, Error> {
        for (what, count) in [
            ("filter keys", read.filter.keys.len()),
            ("filter types", read.filter.types.len()),
        ] {
            if count > limits::MAX_FILTER_VALUES {
                return Err(Error::RequestTooLarge {
                    what,
                    count,
                    limit: limits::MAX_FILTER_VALUES,
                });
            }
        }
        let topic = self.shared.partitions.topics().find_meant(Meant {
            name: &read.topic,
            id: read.topic_id,
        })?;
        let moved = topic.moved.subscribe();
        let told = topic.notices.count();
        let positions = positions(&topic, read.start, &read.partitions)?;
        // Taken before positions are: no position is behind its limit then, but for the latest,
        // which is the limit.
        let limits: Vec<Offset> = self
            .shared
            .partitions
            .at_one_moment(|| positions.iter().map(|(at, _)| at.range().1).collect());
        let partitions = positions.into_iter().zip(limits);
        let partitions: Box<[PartitionReader]> = partitions
            .map(|((at, position), limit)| self.partition_reader(&at, position, limit))
            .collect::<Result<_, _>>()?;
        let mut reader = Reader {
            owner: Arc::clone(&self.shared.partitions),
            partitions,
            behind: 0,
            topic,
            moved,
            limits_are_old: false,
            told,
            turn: 0,
            fetched: None,
            last: None,
            follow: read.follow,
            remaining: if read.max_records == 0 {
                u64::MAX
            } else {
                read.max_records
            },
            filter: read.filter,
        };
        reader.count_behind();
        Ok(reader)
    }

    fn partition_reader(
        &self,
        at: &PartitionRef,
        position: Position,
        limit: Offset,
    ) -> Result<PartitionReader, Error> {
        let offset = match position {
            Position::Latest => limit,
            position => {
                let found = self.shared.partitions.find_offset(at, position);
                at.topic.unless_deleted(found)?.offset.min(limit)
            }
        };
        Ok(PartitionReader {
            read: PartitionCursor::new(offset, limit),
            at: at.partition().id.0,
            told: false,
        })
    }
}

impl Reader {
    /// The topic that is read: the one that had the name when the read began.
    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic.id
    }

    /// The next batch. Partitions take turns. After an error the read is over.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        self.last = None;
        if self.remaining == 0 {
            return Ok(Step::End);
        }
        let step = self.step_if_there();
        self.topic.unless_deleted(step)
    }

    /// Whether all has been returned.
    pub(crate) fn is_complete(&self) -> bool {
        self.remaining == 0 || (!self.follow && self.is_at_all_limits())
    }

    /// The bytes of memory that the reader holds on to: for each partition, for its filter, and for
    /// what was read ahead.
    pub(crate) fn memory(&self) -> usize {
        let fetched = self.fetched.as_ref().map_or(0, Fetched::memory);
        let last = self.last.as_ref().map_or(0, |(_, last)| last.memory());
        size_of_val(&*self.partitions) + self.filter.memory() + fetched + last
    }

    /// Lets go of what was read ahead; it is read again when it is needed.
    pub(crate) fn let_go(&mut self) {
        self.fetched = None;
    }

    /// Whether the next step reads no file and takes no more than so many bytes.
    pub(crate) fn is_light(&self, bytes: usize) -> bool {
        if let Some(fetched) = &self.fetched {
            return fetched.memory() <= bytes;
        }
        let takes_limits =
            self.follow && (self.limits_are_old || self.moved.has_changed().unwrap_or(false));
        for nth in 0..self.partitions.len() {
            let at = (self.turn + nth) % self.partitions.len();
            let PartitionCursor { cursor, limit } = self.partitions[at].read;
            let limit = match takes_limits {
                true => self.partition(at).range().1,
                false => limit,
            };
            if cursor.next < limit {
                let partition = self.partition(at);
                let reader = self.owner.reader(&partition);
                return reader.has_in_memory(cursor.next, limit, bytes);
            }
        }
        true
    }

    fn step_if_there(&mut self) -> Result<Step, Error> {
        if let Some(notice) = self.notice() {
            return Ok(Step::Batch(notice));
        }
        // Seen before the limits are taken: what moves after that resolves the wait.
        self.limits_are_old |= self.moved.has_changed().unwrap_or(false);
        self.moved.borrow_and_update();
        if let Some(batch) = self.next_batch()? {
            return Ok(Step::Batch(batch));
        }
        if !self.follow {
            return Ok(Step::End);
        }
        let mut moved = self.moved.clone();
        Ok(Step::Wait(Box::pin(async move {
            // Without a sender the topic is gone, and the next step says so.
            drop(moved.changed().await);
        })))
    }

    /// The next batch of any partition. A read that has come to a limit takes new ones first, if it
    /// follows. A partition's turn lasts until what was fetched of it has been returned.
    fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        for _ in 0..self.partitions.len() {
            let at = self.turn;
            if self.follow && self.limits_are_old && self.partitions[at].read.is_at_limit() {
                self.take_limits();
            }
            let batch = self.batch(at)?;
            if self.fetched.is_none() {
                self.turn = (at + 1) % self.partitions.len();
            }
            if batch.is_some() {
                return Ok(batch);
            }
            // Told once.
            if self.follow && self.is_at_all_limits() && !self.partitions[at].told {
                return Ok(Some(self.tell_position(at, Vec::new())));
            }
        }
        Ok(None)
    }

    fn take_limits(&mut self) {
        let (topic, partitions) = (&self.topic, &mut self.partitions);
        self.owner.at_one_moment(|| {
            for partition in partitions {
                let (_, limit) = topic.partitions[partition.at as usize].range();
                partition.told &= partition.read.limit == limit;
                partition.read.limit = limit;
            }
        });
        self.count_behind();
        self.limits_are_old = false;
    }

    fn count_behind(&mut self) {
        let behind = self
            .partitions
            .iter()
            .filter(|partition| !partition.read.is_at_limit());
        self.behind = behind.count();
    }

    /// A notice of an erasure that the reader has not been told.
    fn notice(&mut self) -> Option<ReadBatch> {
        while let Some((id, erased)) = self
            .topic
            .notices
            .next(&mut self.told)
            .filter(|_| self.follow)
        {
            let of_partition = |partition: &PartitionReader| partition.at == id.0;
            if let Some(at) = self.partitions.iter().position(of_partition) {
                return Some(ReadBatch {
                    erased: vec![erased],
                    ..self.tell_position(at, Vec::new())
                });
            }
        }
        None
    }

    /// Where the read is in its first, second, ... partition, without records: a heartbeat. None
    /// behind the last one.
    pub(crate) fn heartbeat(&self, nth: usize) -> Option<ReadBatch> {
        (nth < self.partitions.len()).then(|| self.position(nth, Vec::new()))
    }

    /// The records of the last batch, read again; others if any have been erased or trimmed since.
    pub(crate) fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let Some((at, last)) = &mut self.last else {
            return Ok(Vec::new());
        };
        let place = PartitionRef {
            topic: Arc::clone(&self.topic),
            at: self.partitions[*at].at as usize,
        };
        let read = last.again(&self.owner, &place, &self.filter);
        self.topic.unless_deleted(read)
    }

    /// A part of the records of the last batch, these bytes of all, read again as they lie in files
    /// now; none where that cannot be told, or is not allowed any more.
    pub(crate) fn part_again(&self, bytes: Range<usize>) -> Option<Vec<Bytes>> {
        let (at, last) = self.last.as_ref()?;
        last.part_again(&self.owner, &self.partition(*at), bytes)
    }

    /// Where each partition goes on if the last batch did not arrive; that batch's own first.
    pub(crate) fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        let last = self.last.as_ref();
        let last = last.map(|(at, last)| (*at, last.read.cursor.next));
        let others = self
            .partitions
            .iter()
            .map(|partition| partition.read.cursor.next);
        let others = others
            .enumerate()
            .filter(|(at, _)| Some(*at) != last.map(|last| last.0));
        last.into_iter()
            .chain(others)
            .map(|(at, next)| (PartitionId(self.partitions[at].at), next))
            .collect()
    }

    fn batch(&mut self, at: usize) -> Result<Option<ReadBatch>, Error> {
        let place = self.partition(at);
        let most = Most {
            records: self.remaining,
            ..Most::RESPONSE
        };
        let read = &mut self.partitions[at].read;
        let (began, was_behind) = (read.cursor, !read.is_at_limit());
        let ahead = &mut self.fetched;
        let Some(chosen) = read.read(&self.owner, &place, ahead, &self.filter, most)? else {
            return Ok(None);
        };
        if was_behind && read.is_at_limit() {
            self.behind -= 1;
        }
        let end = self.partitions[at].read.cursor.next;
        self.last = Some((at, Returned::new(began, end, chosen.in_files)));
        self.remaining -= chosen.count;
        Ok(Some(self.tell_position(at, chosen.slices)))
    }

    fn tell_position(&mut self, at: usize, records: Vec<Bytes>) -> ReadBatch {
        let batch = self.position(at, records);
        self.partitions[at].told = batch.caught_up;
        batch
    }

    fn position(&self, at: usize, records: Vec<Bytes>) -> ReadBatch {
        let partition = &self.partitions[at];
        ReadBatch {
            partition: PartitionId(partition.at),
            next_offset: partition.read.cursor.next,
            high_watermark: partition.read.limit,
            caught_up: self.has_caught_up(at),
            erased: Vec::new(),
            records,
        }
    }

    /// Whether the read has caught up in a partition. One that follows has done so in all or in
    /// none: when others are behind the limits that it last took, it may have a part of an append
    /// only.
    fn has_caught_up(&self, at: usize) -> bool {
        self.partitions[at].read.is_at_limit() && (!self.follow || self.is_at_all_limits())
    }

    fn is_at_all_limits(&self) -> bool {
        self.behind == 0
    }

    fn partition(&self, at: usize) -> PartitionRef {
        PartitionRef {
            topic: Arc::clone(&self.topic),
            at: self.partitions[at].at as usize,
        }
    }
}
