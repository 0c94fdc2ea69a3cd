//! Reads: finite and following are the same steps, repeated from where the last one stopped.
//!
//! A read goes up to *limits*, the high watermarks of its partitions as they were at one moment; a
//! read that follows takes them anew when it has reached one of them. So where it has come to all
//! of them, it has every atomic append as a whole.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Broker, ErasedEntity, Error, Meant, Shared,
    erasure::Masks,
    offsets::positions,
    state::{PartitionRef, Topic},
};
use crate::{
    storage::{format::frame::Frame, log::Cursor},
    types::{Offset, PartitionId, Position, RecordView, Records, TopicId, limits},
};

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

/// Which records to return; a record must match every list that is not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) types: Vec<String>,
}

/// A read under way.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    moved: watch::Receiver<()>,
    /// Something may have moved since the limits were taken.
    limits_are_old: bool,
    /// How many notices of erasures the reader has been told, or began behind.
    told: u64,
    partitions: Vec<PartitionReader>,
    /// Which partition comes first in the next step.
    turn: usize,
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

/// A read of one partition.
struct PartitionReader {
    at: PartitionRef,
    cursor: Cursor,
    /// The high watermark up to which the read goes, taken together with those of the other
    /// partitions.
    limit: Offset,
    /// Frames that have been fetched and not returned in full.
    held: VecDeque<Held>,
    /// What was hidden in them.
    erased: Masks,
    next: Offset,
    /// The high watermark that the client has been told it has caught up with.
    told: Option<Offset>,
}

/// What is left of a frame.
struct Held {
    frame: Frame,
    /// Records before this position have been dealt with.
    position: usize,
}

/// Records chosen out of frames.
#[derive(Default)]
struct Chosen {
    slices: Vec<Bytes>,
    bytes: usize,
    count: u64,
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
        let topic = self.shared.topics().find_meant(Meant {
            name: &read.topic,
            id: read.topic_id,
        })?;
        let moved = topic.moved.subscribe();
        let told = topic.notices.count();
        let positions = positions(&topic, read.start, &read.partitions)?;
        // Taken before positions are: no position is behind its limit then, but for the latest,
        // which is the limit.
        let limits = self
            .shared
            .ends_at_one_moment(positions.iter().map(|(at, _)| at));
        let partitions = positions.into_iter().map(|(at, position)| {
            let limit = limits[&at.partition().id];
            let offset = match position {
                Position::Latest => limit,
                position => {
                    let found = self.shared.find_offset(&at, position);
                    at.topic.unless_deleted(found)?.offset.min(limit)
                }
            };
            Ok::<_, Error>(PartitionReader {
                erased: at.partition().erased(),
                at,
                cursor: Cursor::new(offset),
                limit,
                held: VecDeque::new(),
                next: offset,
                told: None,
            })
        });
        Ok(Reader {
            shared: Arc::clone(&self.shared),
            partitions: partitions.collect::<Result<_, _>>()?,
            topic,
            moved,
            limits_are_old: false,
            told,
            turn: 0,
            follow: read.follow,
            remaining: if read.max_records == 0 {
                u64::MAX
            } else {
                read.max_records
            },
            filter: read.filter,
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
        if self.remaining == 0 {
            return Ok(Step::End);
        }
        let step = self.step_if_there();
        self.topic.unless_deleted(step)
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
    /// follows.
    fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        let mut at_all_limits = self.is_at_all_limits();
        for _ in 0..self.partitions.len() {
            let at = self.turn;
            self.turn = (self.turn + 1) % self.partitions.len();
            if self.follow && self.limits_are_old && self.partitions[at].is_at_limit() {
                self.take_limits();
                at_all_limits = self.is_at_all_limits();
            }
            let batch = self.batch(at)?;
            if batch.is_some() {
                return Ok(batch);
            }
            // Told once.
            if self.follow
                && at_all_limits
                && self.partitions[at].told != Some(self.partitions[at].limit)
            {
                return Ok(Some(self.tell_position(at, Vec::new())));
            }
        }
        Ok(None)
    }

    fn take_limits(&mut self) {
        let limits = self
            .shared
            .ends_at_one_moment(self.partitions.iter().map(|partition| &partition.at));
        for partition in &mut self.partitions {
            partition.limit = limits[&partition.at.partition().id];
        }
        self.limits_are_old = false;
    }

    /// A notice of an erasure that the reader has not been told.
    fn notice(&mut self) -> Option<ReadBatch> {
        while let Some((id, erased)) = self
            .topic
            .notices
            .next(&mut self.told)
            .filter(|_| self.follow)
        {
            let of_partition = |partition: &PartitionReader| partition.at.partition().id == id;
            if let Some(at) = self.partitions.iter().position(of_partition) {
                return Some(ReadBatch {
                    erased: vec![erased],
                    ..self.tell_position(at, Vec::new())
                });
            }
        }
        None
    }

    /// Where the read is in every partition, without records: heartbeats.
    pub(crate) fn positions(&self) -> Vec<ReadBatch> {
        (0..self.partitions.len())
            .map(|at| self.position(at, Vec::new()))
            .collect()
    }

    fn batch(&mut self, at: usize) -> Result<Option<ReadBatch>, Error> {
        let partition = &mut self.partitions[at];
        partition.drop_what_shows_erased();
        while partition.held.is_empty() && !partition.is_at_limit() {
            partition.fetch(&self.shared)?;
        }
        if partition.held.is_empty() {
            return Ok(None);
        }
        let chosen = partition.choose(&self.filter, self.remaining);
        self.remaining -= chosen.count;
        Ok(Some(self.tell_position(at, chosen.slices)))
    }

    fn tell_position(&mut self, at: usize, records: Vec<Bytes>) -> ReadBatch {
        let batch = self.position(at, records);
        self.partitions[at].told = batch.caught_up.then_some(batch.high_watermark);
        batch
    }

    fn position(&self, at: usize, records: Vec<Bytes>) -> ReadBatch {
        let partition = &self.partitions[at];
        ReadBatch {
            partition: partition.at.partition().id,
            next_offset: partition.next,
            high_watermark: partition.limit,
            caught_up: self.has_caught_up(at),
            erased: Vec::new(),
            records,
        }
    }

    /// Whether the read has caught up in a partition. One that follows has done so in all or in
    /// none: when others are behind the limits that it last took, it may have a part of an append
    /// only.
    fn has_caught_up(&self, at: usize) -> bool {
        self.partitions[at].is_at_limit() && (!self.follow || self.is_at_all_limits())
    }

    fn is_at_all_limits(&self) -> bool {
        self.partitions.iter().all(PartitionReader::is_at_limit)
    }
}

impl PartitionReader {
    /// Fetches frames, if there are any that the read wants.
    fn fetch(&mut self, shared: &Shared) -> Result<(), Error> {
        let partition = self.at.partition();
        self.erased = partition.erased();
        let reader = shared.reader(&self.at);
        let read = reader.read(&mut self.cursor, limits::MAX_RESPONSE_BYTES);
        let frames = read.map_err(|error| shared.explain_at(&self.at, self.next, error))?;
        let (limit, hasher) = (self.limit, &self.at.topic.hasher);
        if self.cursor.next > limit {
            // What has come since the limit was taken is fetched again when the next one is.
            self.cursor = Cursor::new(limit);
        }
        let wanted = frames
            .into_iter()
            .filter(|frame| frame.header().base < limit);
        self.held.extend(wanted.map(|frame| Held {
            frame: self.erased.hide_in(hasher, frame),
            position: 0,
        }));
        self.drop_what_shows_erased();
        Ok(())
    }

    fn is_at_limit(&self) -> bool {
        self.next >= self.limit
    }

    /// Lets go of frames that were fetched before something was erased, or its bytes were gone:
    /// they are fetched again.
    fn drop_what_shows_erased(&mut self) {
        if !self.held.is_empty() && !self.at.partition().erased().is_same(&self.erased) {
            self.held.clear();
            self.cursor = Cursor::new(self.next);
        }
    }

    /// Takes records out of the frames that are held, up to one response.
    fn choose(&mut self, filter: &Filter, most: u64) -> Chosen {
        let mut chosen = Chosen::default();
        while let Some(held) = self.held.front_mut() {
            let header = *held.frame.header();
            let whole = held.position == 0 && self.next <= header.base && filter.is_empty();
            let bytes = held.frame.records().len();
            // One that alone is larger than a response is taken apart.
            let fits =
                chosen.fits(bytes) && (bytes <= limits::MAX_RESPONSE_BYTES || header.count == 1);
            if whole && fits && u64::from(header.count) <= most - chosen.count {
                chosen.add(held.frame.records(), u64::from(header.count));
                self.next = header.end();
            } else {
                let finished = held.choose(&mut self.next, filter, most, &mut chosen);
                if !finished {
                    break;
                }
            }
            self.held.pop_front();
            if chosen.count == most || chosen.bytes >= limits::MAX_RESPONSE_BYTES {
                break;
            }
        }
        chosen
    }
}

impl Held {
    /// Takes records from this frame one by one; false if some are left because the response is
    /// full.
    fn choose(
        &mut self,
        next: &mut Offset,
        filter: &Filter,
        most: u64,
        chosen: &mut Chosen,
    ) -> bool {
        let records = self.frame.records();
        let rest = records.slice(self.position..);
        // Neighbours that are both chosen make one slice.
        let mut run = 0..0;
        let mut finished = true;
        for element in Records::new(&rest) {
            let (element, encoded) =
                element.expect("the frame's checksum was right, and the broker wrote it");
            let record = RecordView::parse(encoded)
                .expect("the frame's checksum was right, and the broker wrote it");
            let offset = Offset(
                record
                    .offset
                    .expect("the broker gave every stored record its offset"),
            );
            if offset >= *next && filter.matches(&record) {
                if chosen.count == most || !chosen.fits(run.len() + element.len()) {
                    finished = false;
                    break;
                }
                if run.end != element.start {
                    chosen.add(rest.slice(run.clone()), 0);
                    run = element.start..element.start;
                }
                run.end = element.end;
                chosen.count += 1;
            }
            *next = (*next).max(offset.plus(1));
            self.position = records.len() - rest.len() + element.end;
        }
        chosen.add(rest.slice(run), 0);
        if finished {
            *next = (*next).max(self.frame.header().end());
        }
        finished
    }
}

impl Chosen {
    /// Whether so many more bytes go into the response; one record always does.
    fn fits(&self, bytes: usize) -> bool {
        self.count == 0 || self.bytes + bytes <= limits::MAX_RESPONSE_BYTES
    }

    fn add(&mut self, slice: Bytes, count: u64) {
        if !slice.is_empty() {
            self.bytes += slice.len();
            self.slices.push(slice);
        }
        self.count += count;
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.types.is_empty()
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        let key = self.keys.is_empty()
            || record
                .key
                .is_some_and(|key| self.keys.iter().any(|wanted| wanted == key));
        key && (self.types.is_empty()
            || self.types.iter().any(|wanted| wanted == record.event_type))
    }
}
