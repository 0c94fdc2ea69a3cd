//! A broker on a simulated disk.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    broker::{
        Admission, Append, AppendBatch, Appended, Attempt, Broker, DescribeGroup, Error,
        FetchOffsets, FetchedOffset, Flow, Latest, Load, OpenError, Options, Pending, Read,
        ResponseLimit, Step, TopicFilter,
    },
    budget::{Name, Sizes},
    env::{
        Env, Random,
        sim::{SimClock, SimDisk, SimRandom},
    },
    types::{Offset, PartitionId, Position, RecordView, Records, Version, partition_of_key},
};

/// So small that a short workload uses all of it: journal files of 16 blocks, and memory for a few
/// segments, three quarters of which are shared by all.
pub(super) fn options() -> Options {
    Options {
        journal_file_bytes: 96 << 10,
        journal_files: 3,
        memory: Sizes::default().with(Name::Appends, 688 << 10),
        open_segments: 4,
        open_files: 2,
        disk_reserve_bytes: 0,
        delta_bytes: 1 << 10,
        // No scrubbing, so that tests count and fail only the operations that they caused.
        scrub_rate: 0,
        ..Options::new(PathBuf::from("/data"))
    }
}

/// The environment of a broker on this disk.
pub(super) fn env(disk: &SimDisk, clock: &SimClock, random: &SimRandom) -> Env {
    Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        random: Arc::new(random.clone()),
    }
}

/// Opens a broker without threads, with its own clock. Each start of a run needs another seed,
/// because salts must differ.
pub(super) fn open(disk: &SimDisk, seed: u64) -> Result<Broker, OpenError> {
    let clock = SimClock::new(1_700_000_000_000);
    Broker::open_stepped(env(disk, &clock, &SimRandom::new(seed)), options())
}

/// All committed offsets of a group.
pub(super) fn fetch_all(group: &str) -> FetchOffsets {
    FetchOffsets {
        group: group.to_owned(),
        topic: None,
        after: None,
        most: usize::MAX,
        among: TopicFilter::default(),
    }
}

/// A group with all of its partitions.
pub(super) fn describe_all(group: &str) -> DescribeGroup {
    DescribeGroup {
        group: group.to_owned(),
        after: None,
        most: usize::MAX,
        among: TopicFilter::default(),
    }
}

/// The committed offsets of a group that fit in one page.
pub(super) fn committed_by(broker: &Broker, group: &str) -> Result<Vec<FetchedOffset>, Error> {
    let (fetched, _) = broker.committed_offsets(&fetch_all(group))?;
    Ok(fetched)
}

impl Broker {
    /// Waits until a request of one batch is admitted, on a flow of its own.
    pub(super) async fn admit_alone(&self, bytes: usize) -> Result<Admission, Error> {
        let load = Load {
            bytes,
            batches: 1,
            records: 1,
        };
        self.admit(&Flow::default(), load).await
    }
}

/// A number below `bound`.
pub(super) fn below(random: &SimRandom, bound: u64) -> u64 {
    random.next_u64() % bound
}

/// A record without a key whose value is `id`, padded with a byte that depends on it.
pub(super) fn encode_record(id: u64, len: usize) -> Vec<u8> {
    encode(id, len, None)
}

/// Like [`encode_record`], but two of three records have one of a few keys that belong in the
/// partition.
pub(super) fn encode_keyed(id: u64, len: usize, partition: u32, partitions: u32) -> Vec<u8> {
    let key = (!id.is_multiple_of(3)).then(|| key_in(id % 7, partition, partitions));
    encode(id, len, key)
}

/// One of the keys that belong in a partition.
pub(super) fn key_in(which: u64, partition: u32, partitions: u32) -> Vec<u8> {
    let keys = (0u64..).map(|nth| format!("k{nth}").into_bytes());
    let mut keys = keys.filter(|key| partition_of_key(key, partitions) == PartitionId(partition));
    keys.nth(which as usize)
        .expect("there are keys for every partition")
}

fn encode(id: u64, len: usize, key: Option<Vec<u8>>) -> Vec<u8> {
    let mut value = id.to_le_bytes().to_vec();
    value.resize(len.max(8), (id % 251) as u8);
    encode_proto(&crate::proto::Record {
        key: key.map(Into::into),
        value: Some(value.into()),
        ..Default::default()
    })
}

/// A record in wire form.
pub(super) fn encode_proto(record: &crate::proto::Record) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::message::encode(crate::proto::wire::RECORDS_FIELD, record, &mut out);
    out
}

/// The id in a value that [`encode_record`] made.
pub(super) fn id_of(value: &[u8]) -> u64 {
    let (head, rest) = value
        .split_first_chunk::<8>()
        .expect("a value begins with its id");
    let id = u64::from_le_bytes(*head);
    assert!(
        rest.iter().all(|byte| u64::from(*byte) == id % 251),
        "the value of record {id} has changed"
    );
    id
}

/// An append to one partition of a topic.
pub(super) fn append_of(topic: &str, partition: Option<u32>, records: &[Vec<u8>]) -> Append {
    let batch = AppendBatch {
        topic_id: None,
        topic: topic.to_owned(),
        partition: partition.map(PartitionId),
        sequence: None,
        records: records.concat().into(),
    };
    Append {
        batches: vec![batch],
        ..Append::default()
    }
}

/// Creates a topic with the smallest segments.
pub(super) fn create(broker: &Broker, topic: &str, partitions: u32) {
    let settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
    let created = broker
        .create_topic(topic, partitions, &settings)
        .expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
}

/// Appends, and returns the answer.
pub(super) fn send(broker: &Broker, append: Append) -> Result<Appended, Error> {
    let bytes = append.batches.iter().map(|batch| batch.records.len()).sum();
    let admission = now(broker.admit_alone(bytes)).expect("there is memory")?;
    let pending = broker.append(append, admission)?;
    broker.commit_all();
    now(pending).expect("what was committed is answered")
}

/// The offset and id of every record of a partition, from its start.
pub(super) fn read_all(broker: &Broker, topic: &str, partition: PartitionId) -> Vec<(Offset, u64)> {
    read_whole(broker, topic, partition)
        .into_iter()
        .map(|found| (found.offset, found.id))
        .collect()
}

/// A record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: Offset,
    pub(super) id: u64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) version: Option<Version>,
}

/// All records of a partition from its start.
pub(super) fn read_whole(broker: &Broker, topic: &str, partition: PartitionId) -> Vec<Found> {
    let read = Read {
        topic: topic.to_owned(),
        partitions: vec![(partition, Some(Position::Earliest))],
        ..Read::default()
    };
    let mut reader = broker
        .read(read)
        .unwrap_or_else(|error| panic!("{topic}/{partition} cannot be read: {error}"));
    let mut found = Vec::new();
    loop {
        match reader
            .step()
            .unwrap_or_else(|error| panic!("{topic}/{partition} cannot be read on: {error}"))
        {
            Step::Batch(batch) => {
                for slice in &batch.records {
                    for record in Records::new(slice) {
                        let record =
                            RecordView::parse(record.expect("a record").1).expect("a record");
                        found.push(Found {
                            offset: Offset(record.offset.expect("the broker's field")),
                            id: id_of(record.value.expect("a value")),
                            key: record.key.map(<[u8]>::to_vec),
                            version: record.version.map(Version),
                        });
                    }
                }
            }
            Step::Wait(_) => panic!("a finite read waits"),
            Step::End => return found,
        }
    }
}

/// The result of a future if it is ready, without waiting.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// How often a broker without threads tries what the journal thread would retry for ever.
const TRIES: u32 = 1_000;

impl Broker {
    /// Commits what is queued, on this thread, as the journal thread does; queued requests are
    /// answered.
    pub(super) fn commit_all(&self) {
        if let Some(cause) = self.commit_queued(TRIES) {
            panic!("the journal does not go on: {cause}");
        }
    }

    /// Does on this thread what the other threads do when housekeeping is notified; with a
    /// checkpoint in any case, or only if one is due.
    pub(super) fn keep_house(&self, checkpoint: bool) {
        if checkpoint {
            self.shared.maintenance.housekeeping.ask_for_checkpoint();
        } else {
            self.shared.maintenance.housekeeping.notify();
        }
        self.step();
    }

    /// Does on this thread one round of deadlines, housekeeping and indexing, as far as each was
    /// notified, in the order in which they notify each other.
    pub(super) fn step(&self) {
        self.shared.on_deadline();
        if let Some(checkpoint_wanted) = self.shared.maintenance.housekeeping.take() {
            self.housekeeping_round(checkpoint_wanted);
        }
        if self.shared.maintenance.indexing.take().is_some() {
            self.indexing_round();
        }
        if self.shared.maintenance.freeing.take().is_some() {
            self.freeing_round();
        }
    }

    /// Appends; files are read on this thread.
    pub(super) fn append(
        &self,
        append: Append,
        admission: Admission,
    ) -> Result<Pending<Appended>, Error> {
        match self.try_append(append, admission)? {
            Attempt::Queued(pending) => Ok(pending),
            Attempt::Left(left) => self.append_left(left),
        }
    }

    /// The latest record of each of these entities, read to the end.
    pub(super) fn get_latest(&self, topic: &str, keys: &[Bytes]) -> Result<Vec<Latest>, Error> {
        let mut reader = self.read_latest(topic, keys, ResponseLimit::default())?;
        let mut latest = Vec::new();
        while let Some(next) = reader.step()? {
            latest.extend(next);
        }
        Ok(latest)
    }
}
