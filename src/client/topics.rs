//! Topics: create, delete, describe, list, alter, trim.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use tonic::{Response, Status};

use super::link::Link;
use super::{
    Error,
    status::{self, AtStake},
};
use crate::{
    proto::{self, topics_client::TopicsClient},
    types::{Offset, PartitionId},
};

/// Creates and administers topics; see [`Client::topics`](super::Client::topics). Every change is
/// durable when it is answered.
#[derive(Clone, Debug)]
pub struct Topics {
    calls: TopicsClient<Link>,
    timeout: Duration,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewTopic {
    name: String,
    partitions: u32,
    settings: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with one partition and default settings.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: 1,
            settings: BTreeMap::new(),
        }
    }

    /// How many partitions it will have: 1 to 10,000.
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions, ..self }
    }

    /// Sets a setting, for example `segment.bytes` to `64MiB`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: String,
    /// Its id: a topic that is created again under the same name has another one.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Every setting by name: its value, and whether that is the default.
    pub settings: BTreeMap<String, (String, bool)>,
    /// The longest that a record may live under these settings; `None` for ever.
    pub longest_life: Option<Duration>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub partition: PartitionId,
    /// The first offset that has not been trimmed.
    pub earliest: Offset,
    /// The offset that the next record will get.
    pub high_watermark: Offset,
    /// How many segments it has on disk.
    pub segments: u32,
    /// The size of its records, in segments and on their way there.
    pub bytes: u64,
    /// The size of its records without compression.
    pub uncompressed_bytes: u64,
    /// Why it could not be compressed when it was last tried.
    pub compression_problem: Option<String>,
    /// When compression is tried again, in milliseconds since 1970-01-01T00:00:00Z.
    pub compression_retry_ms: Option<i64>,
    /// How far it is compacted; `None` if its topic is not compacted.
    pub compaction: Option<Compaction>,
    /// How far its sealed segments were verified since the broker started; `None` if they are not
    /// verified.
    pub scrub: Option<Scrub>,
}

/// How far a partition's sealed segments were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// All sealed segments before this offset were verified.
    pub scrubbed_up_to: Offset,
    /// When all sealed segments had last been verified, in milliseconds since 1970-01-01T00:00:00Z.
    pub complete_ms: Option<i64>,
    /// The first 100 damaged ranges: offsets that cannot be read.
    pub damaged: Vec<Range<Offset>>,
}

/// How far a partition is compacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Before this offset no key has more records than `compaction.keep`.
    pub clean_up_to: Offset,
    /// When compaction last completed, in milliseconds since 1970-01-01T00:00:00Z.
    pub last_ms: Option<i64>,
    /// Why the last attempt did not complete, or left something.
    pub problem: Option<String>,
    /// When it is tried again, in milliseconds since 1970-01-01T00:00:00Z.
    pub retry_ms: Option<i64>,
}

/// What an alter or a trim would remove from a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The partition.
    pub partition: PartitionId,
    /// The offset that its log would start at.
    pub before: Offset,
    /// How many records would be removed.
    pub records: u64,
    /// The size of the segments that would be removed.
    pub bytes: u64,
    /// The groups that have not committed all of these records, with how many they would lose.
    pub groups: Vec<(String, u64)>,
}

/// Some topics of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPage {
    /// The topics, by name.
    pub topics: Vec<Topic>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl Topics {
    pub(super) fn new(calls: TopicsClient<Link>, timeout: Duration) -> Self {
        Self { calls, timeout }
    }

    /// Creates a topic.
    ///
    /// # Errors
    ///
    /// `TOPIC_EXISTS`, `INVALID_TOPIC_NAME`, `INVALID_PARTITION_COUNT`, `INVALID_SETTING`,
    /// `TOO_MANY_PARTITIONS`, `DISK_FULL`.
    pub async fn create(&self, topic: &NewTopic) -> Result<Topic, Error> {
        let NewTopic {
            name,
            partitions,
            settings,
        } = topic.clone();
        let request = proto::CreateTopicRequest {
            name,
            partitions,
            settings,
        };
        let answer = self
            .answer(AtStake::Change, self.calls.clone().create(request))
            .await?;
        Ok(answer.topic.unwrap_or_default().into())
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = proto::DeleteTopicRequest {
            name: name.to_owned(),
        };
        self.answer(AtStake::Change, self.calls.clone().delete(request))
            .await?;
        Ok(())
    }

    /// Describes a topic and its partitions, by number.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`.
    pub async fn describe(&self, name: &str) -> Result<(Topic, Vec<Partition>), Error> {
        let request = proto::DescribeTopicRequest {
            name: name.to_owned(),
        };
        let answer = self
            .answer(AtStake::Nothing, self.calls.clone().describe(request))
            .await?;
        let partitions = answer.partitions.into_iter().map(Partition::from).collect();
        Ok((answer.topic.unwrap_or_default().into(), partitions))
    }

    /// Lists all topics.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list(&self) -> Result<Vec<Topic>, Error> {
        let mut topics: Vec<Topic> = Vec::new();
        loop {
            let after = topics
                .last()
                .map(|topic| topic.name.clone())
                .unwrap_or_default();
            let page = self.list_page("", &after, 0).await?;
            topics.extend(page.topics);
            if !page.more {
                return Ok(topics);
            }
        }
    }

    /// Lists at most `limit` topics (0 for 1,000) whose names start with `prefix` and sort behind
    /// `after`.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list_page(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<TopicPage, Error> {
        let request = proto::ListTopicsRequest {
            prefix: prefix.to_owned(),
            page_size: limit,
            after: after.to_owned(),
        };
        let answer = self
            .answer(AtStake::Nothing, self.calls.clone().list(request))
            .await?;
        Ok(TopicPage {
            topics: answer.topics.into_iter().map(Topic::from).collect(),
            more: answer.more,
        })
    }

    /// Changes settings of a topic: sets those in `set`, and resets those in `reset` to their
    /// defaults; all or none.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `INVALID_SETTING`.
    pub async fn alter(
        &self,
        name: &str,
        set: &[(&str, &str)],
        reset: &[&str],
    ) -> Result<Topic, Error> {
        let request = alter_request(name, set, reset);
        let answer = self
            .answer(AtStake::Change, self.calls.clone().alter(request))
            .await?;
        Ok(answer.topic.unwrap_or_default().into())
    }

    /// What [`alter`](Self::alter) would remove at once, for each partition that would lose
    /// anything. Nothing is changed.
    ///
    /// # Errors
    ///
    /// As `alter`.
    pub async fn preview_alter(
        &self,
        name: &str,
        set: &[(&str, &str)],
        reset: &[&str],
    ) -> Result<Vec<Removal>, Error> {
        let request = proto::AlterTopicRequest {
            dry_run: true,
            ..alter_request(name, set, reset)
        };
        let answer = self
            .answer(AtStake::Nothing, self.calls.clone().alter(request))
            .await?;
        Ok(answer.would_remove.into_iter().map(Removal::from).collect())
    }

    /// What [`trim`](Self::trim) would remove; nothing is changed.
    ///
    /// # Errors
    ///
    /// As `trim`.
    pub async fn preview_trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Removal, Error> {
        self.ask_trim(topic, partition, before, false).await
    }

    /// What [`force_trim`](Self::force_trim) would remove; nothing is changed.
    ///
    /// # Errors
    ///
    /// As `force_trim`.
    pub async fn preview_force_trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Removal, Error> {
        self.ask_trim(topic, partition, before, true).await
    }

    async fn ask_trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
        force: bool,
    ) -> Result<Removal, Error> {
        let request = proto::TrimRequest {
            dry_run: true,
            force,
            ..trim_request(topic, partition, before)
        };
        let answer = self
            .answer(AtStake::Nothing, self.calls.clone().trim(request))
            .await?;
        Ok(answer.would_remove.unwrap_or_default().into())
    }

    /// Raises the number of partitions of a topic with `keys=plain` to this number.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `VERSIONED_TOPIC`, `INVALID_PARTITION_COUNT`, `TOO_MANY_PARTITIONS`.
    pub async fn add_partitions(&self, name: &str, partitions: u32) -> Result<Topic, Error> {
        let request = proto::AddPartitionsRequest {
            topic: name.to_owned(),
            partitions,
            topic_id: String::new(),
        };
        let answer = self
            .answer(AtStake::Change, self.calls.clone().add_partitions(request))
            .await?;
        Ok(answer.topic.unwrap_or_default().into())
    }

    /// Deletes the records of a partition before an offset. Returns the partition's new earliest
    /// offset.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, [`Error::OffsetOutOfRange`] above the high watermark,
    /// `RETENTION_HELD` if a group has not committed some of the records.
    pub async fn trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Offset, Error> {
        self.send_trim(topic, partition, before, false).await
    }

    /// Deletes the records of a partition before an offset, even if `retention.hold` keeps some for
    /// a group that has not committed them. Returns the partition's new earliest offset.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, [`Error::OffsetOutOfRange`] above the high watermark.
    pub async fn force_trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Offset, Error> {
        self.send_trim(topic, partition, before, true).await
    }

    /// Starts to compact all partitions of a topic, including their active segments.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `NOT_COMPACTED` if its `cleanup.policy` is `delete`.
    pub async fn compact(&self, topic: &str) -> Result<(), Error> {
        let request = compact_request(topic, false);
        self.answer(AtStake::Nothing, self.calls.clone().compact(request))
            .await?;
        Ok(())
    }

    /// As [`compact`](Self::compact), but waits until it is done, which may take as long as reading
    /// the whole topic. [`describe`](Self::describe) tells what could not be compacted.
    ///
    /// # Errors
    ///
    /// As [`compact`](Self::compact).
    pub async fn compact_and_wait(&self, topic: &str) -> Result<(), Error> {
        let request = compact_request(topic, true);
        status::answer(
            Duration::MAX,
            AtStake::Nothing,
            self.calls.clone().compact(request),
        )
        .await?;
        Ok(())
    }

    async fn send_trim(
        &self,
        topic: &str,
        partition: PartitionId,
        before: Offset,
        force: bool,
    ) -> Result<Offset, Error> {
        let request = proto::TrimRequest {
            force,
            ..trim_request(topic, partition, before)
        };
        let answer = self
            .answer(AtStake::Change, self.calls.clone().trim(request))
            .await?;
        Ok(Offset(answer.earliest))
    }

    async fn answer<T>(
        &self,
        at_stake: AtStake,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        status::answer(self.timeout, at_stake, call).await
    }
}

fn alter_request(name: &str, set: &[(&str, &str)], reset: &[&str]) -> proto::AlterTopicRequest {
    let set = set.iter();
    proto::AlterTopicRequest {
        name: name.to_owned(),
        set: set
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        reset: reset.iter().map(|name| (*name).to_owned()).collect(),
        dry_run: false,
    }
}

fn compact_request(topic: &str, wait: bool) -> proto::CompactRequest {
    proto::CompactRequest {
        topic: topic.to_owned(),
        wait,
    }
}

fn trim_request(topic: &str, partition: PartitionId, before: Offset) -> proto::TrimRequest {
    proto::TrimRequest {
        topic: topic.to_owned(),
        partition: partition.0,
        before_offset: before.0,
        ..proto::TrimRequest::default()
    }
}

impl From<proto::Removal> for Removal {
    fn from(removal: proto::Removal) -> Self {
        let groups = removal.groups.into_iter();
        Self {
            partition: PartitionId(removal.partition),
            before: Offset(removal.before_offset),
            records: removal.records,
            bytes: removal.bytes,
            groups: groups.map(|loss| (loss.group, loss.records)).collect(),
        }
    }
}

impl From<proto::Topic> for Topic {
    fn from(topic: proto::Topic) -> Self {
        let settings = topic
            .settings
            .into_iter()
            .map(|setting| (setting.name, (setting.value, setting.is_default)));
        Self {
            name: topic.name,
            id: topic.id,
            partitions: topic.partitions,
            settings: settings.collect(),
            longest_life: topic.longest_life_ms.map(Duration::from_millis),
        }
    }
}

impl From<proto::Partition> for Partition {
    fn from(partition: proto::Partition) -> Self {
        Self {
            partition: PartitionId(partition.partition),
            earliest: Offset(partition.earliest),
            high_watermark: Offset(partition.high_watermark),
            segments: partition.segments,
            bytes: partition.bytes,
            uncompressed_bytes: partition.uncompressed_bytes,
            compression_problem: Some(partition.compression_problem)
                .filter(|problem| !problem.is_empty()),
            compression_retry_ms: partition.compression_retry_ms,
            compaction: partition.compaction.map(Compaction::from),
            scrub: partition.scrub.map(Scrub::from),
        }
    }
}

impl From<proto::Compaction> for Compaction {
    fn from(compaction: proto::Compaction) -> Self {
        Self {
            clean_up_to: Offset(compaction.clean_up_to),
            last_ms: compaction.last_ms,
            problem: Some(compaction.problem).filter(|problem| !problem.is_empty()),
            retry_ms: compaction.retry_ms,
        }
    }
}

impl From<proto::Scrub> for Scrub {
    fn from(scrub: proto::Scrub) -> Self {
        let mut damaged = Vec::with_capacity(scrub.damaged.len());
        for range in scrub.damaged {
            damaged.push(Offset(range.from_offset)..Offset(range.to_offset));
        }
        Self {
            scrubbed_up_to: Offset(scrub.scrubbed_up_to),
            complete_ms: scrub.complete_ms,
            damaged,
        }
    }
}
