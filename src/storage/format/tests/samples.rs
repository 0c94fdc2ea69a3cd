//! Values to encode: fixed ones for the golden files, and arbitrary ones for property tests.

use std::{num::NonZeroU32, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;

use crate::{
    catalog::{
        Change, Erasure, KnownErasure, Token,
        groups::{
            self, Committed, Generation, GroupChange, Instance, Member, MemberId, Owned, Place,
        },
    },
    proto::Record,
    storage::format::{
        checkpoint::{Active, Checkpoint, Clock, JournalFiles, Partition, Producer, Topic},
        delta::{ChangedProducer, ChangedProducers, ChangedTopic, Delta, Description},
        entry::{Encoded, FileHeader, Item, Link},
        frame::{self, Batch, Draft, Frame},
        identity::Identity,
        retired::{self, Retired},
        segment_file::{self, IndexRow},
        sorted_table::{self, KeyHash},
        topic_file::TopicFile,
    },
    types::{
        GroupName, Offset, PartitionId, ProducerId, Sequence, StoredBatch, TopicId, TopicName,
        Version, limits,
    },
};

/// The topic of most samples.
pub(crate) const TOPIC: TopicId = TopicId(0x0123_4567_89ab_cdef);

/// Frames as the broker builds them: each record with its offset and append time.
pub(crate) fn frame_of(
    partition: PartitionId,
    base: Offset,
    append_time_ms: i64,
    records: &[Record],
) -> Frame {
    frame_of_topic(TOPIC, partition, base, append_time_ms, records)
}

/// As [`frame_of`], for any topic.
pub(crate) fn frame_of_topic(
    topic: TopicId,
    partition: PartitionId,
    base: Offset,
    append_time_ms: i64,
    records: &[Record],
) -> Frame {
    frame_of_batch(topic, partition, base, append_time_ms, None, records)
}

/// As [`frame_of_topic`], for a producer's batch.
pub(crate) fn frame_of_batch(
    topic: TopicId,
    partition: PartitionId,
    base: Offset,
    append_time_ms: i64,
    batch: Option<Batch>,
    records: &[Record],
) -> Frame {
    let mut bytes = BytesMut::new();
    for (record, offset) in records.iter().zip(base.0..) {
        let stored = Record {
            offset: Some(offset),
            append_time_ms: Some(append_time_ms),
            ..record.clone()
        };
        bytes.put_u8(15 << 3 | 2);
        stored
            .encode_length_delimited(&mut bytes)
            .expect("a BytesMut grows");
    }
    let count = u32::try_from(records.len()).expect("a few");
    let latest = records
        .iter()
        .filter_map(|record| record.timestamp_ms)
        .max();
    let header = frame::Header {
        topic,
        partition,
        count,
        base,
        append_time_ms,
        latest_timestamp_ms: latest.unwrap_or(append_time_ms),
        batch,
        span: count,
        tombstones_since_ms: None,
    };
    let mut draft = Draft::with_capacity(bytes.len());
    draft.put(&bytes);
    draft.seal(header)
}

/// A record with a value and a timestamp.
pub(crate) fn record(value: impl Into<Bytes>, timestamp_ms: i64) -> Record {
    Record {
        value: Some(value.into()),
        timestamp_ms: Some(timestamp_ms),
        ..Record::default()
    }
}

/// The bytes of an entry as they lie in the journal.
pub(crate) fn concat(encoded: &Encoded) -> Bytes {
    let mut bytes = encoded.head.clone();
    encoded
        .bodies
        .iter()
        .for_each(|body| bytes.extend_from_slice(body));
    bytes.into()
}

mod access_tokens;
pub(super) mod compacted;
pub(super) mod golden;
mod key_trims;
mod settings;

use settings::settings;

fn id() -> impl Strategy<Value = TopicId> {
    any::<u64>().prop_map(TopicId)
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset)
}

fn name() -> impl Strategy<Value = TopicName> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}"
        .prop_map(|name| TopicName::new(&name).expect("the pattern is the rule"))
}

prop_compose! {
    pub(crate) fn any_record()(
        key in option::of(vec(any::<u8>(), 1..20)),
        value in option::of(vec(any::<u8>(), 0..100)),
        timestamp_ms in option::of(any::<i64>()),
    ) -> Record {
        Record { key: key.map(Into::into), value: value.map(Into::into), timestamp_ms, ..Record::default() }
    }
}

prop_compose! {
    pub(super) fn any_frame()(
        topic in id(),
        partition in any::<u32>(),
        base in 0..u64::MAX / 2,
        time in any::<i64>(),
        batch in option::of(any_batch()),
        records in vec(any_record(), 1..6),
    ) -> Frame {
        frame_of_batch(topic, PartitionId(partition), Offset(base), time, batch, &records)
    }
}

prop_compose! {
    fn any_batch()(producer in 1..=u64::MAX, epoch in any::<u32>(), sequence in any::<u64>()) -> Batch {
        Batch { producer: ProducerId(producer), epoch, sequence }
    }
}

prop_compose! {
    fn any_erasure()(
        id in any::<u64>(),
        partition in any::<u32>(),
        token in any::<[u8; Token::BYTES]>(),
        end in offset(),
        through in any::<u64>(),
        requested_ms in any::<i64>(),
    ) -> Erasure {
        let (partition, through) = (PartitionId(partition), Version(through));
        Erasure { id, partition, token: Token(token), end, through, requested_ms }
    }
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let create = (id(), any::<u64>(), name(), any::<u32>(), settings()).prop_map(
        |(topic, seed, name, partitions, settings)| Change::Create {
            topic,
            seed,
            name,
            partitions,
            settings,
        },
    );
    let trim = (id(), any::<u32>(), offset()).prop_map(|(topic, partition, before)| Change::Trim {
        topic,
        partition: PartitionId(partition),
        before,
    });
    let open = (any::<u64>(), any::<u32>(), "\\PC{0,30}").prop_map(|(id, epoch, name)| {
        Change::OpenProducer {
            producer: ProducerId(id),
            epoch,
            name,
        }
    });
    prop_oneof![
        create,
        id().prop_map(|topic| Change::Delete { topic }),
        (id(), settings()).prop_map(|(topic, settings)| Change::Alter { topic, settings }),
        trim,
        open,
        any::<u64>().prop_map(|id| Change::ForgetProducer {
            producer: ProducerId(id)
        }),
        (id(), any_erasure()).prop_map(|(topic, erasure)| Change::Erase { topic, erasure }),
        any::<u64>().prop_map(|id| Change::ErasureComplete { id }),
        prop_oneof![key_trims::any_change(), access_tokens::any_change()],
        (id(), any::<u32>())
            .prop_map(|(topic, partitions)| Change::AddPartitions { topic, partitions }),
        (any_group_name(), any_group_change())
            .prop_map(|(group, change)| Change::Group { group, change }),
    ]
}

pub(super) fn any_items() -> impl Strategy<Value = Vec<Item>> {
    vec(
        prop_oneof![
            any_frame().prop_map(Item::Frame),
            any_change().prop_map(Item::Change)
        ],
        0..5,
    )
}

prop_compose! {
    pub(super) fn any_link()(
        salt in any::<u64>(),
        sequence in any::<u64>(),
        durable in any::<u64>(),
        previous in any::<u32>(),
    ) -> Link {
        Link { salt, sequence, durable, previous }
    }
}

fn any_partition() -> impl Strategy<Value = Partition> {
    let active = option::of((0..u64::MAX, any::<u64>()).prop_map(|(base, len)| Active {
        base: Offset(base),
        len,
    }));
    (offset(), offset(), any::<i64>(), active, any::<u64>()).prop_map(
        |(start, end, last_append_time_ms, active, retired)| Partition {
            start,
            end,
            last_append_time_ms,
            active,
            retired,
        },
    )
}

fn any_topic() -> impl Strategy<Value = Topic> {
    (
        id(),
        any::<u64>(),
        name(),
        settings(),
        vec(any_partition(), 0..4),
    )
        .prop_map(|(id, seed, name, settings, partitions)| Topic {
            id,
            seed,
            name,
            settings,
            partitions,
        })
}

prop_compose! {
    fn any_producer()(
        id in any::<u64>(),
        epoch in any::<u32>(),
        idle_ms in any::<u64>(),
        name in "\\PC{0,30}",
        sequences in vec(any_sequence(), 0..4),
    ) -> Producer {
        Producer { id: ProducerId(id), epoch, idle_ms, name, sequences }
    }
}

prop_compose! {
    fn any_sequence()(
        topic in id(),
        partition in any::<u32>(),
        next in any::<u64>(),
        stored in vec((offset(), any::<u32>(), any::<i64>()), 0..4),
    ) -> Sequence {
        let stored = stored.into_iter();
        let stored = stored.map(|(base, count, append_time_ms)| StoredBatch { base, count, append_time_ms });
        Sequence { topic, partition: PartitionId(partition), next, stored: stored.collect() }
    }
}

fn any_place() -> impl Strategy<Value = Place> {
    (id(), any::<u32>().prop_map(PartitionId))
}

fn any_group_name() -> impl Strategy<Value = GroupName> {
    "[^\\pC]{1,60}".prop_map(|name| GroupName::new(&name).expect("the pattern is the rule"))
}

prop_compose! {
    fn any_member()(
        id in any::<u64>(),
        name in "\\PC{0,30}",
        topics in vec(name(), 0..3),
        prefixes in vec("\\PC{0,10}", 0..3),
        times in (0..1u64 << 40, 0..1u64 << 40),
        client in "\\PC{0,30}",
        instance in option::of(any::<u64>()),
    ) -> Member {
        Member {
            id: MemberId(id),
            instance: Instance(instance.unwrap_or(id)),
            name: name.into(),
            topics: topics.into_iter().collect(),
            prefixes: prefixes.into_iter().map(Into::into).collect(),
            session: Duration::from_millis(times.0),
            drain: Duration::from_millis(times.1),
            client: client.into(),
        }
    }
}

prop_compose! {
    fn any_committed()(next in offset(), at_ms in any::<i64>(), metadata in vec(any::<u8>(), 0..9)) -> Committed {
        Committed { next, at_ms, metadata: metadata.into() }
    }
}

prop_compose! {
    pub(super) fn any_group_change()(
        generation in any::<u64>(),
        flags in any::<(bool, bool)>(),
        joined in vec(any_member(), 0..3),
        left in vec(any::<u64>().prop_map(MemberId), 0..3),
        owned in vec((any_place(), option::of(any::<(u64, u64, bool)>())), 0..4),
        offsets in vec((any_place(), any_committed()), 0..4),
        replay_until in vec((any_place(), offset()), 0..4),
        began_ms in option::of(any::<i64>()),
    ) -> GroupChange {
        let owned = owned.into_iter().map(|(place, owned)| {
            let owned = owned.map(|(owner, since, is_draining)| Owned {
                owner: MemberId(owner),
                since: Generation(since),
                is_draining,
            });
            (place, owned)
        });
        GroupChange {
            generation: Generation(generation),
            is_ephemeral: flags.0,
            joined,
            left,
            owned: owned.collect(),
            offsets,
            replay_until,
            began_ms,
            is_deleted: flags.1,
        }
    }
}

prop_compose! {
    fn any_changed_topic()(
        id in id(),
        description in option::of((any::<u64>(), name(), settings(), 0..=limits::MAX_PARTITIONS_PER_TOPIC)),
        partitions in vec((any::<u32>().prop_map(PartitionId), any_partition()), 0..4),
    ) -> ChangedTopic {
        let description = description
            .map(|(seed, name, settings, partitions)| Description { seed, name, settings, partitions });
        ChangedTopic { id, description, partitions }
    }
}

prop_compose! {
    fn any_changed_producers()(
        passed_ms in any::<u64>(),
        gone in vec(any::<u64>().prop_map(ProducerId), 0..4),
        changed in vec(
            (any::<u64>(), any::<u64>(), option::of((any::<u32>(), "\\PC{0,30}")), vec(any_sequence(), 0..4)),
            0..4,
        ),
    ) -> ChangedProducers {
        let changed = changed.into_iter().map(|(id, idle_ms, anew, sequences)| ChangedProducer {
            id: ProducerId(id),
            idle_ms,
            anew,
            sequences,
        });
        ChangedProducers { passed_ms, gone, changed: changed.collect() }
    }
}

prop_compose! {
    pub(super) fn any_delta()(
        ends in any::<(u64, u64)>(),
        clock in any::<(i64, [u8; 16], u64)>(),
        files in any::<(u64, u32, u32)>(),
        topics_gone in vec(id(), 0..4),
        topics in vec(any_changed_topic(), 0..4),
        producers in any_changed_producers(),
        erasures_gone in vec(any::<u64>(), 0..4),
        erasures in vec((id(), any::<bool>(), any_erasure()), 0..4),
        groups in vec((any_group_name(), any_group_change()), 0..4),
        key_trims_gone in vec(((id(), any::<u32>()), any::<[u8; 32]>()), 0..4),
        (key_trims, access_tokens) in (
            vec(key_trims::any_key_trim(), 0..4),
            option::of(vec(access_tokens::any_token(), 0..4)),
        ),
    ) -> Delta {
        let erasures = erasures.into_iter();
        let erasures = erasures.map(|(topic, complete, erasure)| KnownErasure { topic, complete, erasure });
        Delta {
            applied: ends.0,
            journal_file: ends.1,
            clock: Clock { now_ms: clock.0, boot: clock.1, since_boot_ms: clock.2 },
            journal: JournalFiles { newest: files.0, made: files.1, noted: files.2 },
            topics_gone,
            topics,
            producers,
            erasures_gone,
            erasures: erasures.collect(),
            groups,
            key_trims_gone: key_trims_gone
                .into_iter()
                .map(|((topic, partition), token)| ((topic, PartitionId(partition)), Token(token)))
                .collect(),
            key_trims,
            access_tokens,
        }
    }
}

prop_compose! {
    pub(super) fn any_checkpoint()(
        applied in any::<u64>(),
        journal_file in any::<u64>(),
        topics in vec(any_topic(), 0..4),
        producers in vec(any_producer(), 0..4),
        erasures in vec((id(), any::<bool>(), any_erasure()), 0..4),
        clock in any::<Option<(i64, [u8; 16], u64)>>(),
        files in any::<(u64, u32, u32)>(),
        directory in 1..u64::MAX,
        delta_files in option::of(1..u64::MAX),
        ended in any::<u64>(),
        groups in vec((any_group_name(), any_group_change()), 0..4),
        (key_trims, access_tokens) in (
            vec(key_trims::any_key_trim(), 0..4),
            vec(access_tokens::any_token(), 0..4),
        ),
    ) -> Checkpoint {
        let erasures = erasures.into_iter().map(|(topic, complete, erasure)| KnownErasure { topic, complete, erasure });
        let clock = clock.map(|(now_ms, boot, since_boot_ms)| Clock { now_ms, boot, since_boot_ms });
        let files = JournalFiles { newest: files.0, made: files.1, noted: files.2 };
        let journal = clock.map(|_| files).unwrap_or_default();
        let directory = clock.map(|_| Identity { id: directory });
        // The fields behind the time are stored only together with the time.
        let delta_files = clock.and(delta_files).unwrap_or_default();
        let mut producers = producers;
        if delta_files == 0 {
            let sequences = producers.iter_mut().flat_map(|producer| &mut producer.sequences);
            sequences.for_each(|sequence| sequence.stored.clear());
        }
        let erasures = erasures.collect();
        let mut known = groups::Snapshot::default();
        if delta_files > 0 {
            known.ended = Generation(ended);
            groups.iter().for_each(|(name, change)| known.apply(name, change));
        }
        let groups = known;
        let key_trims = if delta_files > 0 { key_trims } else { Vec::new() };
        let access_tokens = if delta_files > 0 { access_tokens } else { Vec::new() };
        Checkpoint {
            applied, journal_file, topics, producers, erasures, clock, journal, directory, delta_files, groups,
            key_trims, access_tokens,
        }
    }
}

prop_compose! {
    pub(super) fn any_topic_file()(
        id in id(),
        seed in any::<u64>(),
        name in name(),
        settings in settings(),
        starts in vec(offset(), 0..10),
        erasures in vec(any_erasure(), 0..4),
        key_trims in vec(key_trims::any_key_trim(), 0..4),
    ) -> TopicFile {
        let key_trims = key_trims.into_iter().map(|known| known.trim).collect();
        TopicFile { id, seed, name, settings, starts, erasures, key_trims }
    }
}

prop_compose! {
    pub(super) fn any_segment_header()(
        topic in id(),
        partition in any::<u32>(),
        base in offset(),
        first_append_time_ms in any::<i64>(),
        directory in any::<u64>(),
        codec in any::<u32>(),
        unpacked in any::<u64>(),
    ) -> segment_file::Header {
        let directory = Some(Identity { id: directory }).filter(|directory| directory.id > 0);
        let compressed = NonZeroU32::new(codec).map(|codec| segment_file::Compressed { codec, unpacked });
        let partition = PartitionId(partition);
        segment_file::Header { topic, partition, base, first_append_time_ms, directory, compressed }
    }
}

prop_compose! {
    pub(super) fn any_index_row()(
        relative in any::<u32>(),
        position in any::<u32>(),
        latest_before_ms in any::<i64>(),
    ) -> IndexRow {
        IndexRow { relative, position, latest_before_ms }
    }
}

prop_compose! {
    pub(super) fn any_table_header()(
        topic in id(),
        partition in any::<u32>(),
        (from, len) in (0..u64::MAX / 2, 1..u64::MAX / 2),
        (rows, hashes) in (0u64..1 << 39).prop_flat_map(|rows| (Just(rows), 0..=rows)),
        fence_bits in 0u32..=32,
        filter_blocks in 1u64..1 << 40,
        fingerprint in any::<u64>(),
        names in option::of((0u64..1 << 40, 0u64..1 << 50)),
    ) -> sorted_table::Header {
        let (partition, to) = (PartitionId(partition), from + len);
        let header = sorted_table::Header {
            topic, partition, from, to, rows, hashes, fence_bits, filter_blocks, fingerprint, names: None,
        };
        let behind = header.behind_rows();
        let names = names.map(|(pages, bytes)| sorted_table::Names { page: behind + pages, bytes });
        sorted_table::Header { names, ..header }
    }
}

prop_compose! {
    pub(super) fn any_retired_header()(
        topic in id(),
        partition in any::<u32>(),
        number in any::<u64>(),
        facts in any::<u64>(),
        filter_blocks in 1u64..1 << 40,
        blocks in 0u64..1 << 48,
        fence_pages in 1u64 << 40..1 << 48,
        fingerprint in any::<u64>(),
    ) -> retired::Header {
        let (partition, fence_at) = (PartitionId(partition), fence_pages * 4096);
        retired::Header { topic, partition, number, facts, filter_blocks, blocks, fence_at, fingerprint }
    }
}

pub(super) fn any_retired() -> impl Strategy<Value = Retired> {
    let batch = (
        any::<u64>(),
        any::<u32>(),
        offset(),
        any::<u32>(),
        any::<i64>(),
    )
        .prop_map(|(producer, epoch, base, count, append_time_ms)| {
            let producer = ProducerId(producer);
            retired::Identity::Batch {
                producer,
                epoch,
                base,
                count,
                append_time_ms,
            }
        });
    let identity = prop_oneof![
        vec(any::<u8>(), 0..50).prop_map(|key| retired::Identity::Entity { key: key.into() }),
        any::<[u8; 32]>().prop_map(|token| retired::Identity::Erased { token }),
        Just(retired::Identity::Unreadable),
        batch,
    ];
    (any::<u64>(), any::<u64>(), identity).prop_map(|(hash, version, identity)| Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity,
    })
}
