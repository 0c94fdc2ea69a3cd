//! Deltas: a file that grows by what has changed since a checkpoint, one piece at a time.
//!
//! ```text
//! head of the file
//!  0  8 bytes "TFRLDELT"
//!  8  u32  version
//! 12  u32  checksum of the 16 bytes behind it
//! 16  u64  number of the file, which the checkpoint names
//! 24  u64  id of the data directory (0: unknown)
//!
//! delta
//!  0  u32  length of what is behind the checksum
//!  4  u32  checksum of the file's number, the delta's index in the file from 0 on (u64), the length and the rest
//!  8  u64  applied, u64 journal file: as in the checkpoint
//!     44 bytes: time, start of the machine, time since that; 16 bytes of the journal's files: as in the checkpoint
//!     u64  milliseconds that have passed for producers since the checkpoint or the delta before
//!     u32  topics that are gone, then of each: u64 id; their sequences are gone, too
//!     u32  topics that have changed, then of each: u64 id, u32 1 if it is described: u64 seed, string name, settings,
//!          u32 partitions; u32 partitions that have changed, then of each: u32 number, 48 bytes as in the checkpoint
//!     u32  producers that are gone, then of each: u64 id
//!     u32  producers that have changed, then of each: u64 id, u64 idle milliseconds, u32 1 if it begins anew: u32
//!          epoch, string name, no sequences; u32 sequences that have changed, then of each: as in the checkpoint, and
//!          the batches that came since
//!     u32  erasures that are forgotten, then of each: u64 id
//!     u32  erasures that have changed, then of each: as in the checkpoint
//!     u32  changes of groups, in order, then of each: string name, a change (`group.rs`); it and what follows are
//!          missing where there are none
//!     u32  trims of entities that are gone, then of each: u64 topic, u32 partition, 32 bytes token
//!     u32  trims of entities that have changed, then of each: as in the checkpoint; both and what follows are missing
//!          where there are none
//!     u32  access tokens that there are now, then each as in the checkpoint; missing where these have not changed
//! ```
//!
//! A sound file ends with a whole delta. One that does not is either damaged or was cut off by a
//! crash while its last delta was written; its copy tells which (`storage/checkpoint`).

use std::collections::BTreeMap;

use super::{
    VERSION,
    access_token::{put_access_tokens, take_access_tokens},
    change::{put_settings, take_settings},
    checkpoint::{
        Checkpoint, Clock, JournalFiles, PARTITION_BYTES, Partition, Topic, put_clock,
        put_erasures, put_journal_files, put_partition, put_sequence, put_stored, take_clock,
        take_erasures, take_journal_files, take_partition, take_sequence, take_stored,
    },
    crc32,
    fields::{Fields, put_count, put_string},
    group::{MIN_GROUP_BYTES, put_group, take_group},
    identity::Identity,
    key_trim::{put_key_trims, take_key_trims},
};
use crate::{
    catalog::{
        AccessToken, KnownErasure, KnownKeyTrim, Token,
        groups::{GroupChange, Place},
    },
    types::{
        GroupName, PartitionId, ProducerId, Sequence, TopicId, TopicName, TopicSettings, limits,
    },
};

const MAGIC: [u8; 8] = *b"TFRLDELT";
const DELTA_HEAD_BYTES: usize = 8;
const MIN_TOPIC_BYTES: usize = 16;
const MIN_PRODUCER_BYTES: usize = 24;
const MIN_SEQUENCE_BYTES: usize = 24;
const TRIMMED_KEY_BYTES: usize = 12 + Token::BYTES;

/// The head of a file of deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the file, which the checkpoint before the deltas names.
    pub(crate) number: u64,
    pub(crate) directory: Option<Identity>,
}

impl Head {
    /// The size of an encoded head.
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = self.number.to_le_bytes().to_vec();
        rest.extend_from_slice(&Identity::to_field(self.directory));
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&rest]).to_le_bytes();
        [&MAGIC[..], &version, &checksum, &rest].concat()
    }

    /// Reads the head at the front of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let (version, checksum) = (fields.u32()?, fields.u32()?);
        let rest: [u8; 16] = fields.array()?;
        if magic != MAGIC || version != VERSION || crc32(&[&rest]) != checksum {
            return None;
        }
        let mut fields = Fields(&rest);
        Some(Self {
            number: fields.u64()?,
            directory: Identity::of_field(fields.u64()?),
        })
    }
}

/// What has changed since the checkpoint and the deltas before this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// See [`Checkpoint`](super::checkpoint::Checkpoint).
    pub(crate) applied: u64,
    pub(crate) journal_file: u64,
    pub(crate) clock: Clock,
    pub(crate) journal: JournalFiles,
    /// Topics that are gone, and with them the sequences of all producers in these topics.
    pub(crate) topics_gone: Vec<TopicId>,
    pub(crate) topics: Vec<ChangedTopic>,
    pub(crate) producers: ChangedProducers,
    /// Erasures that are forgotten, by id.
    pub(crate) erasures_gone: Vec<u64>,
    pub(crate) erasures: Vec<KnownErasure>,
    /// Changes of groups, in order. They do not list topics that are gone, which are gone from all
    /// groups too.
    pub(crate) groups: Vec<(GroupName, GroupChange)>,
    /// Trims of entities that are gone, by the partition and token of the entity.
    pub(crate) key_trims_gone: Vec<(Place, Token)>,
    pub(crate) key_trims: Vec<KnownKeyTrim>,
    /// All access tokens there are, if any has changed.
    pub(crate) access_tokens: Option<Vec<AccessToken>>,
}

/// A topic that is new, or of which something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangedTopic {
    pub(crate) id: TopicId,
    /// The topic's description, if it is new or has changed.
    pub(crate) description: Option<Description>,
    pub(crate) partitions: Vec<(PartitionId, Partition)>,
}

/// A topic without the state of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) seed: u64,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    /// How many partitions it has; those not listed as changed are as before, or empty if new.
    pub(crate) partitions: u32,
}

/// What has changed of producers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangedProducers {
    /// How much longer all producers have been idle that are not listed below.
    pub(crate) passed_ms: u64,
    pub(crate) gone: Vec<ProducerId>,
    pub(crate) changed: Vec<ChangedProducer>,
}

/// A producer that is new, or has done something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangedProducer {
    pub(crate) id: ProducerId,
    pub(crate) idle_ms: u64,
    /// Its epoch and name, if it is new or has a new epoch. Its earlier sequences are gone then.
    pub(crate) anew: Option<(u32, String)>,
    /// The sequences that have changed, each with the batches that came since.
    pub(crate) sequences: Vec<Sequence>,
}

impl Delta {
    /// Compares two checkpoints. The changes of producers and groups are passed in, and so are
    /// topics that were deleted in between; all else is found by comparing. Both checkpoints must
    /// have a time.
    pub(crate) fn between(
        before: &Checkpoint,
        now: &Checkpoint,
        producers: ChangedProducers,
        groups: Vec<(GroupName, GroupChange)>,
        mut topics_gone: Vec<TopicId>,
    ) -> Self {
        let mut known: BTreeMap<TopicId, &Topic> = BTreeMap::new();
        for topic in &before.topics {
            known.insert(topic.id, topic);
        }
        let mut topics = Vec::new();
        for topic in &now.topics {
            topics.extend(ChangedTopic::between(known.remove(&topic.id), topic));
        }
        topics_gone.extend(known.into_keys());
        topics_gone.sort_unstable();
        topics_gone.dedup();
        let mut known: BTreeMap<u64, &KnownErasure> = BTreeMap::new();
        for erasure in &before.erasures {
            known.insert(erasure.erasure.id, erasure);
        }
        let mut erasures = Vec::new();
        for erasure in &now.erasures {
            if known.remove(&erasure.erasure.id) != Some(erasure) {
                erasures.push(erasure.clone());
            }
        }
        let (key_trims_gone, key_trims) = changed_key_trims(&before.key_trims, &now.key_trims);
        let has_new_tokens = before.access_tokens != now.access_tokens;
        Self {
            applied: now.applied,
            journal_file: now.journal_file,
            clock: now.clock.unwrap_or_default(),
            journal: now.journal,
            topics_gone,
            topics,
            producers,
            erasures_gone: known.into_keys().collect(),
            erasures,
            groups,
            key_trims_gone,
            key_trims,
            access_tokens: has_new_tokens.then(|| now.access_tokens.clone()),
        }
    }

    /// Encodes this as delta `index` of file `number`.
    pub(crate) fn encode(&self, number: u64, index: u64) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.applied.to_le_bytes());
        rest.extend_from_slice(&self.journal_file.to_le_bytes());
        put_clock(&mut rest, &self.clock);
        put_journal_files(&mut rest, &self.journal);
        rest.extend_from_slice(&self.producers.passed_ms.to_le_bytes());
        put_numbers(&mut rest, self.topics_gone.iter().map(|id| id.0));
        put_count(&mut rest, self.topics.len());
        for topic in &self.topics {
            put_topic(&mut rest, topic);
        }
        put_numbers(&mut rest, self.producers.gone.iter().map(|id| id.0));
        put_count(&mut rest, self.producers.changed.len());
        for producer in &self.producers.changed {
            put_producer(&mut rest, producer);
        }
        put_numbers(&mut rest, self.erasures_gone.iter().copied());
        put_erasures(&mut rest, &self.erasures);
        let has_key_trims = self.access_tokens.is_some()
            || !self.key_trims_gone.is_empty()
            || !self.key_trims.is_empty();
        if !self.groups.is_empty() || has_key_trims {
            put_count(&mut rest, self.groups.len());
        }
        for (name, change) in &self.groups {
            put_group(&mut rest, name, change);
        }
        if has_key_trims {
            put_count(&mut rest, self.key_trims_gone.len());
            for ((topic, partition), token) in &self.key_trims_gone {
                rest.extend_from_slice(&topic.0.to_le_bytes());
                rest.extend_from_slice(&partition.0.to_le_bytes());
                rest.extend_from_slice(&token.0);
            }
            put_key_trims(&mut rest, &self.key_trims);
        }
        if let Some(tokens) = &self.access_tokens {
            put_access_tokens(&mut rest, tokens);
        }
        let length = u32::try_from(rest.len()).expect("what is remembered is far below 4 GiB");
        let length = length.to_le_bytes();
        let checksum = checksum(number, index, &length, &rest);
        [&length[..], &checksum.to_le_bytes(), &rest].concat()
    }

    /// Takes delta `index` of file `number` from the front of `bytes`, and moves `bytes` behind it;
    /// `None` if no whole one is there.
    pub(crate) fn take(bytes: &mut &[u8], number: u64, index: u64) -> Option<Self> {
        let mut fields = Fields(bytes);
        let length: [u8; 4] = fields.array()?;
        let expected = fields.u32()?;
        let len = usize::try_from(u32::from_le_bytes(length)).ok()?;
        let rest = fields.bytes(len)?;
        if checksum(number, index, &length, rest) != expected {
            return None;
        }
        let delta = Self::decode(rest)?;
        *bytes = &bytes[DELTA_HEAD_BYTES + len..];
        Some(delta)
    }

    fn decode(rest: &[u8]) -> Option<Self> {
        let mut fields = Fields(rest);
        let (applied, journal_file) = (fields.u64()?, fields.u64()?);
        let clock = take_clock(&mut fields)?;
        let journal = take_journal_files(&mut fields)?;
        let passed_ms = fields.u64()?;
        let topics_gone = take_numbers(&mut fields)?.map(TopicId).collect();
        let count = fields.count(MIN_TOPIC_BYTES)?;
        let topics = (0..count)
            .map(|_| take_topic(&mut fields))
            .collect::<Option<_>>()?;
        let gone = take_numbers(&mut fields)?.map(ProducerId).collect();
        let count = fields.count(MIN_PRODUCER_BYTES)?;
        let changed = (0..count)
            .map(|_| take_producer(&mut fields))
            .collect::<Option<_>>()?;
        let erasures_gone = take_numbers(&mut fields)?.collect();
        let erasures = take_erasures(&mut fields)?;
        let mut groups = Vec::new();
        if !fields.is_empty() {
            for _ in 0..fields.count(MIN_GROUP_BYTES)? {
                groups.push(take_group(&mut fields)?);
            }
        }
        let (mut key_trims_gone, mut key_trims) = (Vec::new(), Vec::new());
        if !fields.is_empty() {
            for _ in 0..fields.count(TRIMMED_KEY_BYTES)? {
                let place = (TopicId(fields.u64()?), PartitionId(fields.u32()?));
                key_trims_gone.push((place, Token(fields.array()?)));
            }
            key_trims = take_key_trims(&mut fields)?;
        }
        let mut access_tokens = None;
        if !fields.is_empty() {
            access_tokens = Some(take_access_tokens(&mut fields)?);
        }
        fields.is_empty().then_some(Self {
            applied,
            journal_file,
            clock,
            journal,
            topics_gone,
            topics,
            producers: ChangedProducers {
                passed_ms,
                gone,
                changed,
            },
            erasures_gone,
            erasures,
            groups,
            key_trims_gone,
            key_trims,
            access_tokens,
        })
    }
}

/// The trims of entities that are gone, and those that are new or go further.
fn changed_key_trims(
    before: &[KnownKeyTrim],
    now: &[KnownKeyTrim],
) -> (Vec<(Place, Token)>, Vec<KnownKeyTrim>) {
    let mut known: BTreeMap<(Place, Token), &KnownKeyTrim> = BTreeMap::new();
    for trim in before {
        known.insert(trim.of(), trim);
    }
    let mut changed = Vec::new();
    for trim in now {
        if known.remove(&trim.of()) != Some(trim) {
            changed.push(*trim);
        }
    }
    (known.into_keys().collect(), changed)
}

impl ChangedTopic {
    /// A topic of which nothing has changed.
    pub(crate) fn of(id: TopicId) -> Self {
        Self {
            id,
            description: None,
            partitions: Vec::new(),
        }
    }

    /// The state of a partition, if that has changed.
    pub(crate) fn state_of(&self, partition: PartitionId) -> Option<Partition> {
        let mut partitions = self.partitions.iter();
        partitions
            .find(|(id, _)| *id == partition)
            .map(|(_, state)| *state)
    }

    /// What has changed of a topic; `None` if nothing has.
    fn between(before: Option<&Topic>, now: &Topic) -> Option<Self> {
        let description = Description {
            seed: now.seed,
            name: now.name.clone(),
            settings: now.settings.clone(),
            partitions: u32::try_from(now.partitions.len()).unwrap_or(u32::MAX),
        };
        let is_described = before.is_some_and(|before| {
            before.partitions.len() == now.partitions.len()
                && (before.seed, &before.name, &before.settings)
                    == (now.seed, &now.name, &now.settings)
        });
        let mut partitions = Vec::new();
        for (number, partition) in (0..).map(PartitionId).zip(&now.partitions) {
            let at = usize::try_from(number.0).unwrap_or(usize::MAX);
            let known = before.and_then(|before| before.partitions.get(at));
            if *known.unwrap_or(&Partition::EMPTY) != *partition {
                partitions.push((number, *partition));
            }
        }
        let changed = Self {
            id: now.id,
            description: (!is_described).then_some(description),
            partitions,
        };
        (!is_described || !changed.partitions.is_empty()).then_some(changed)
    }
}

fn checksum(number: u64, index: u64, length: &[u8; 4], rest: &[u8]) -> u32 {
    crc32(&[&number.to_le_bytes(), &index.to_le_bytes(), length, rest])
}

fn put_topic(out: &mut Vec<u8>, topic: &ChangedTopic) {
    out.extend_from_slice(&topic.id.0.to_le_bytes());
    out.extend_from_slice(&u32::from(topic.description.is_some()).to_le_bytes());
    if let Some(description) = &topic.description {
        out.extend_from_slice(&description.seed.to_le_bytes());
        put_string(out, description.name.as_str());
        put_settings(out, &description.settings);
        out.extend_from_slice(&description.partitions.to_le_bytes());
    }
    put_count(out, topic.partitions.len());
    for (number, partition) in &topic.partitions {
        out.extend_from_slice(&number.0.to_le_bytes());
        put_partition(out, partition);
    }
}

fn take_topic(fields: &mut Fields<'_>) -> Option<ChangedTopic> {
    let id = TopicId(fields.u64()?);
    let description = match fields.u32()? {
        0 => None,
        _ => Some(Description {
            seed: fields.u64()?,
            name: TopicName::new(fields.string()?).ok()?,
            settings: take_settings(fields)?,
            partitions: fields
                .u32()
                .filter(|partitions| *partitions <= limits::MAX_PARTITIONS_PER_TOPIC)?,
        }),
    };
    let count = fields.count(4 + PARTITION_BYTES)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push((PartitionId(fields.u32()?), take_partition(fields)?));
    }
    Some(ChangedTopic {
        id,
        description,
        partitions,
    })
}

fn put_producer(out: &mut Vec<u8>, producer: &ChangedProducer) {
    out.extend_from_slice(&producer.id.0.to_le_bytes());
    out.extend_from_slice(&producer.idle_ms.to_le_bytes());
    out.extend_from_slice(&u32::from(producer.anew.is_some()).to_le_bytes());
    if let Some((epoch, name)) = &producer.anew {
        out.extend_from_slice(&epoch.to_le_bytes());
        put_string(out, name);
    }
    put_count(out, producer.sequences.len());
    for sequence in &producer.sequences {
        put_sequence(out, sequence);
        put_stored(out, &sequence.stored);
    }
}

fn take_producer(fields: &mut Fields<'_>) -> Option<ChangedProducer> {
    let (id, idle_ms) = (ProducerId(fields.u64()?), fields.u64()?);
    let anew = match fields.u32()? {
        0 => None,
        _ => Some((fields.u32()?, fields.string()?.to_owned())),
    };
    let count = fields.count(MIN_SEQUENCE_BYTES)?;
    let mut sequences = Vec::with_capacity(count);
    for _ in 0..count {
        let mut sequence = take_sequence(fields)?;
        sequence.stored = take_stored(fields)?;
        sequences.push(sequence);
    }
    Some(ChangedProducer {
        id,
        idle_ms,
        anew,
        sequences,
    })
}

fn put_numbers(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = u64>) {
    put_count(out, numbers.len());
    numbers.for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn take_numbers(fields: &mut Fields<'_>) -> Option<impl Iterator<Item = u64>> {
    let count = fields.count(8)?;
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(fields.u64()?);
    }
    Some(numbers.into_iter())
}
