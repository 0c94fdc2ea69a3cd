//! Reads. A finite and a following read take the same steps, each from where the last one stopped.
//!
//! A read goes up to *limits*, the high watermarks of its partitions at one moment. A read that
//! follows takes new limits when it has reached one of them. So when it has reached all limits, it
//! has returned every atomic append completely.

use std::{cell::Cell, future::Future, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Broker, ErasedEntity, Error, Meant, ResponseLimit,
    fetched::{Fetched, Filter, Most},
    offsets::positions,
    partition_cursor::{PartitionCursor, Returned},
    partitions::Partitions,
    state::{PartitionRef, Topic},
    turns::Turns,
};
use crate::types::{Offset, PartitionId, Position, TopicId, limits};

/// What to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) topic: String,
    /// The topic's id, if the topic must have that id.
    pub(crate) topic_id: Option<TopicId>,
    /// Where to start in partitions without a position of their own.
    pub(crate) start: Position,
    /// Empty for all partitions.
    pub(crate) partitions: Vec<(PartitionId, Option<Position>)>,
    pub(crate) follow: bool,
    /// 0 for no limit.
    pub(crate) max_records: u64,
    pub(crate) filter: Filter,
    pub(crate) response: ResponseLimit,
}

/// A read under way. Its memory does not depend on how much it has read: some bytes for each
/// partition, and the frames of one partition.
pub(crate) struct Reader {
    owner: Arc<Partitions>,
    topic: Arc<Topic>,
    moved: watch::Receiver<()>,
    /// Whether records may have become visible since the limits were taken.
    limits_are_old: bool,
    /// How many notices of erasures the reader has returned or skipped.
    told: u64,
    partitions: Box<[PartitionReader]>,
    /// Which partitions are read next.
    turns: Turns,
    /// Whether each partition's index in the list equals its number.
    is_in_order: bool,
    /// How many moves the topic had when the limits were taken.
    seen: u64,
    /// How often a partition's limit was looked at; for tests.
    looks: Cell<u64>,
    /// What was read ahead in the partition whose turn it is.
    fetched: Option<Fetched>,
    /// The records of the last batch, and the index of their partition.
    last: Option<(usize, Returned)>,
    follow: bool,
    /// How many more records may be returned.
    remaining: u64,
    filter: Filter,
    response: ResponseLimit,
}

/// The result of a step of a read.
pub(crate) enum Step {
    /// Records of a partition, or how far the read is in it.
    Batch(ReadBatch),
    /// Nothing can be returned before this resolves.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The read is complete.
    End,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadBatch {
    pub(crate) partition: PartitionId,
    /// Where the next batch begins; all records before it were returned or did not match.
    pub(crate) next_offset: Offset,
    pub(crate) high_watermark: Offset,
    /// Whether `next_offset` has reached the high watermark; for a read that follows, in all its
    /// partitions. When the last batch of each partition says so, every atomic append was returned
    /// either completely or not at all.
    pub(crate) caught_up: bool,
    /// Entities that were erased since the read began.
    pub(crate) erased: Vec<ErasedEntity>,
    /// The records in wire form: tag, length and record, repeated.
    pub(crate) records: Vec<Bytes>,
}

/// A read of one partition. A reader may have 10,000 of these.
struct PartitionReader {
    /// The cursor; its limit was taken at the same moment as those of the other partitions.
    read: PartitionCursor,
    /// The partition's index in the topic.
    at: u32,
    /// Whether the client was told that it has caught up with the limit.
    told: bool,
    /// Whether it is queued to be told.
    is_waiting: bool,
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
        // Limits are taken before positions, so no position is behind its limit, except for the
        // latest, which is the limit itself.
        let (limits, seen): (Vec<Offset>, u64) = self.shared.partitions.at_one_moment(|| {
            let limits = positions.iter().map(|(at, _)| at.range().1);
            (limits.collect(), topic.news.count())
        });
        let partitions = positions.into_iter().zip(limits);
        let partitions: Box<[PartitionReader]> = partitions
            .map(|((at, position), limit)| self.partition_reader(&at, position, limit))
            .collect::<Result<_, _>>()?;
        let mut reader = Reader {
            owner: Arc::clone(&self.shared.partitions),
            turns: Turns::for_partitions(partitions.len(), read.follow),
            is_in_order: (0..)
                .zip(&partitions)
                .all(|(id, partition)| partition.at == id),
            partitions,
            seen,
            looks: Cell::new(0),
            topic,
            moved,
            limits_are_old: false,
            told,
            fetched: None,
            last: None,
            follow: read.follow,
            remaining: if read.max_records == 0 {
                u64::MAX
            } else {
                read.max_records
            },
            filter: read.filter,
            response: read.response,
        };
        reader.find_turns();
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
            is_waiting: false,
        })
    }
}

impl Reader {
    /// The id of the topic: the one that had the name when the read began.
    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic.id
    }

    /// The next step. Partitions take turns. After an error the read is over.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        self.last = None;
        if self.remaining == 0 {
            return Ok(Step::End);
        }
        let step = self.step_if_there();
        self.topic.unless_deleted(step)
    }

    /// Checks the size of the response that has this batch behind a head of so many bytes.
    ///
    /// # Errors
    ///
    /// If the client takes less. The read is over then.
    pub(crate) fn check_response(&self, head: usize, batch: &ReadBatch) -> Result<(), Error> {
        let Some((at, _)) = &self.last else {
            return Ok(());
        };
        let records: usize = batch.records.iter().map(Bytes::len).sum();
        let at = self.partition(*at);
        self.response.check(head + records, &at, &batch.records)
    }

    /// Whether everything was returned.
    pub(crate) fn is_complete(&self) -> bool {
        self.remaining == 0 || (!self.follow && self.is_at_all_limits())
    }

    /// The reader's memory, in bytes: for each partition, for its filter, and for what was read
    /// ahead.
    pub(crate) fn memory(&self) -> usize {
        let fetched = self.fetched.as_ref().map_or(0, Fetched::memory);
        let last = self.last.as_ref().map_or(0, |(_, last)| last.memory());
        let partitions = size_of_val(&*self.partitions) + self.turns.memory();
        partitions + self.filter.memory() + fetched + last
    }

    /// Drops what was read ahead; it is read again when needed.
    pub(crate) fn let_go(&mut self) {
        self.fetched = None;
    }

    /// Whether the next step reads no file and takes no more than `bytes`.
    pub(crate) fn is_light(&self, bytes: usize) -> bool {
        if let Some(fetched) = &self.fetched {
            let is_stale = |at: usize| {
                let read = &self.partitions[at].read;
                read.is_stale(&self.partition(at), &self.fetched)
            };
            return fetched.memory() <= bytes && !self.turns.current().is_some_and(is_stale);
        }
        let Some((at, limit)) = self.next_behind() else {
            return true;
        };
        let (partition, cursor) = (self.partition(at), self.partitions[at].read.cursor);
        let reader = self.owner.reader(&partition);
        reader.has_in_memory(cursor.next, limit, bytes)
    }

    /// The partition that is read next, and its limit.
    fn next_behind(&self) -> Option<(usize, Offset)> {
        if let Some(at) = self.turns.current() {
            return Some((at, self.partitions[at].read.limit));
        }
        if !self.follow || !(self.limits_are_old || self.moved.has_changed().unwrap_or(false)) {
            return None;
        }
        let first = match self.topic.news.first(self.seen) {
            Some(first) if self.is_in_order => Some(first? as usize),
            _ => None,
        };
        let first = first.filter(|at| *at < self.partitions.len());
        let mut places = first.into_iter().chain(0..self.partitions.len());
        places.find_map(|at| {
            let limit = self.limit_now(at);
            (self.partitions[at].read.cursor.next < limit).then_some((at, limit))
        })
    }

    fn limit_now(&self, at: usize) -> Offset {
        self.looks.update(|looks| looks + 1);
        let at = self.partitions[at].at;
        self.topic.partitions[at as usize].range().1
    }

    fn step_if_there(&mut self) -> Result<Step, Error> {
        if let Some(notice) = self.notice() {
            return Ok(Step::Batch(notice));
        }
        // Marked as seen before limits are taken, so that a later move resolves the wait.
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
            // If the sender is gone, so is the topic, and the next step reports that.
            drop(moved.changed().await);
        })))
    }

    /// The next batch of any partition. A read that follows first takes new limits if it has
    /// reached one. A partition's turn lasts until everything that was fetched in it is returned.
    fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        if self.follow && self.limits_are_old && self.turns.behind() < self.partitions.len() {
            self.take_limits();
        }
        while let Some(at) = self.turns.current() {
            let batch = self.batch(at)?;
            if batch.is_some() {
                return Ok(batch);
            }
        }
        // Each partition is told once.
        while self.follow
            && let Some(at) = self.turns.next_untold()
        {
            self.partitions[at].is_waiting = false;
            if !self.partitions[at].told {
                return Ok(Some(self.tell_position(at, Vec::new())));
            }
        }
        Ok(None)
    }

    /// Takes the limits of all partitions at one moment. Partitions that have not moved keep
    /// theirs.
    fn take_limits(&mut self) {
        let owner = Arc::clone(&self.owner);
        owner.at_one_moment(|| {
            let news = self.topic.news.take(&mut self.seen, self.partitions.len());
            let count = self.partitions.len();
            match news.filter(|_| self.is_in_order) {
                // Partitions that were added since the read began are not part of it.
                Some(moved) => {
                    let places = moved.into_iter().map(|id| id as usize);
                    places
                        .filter(|at| *at < count)
                        .for_each(|at| self.take_limit(at));
                }
                None => (0..count).for_each(|at| self.take_limit(at)),
            }
        });
        self.limits_are_old = false;
    }

    fn take_limit(&mut self, at: usize) {
        let limit = self.limit_now(at);
        let partition = &mut self.partitions[at];
        if partition.read.limit == limit {
            return;
        }
        let was_behind = !partition.read.is_at_limit();
        partition.read.limit = limit;
        partition.told = false;
        if !was_behind && !partition.read.is_at_limit() {
            self.turns.fell_behind(at);
        }
        self.wait_to_be_told(at);
    }

    fn wait_to_be_told(&mut self, at: usize) {
        if self.follow && !std::mem::replace(&mut self.partitions[at].is_waiting, true) {
            self.turns.is_untold(at);
        }
    }

    fn find_turns(&mut self) {
        for at in 0..self.partitions.len() {
            if !self.partitions[at].read.is_at_limit() {
                self.turns.fell_behind(at);
            }
            self.wait_to_be_told(at);
        }
    }

    /// How often the reader has looked at a partition's limit.
    #[allow(dead_code, reason = "tests ask for it")]
    pub(crate) fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// The next notice of an erasure that was not returned yet.
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

    /// The position in the read's `nth` partition, as a batch without records: a heartbeat. `None`
    /// behind the last partition.
    pub(crate) fn heartbeat(&self, nth: usize) -> Option<ReadBatch> {
        (nth < self.partitions.len()).then(|| self.position(nth, Vec::new()))
    }

    /// Reads the records of the last batch again. They differ if records were erased or trimmed
    /// since.
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

    /// Reads a range of the last batch's bytes again, from where they lie in files; `None` if that
    /// is not known, or they may not be shown any more.
    pub(crate) fn part_again(&self, bytes: Range<usize>) -> Option<Vec<Bytes>> {
        let (at, last) = self.last.as_ref()?;
        last.part_again(&self.owner, &self.partition(*at), bytes)
    }

    /// Where to continue in each partition if the last batch did not arrive; that batch's partition
    /// comes first.
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
            ..self.response.most()
        };
        let read = &mut self.partitions[at].read;
        let began = read.cursor;
        let ahead = &mut self.fetched;
        let chosen = read.read(&self.owner, &place, ahead, &self.filter, most)?;
        let is_behind = !read.is_at_limit();
        if self.fetched.is_none() || !is_behind {
            self.turns.next(is_behind);
        }
        let Some(chosen) = chosen else {
            return Ok(None);
        };
        let end = self.partitions[at].read.cursor.next;
        self.last = Some((at, Returned::new(began, end, chosen.in_files)));
        self.remaining -= chosen.count;
        Ok(Some(self.tell_position(at, chosen.slices)))
    }

    fn tell_position(&mut self, at: usize, records: Vec<Bytes>) -> ReadBatch {
        let batch = self.position(at, records);
        self.partitions[at].told = batch.caught_up;
        if !batch.caught_up {
            self.wait_to_be_told(at);
        }
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

    /// Whether the read has caught up in a partition. A read that follows has caught up in all
    /// partitions or in none: while others are behind their limits, it may have only a part of an
    /// append.
    fn has_caught_up(&self, at: usize) -> bool {
        self.partitions[at].read.is_at_limit() && (!self.follow || self.is_at_all_limits())
    }

    fn is_at_all_limits(&self) -> bool {
        !self.turns.is_any_behind()
    }

    fn partition(&self, at: usize) -> PartitionRef {
        PartitionRef {
            topic: Arc::clone(&self.topic),
            at: self.partitions[at].at as usize,
        }
    }
}
