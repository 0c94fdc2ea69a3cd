//! Values to encode: fixed ones for the golden files and any at all for property tests.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;

use crate::{
    proto::Record,
    storage::format::{
        change::Change,
        checkpoint::{Active, Checkpoint, Partition, Topic},
        entry::{Encoded, FileHeader, Item, Link},
        frame::{self, Frame},
        identity::Identity,
        segment_file::{self, IndexRow},
        topic_file::TopicFile,
    },
    types::{Durability, Offset, PartitionId, TopicId, TopicName, TopicSettings},
};

/// The topic of most samples.
pub(crate) const TOPIC: TopicId = TopicId(0x0123_4567_89ab_cdef);

/// Frames as the broker builds them: each record with its offset and append time.
pub(crate) fn frame_of(partition: PartitionId, base: Offset, append_time_ms: i64, records: &[Record]) -> Frame {
    frame_of_topic(TOPIC, partition, base, append_time_ms, records)
}

/// As [`frame_of`], of any topic.
pub(crate) fn frame_of_topic(
    topic: TopicId,
    partition: PartitionId,
    base: Offset,
    append_time_ms: i64,
    records: &[Record],
) -> Frame {
    let mut bytes = BytesMut::zeroed(frame::HEADER_BYTES);
    for (record, offset) in records.iter().zip(base.0..) {
        let stored = Record { offset: Some(offset), append_time_ms: Some(append_time_ms), ..record.clone() };
        bytes.put_u8(15 << 3 | 2);
        stored.encode_length_delimited(&mut bytes).expect("a BytesMut grows");
    }
    let count = u32::try_from(records.len()).expect("a few");
    let latest = records.iter().filter_map(|record| record.timestamp_ms).max();
    let header = frame::Header {
        topic,
        partition,
        count,
        base,
        append_time_ms,
        latest_timestamp_ms: latest.unwrap_or(append_time_ms),
        span: count,
    };
    Frame::seal(header, bytes)
}

/// A record with a value and a timestamp.
pub(crate) fn record(value: impl Into<Bytes>, timestamp_ms: i64) -> Record {
    Record { value: Some(value.into()), timestamp_ms: Some(timestamp_ms), ..Record::default() }
}

/// The bytes of an entry as they lie in the journal.
pub(crate) fn concat(encoded: &Encoded) -> Bytes {
    let mut bytes = encoded.head.clone();
    encoded.bodies.iter().for_each(|body| bytes.extend_from_slice(body));
    bytes.into()
}

/// The values of the golden files.
pub(super) mod golden {
    use super::*;
    use crate::proto::Header;

    pub(in super::super) fn settings() -> TopicSettings {
        TopicSettings {
            durability: Durability::Os,
            max_record_bytes: 2 << 20,
            segment_bytes: 64 << 20,
            segment_ms: 3_600_000,
        }
    }

    pub(in super::super) fn name() -> TopicName {
        TopicName::new("flights.2013-01").expect("a valid name")
    }

    pub(in super::super) fn frame() -> Frame {
        let full = Record {
            key: Some("N14228".into()),
            value: Some(r#"{"dep":"EWR"}"#.into()),
            r#type: "departed".into(),
            headers: vec![Header { name: "source".into(), value: "gate".into() }],
            timestamp_ms: Some(1_357_034_220_000),
            event_id: vec![1, 2, 3].into(),
            version: Some(7),
            ..Record::default()
        };
        let tombstone =
            Record { key: Some("N24211".into()), timestamp_ms: Some(1_357_034_100_000), ..Record::default() };
        frame_of(PartitionId(3), Offset(1000), 1_357_034_225_000, &[full, tombstone])
    }

    pub(in super::super) fn changes() -> [Change; 4] {
        [
            Change::Create { topic: TOPIC, name: name(), partitions: 6, settings: settings() },
            Change::Delete { topic: TOPIC },
            Change::Alter { topic: TOPIC, settings: TopicSettings::default() },
            Change::Trim { topic: TOPIC, partition: PartitionId(3), before: Offset(900) },
        ]
    }

    pub(in super::super) fn link() -> Link {
        Link { salt: 0xfeed_beef_0bad_cafe, sequence: 42, durable: 40, previous: 0x1234_5678 }
    }

    pub(in super::super) fn items() -> Vec<Item> {
        let changes = changes().into_iter().map(Item::Change);
        [Item::Frame(frame())].into_iter().chain(changes).collect()
    }

    pub(in super::super) fn file_header() -> FileHeader {
        FileHeader { number: 9, salt: link().salt }
    }

    pub(in super::super) fn segment_header() -> segment_file::Header {
        segment_file::Header {
            topic: TOPIC,
            partition: PartitionId(3),
            base: Offset(1000),
            first_append_time_ms: 1_357_034_225_000,
        }
    }

    pub(in super::super) fn index_rows() -> [IndexRow; 3] {
        [
            IndexRow { relative: 500, position: 66_000, latest_before_ms: 1_357_034_220_000 },
            IndexRow { relative: 990, position: 131_700, latest_before_ms: 1_357_034_220_000 },
            IndexRow { relative: 1_200, position: 150_000, latest_before_ms: 1_357_040_000_000 },
        ]
    }

    pub(in super::super) fn checkpoint() -> Checkpoint {
        let written = Partition {
            start: Offset(900),
            end: Offset(1002),
            last_append_time_ms: 1_357_034_225_000,
            active: Some(Active { base: Offset(1000), len: 260 }),
        };
        let topics = vec![
            Topic { id: TOPIC, name: name(), settings: settings(), partitions: vec![Partition::EMPTY, written] },
            Topic {
                id: TopicId(2),
                name: TopicName::new("empty").expect("a valid name"),
                settings: TopicSettings::default(),
                partitions: vec![],
            },
        ];
        Checkpoint { applied: 41, journal_file: 9, topics }
    }

    pub(in super::super) fn topic_file() -> TopicFile {
        TopicFile { id: TOPIC, name: name(), settings: settings(), starts: vec![Offset(0), Offset(900)] }
    }

    pub(in super::super) fn identity() -> Identity {
        Identity { id: 0x00c0_ffee_00c0_ffee }
    }
}

fn id() -> impl Strategy<Value = TopicId> {
    any::<u64>().prop_map(TopicId)
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset)
}

fn name() -> impl Strategy<Value = TopicName> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}".prop_map(|name| TopicName::new(&name).expect("the pattern is the rule"))
}

fn settings() -> impl Strategy<Value = TopicSettings> {
    let durability = prop_oneof![Just(Durability::Sync), Just(Durability::Os)];
    (durability, 1024u64..8 << 20, 65_536u64..1 << 30, 1_000u64..1 << 40).prop_map(
        |(durability, max_record_bytes, segment_bytes, segment_ms)| TopicSettings {
            durability,
            max_record_bytes,
            segment_bytes,
            segment_ms,
        },
    )
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
        records in vec(any_record(), 1..6),
    ) -> Frame {
        frame_of_topic(topic, PartitionId(partition), Offset(base), time, &records)
    }
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let create = (id(), name(), any::<u32>(), settings())
        .prop_map(|(topic, name, partitions, settings)| Change::Create { topic, name, partitions, settings });
    let trim = (id(), any::<u32>(), offset()).prop_map(|(topic, partition, before)| Change::Trim {
        topic,
        partition: PartitionId(partition),
        before,
    });
    prop_oneof![
        create,
        id().prop_map(|topic| Change::Delete { topic }),
        (id(), settings()).prop_map(|(topic, settings)| Change::Alter { topic, settings }),
        trim,
    ]
}

pub(super) fn any_items() -> impl Strategy<Value = Vec<Item>> {
    vec(prop_oneof![any_frame().prop_map(Item::Frame), any_change().prop_map(Item::Change)], 0..5)
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
    let active = option::of((0..u64::MAX, any::<u64>()).prop_map(|(base, len)| Active { base: Offset(base), len }));
    (offset(), offset(), any::<i64>(), active).prop_map(|(start, end, last_append_time_ms, active)| Partition {
        start,
        end,
        last_append_time_ms,
        active,
    })
}

pub(super) fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let topic = (id(), name(), settings(), vec(any_partition(), 0..4))
        .prop_map(|(id, name, settings, partitions)| Topic { id, name, settings, partitions });
    (any::<u64>(), any::<u64>(), vec(topic, 0..4)).prop_map(|(applied, journal_file, topics)| Checkpoint {
        applied,
        journal_file,
        topics,
    })
}

pub(super) fn any_topic_file() -> impl Strategy<Value = TopicFile> {
    (id(), name(), settings(), vec(offset(), 0..10)).prop_map(|(id, name, settings, starts)| TopicFile {
        id,
        name,
        settings,
        starts,
    })
}

prop_compose! {
    pub(super) fn any_segment_header()(
        topic in id(),
        partition in any::<u32>(),
        base in offset(),
        first_append_time_ms in any::<i64>(),
    ) -> segment_file::Header {
        segment_file::Header { topic, partition: PartitionId(partition), base, first_append_time_ms }
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
