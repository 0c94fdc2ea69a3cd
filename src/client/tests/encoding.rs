//! The hand-written encoding equals the generated messages' encoding.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;

use crate::{
    client::{Append, Batch, Record},
    proto::{self, condition::About, key_condition::State},
    types::{Offset, PartitionId, RecordView, Records, Version},
};

/// The generated form of `AppendBatch`, which the crate itself does not use.
#[derive(Clone, PartialEq, Message)]
struct DecodedBatch {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(uint32, optional, tag = "2")]
    partition: Option<u32>,
    #[prost(message, repeated, tag = "15")]
    records: Vec<proto::Record>,
}

fn generated() -> impl Strategy<Value = proto::Record> {
    let bytes = |max| vec(any::<u8>(), 0..max).prop_map(Bytes::from);
    let header =
        ("[a-z]{1,20}", bytes(300)).prop_map(|(name, value)| proto::Header { name, value });
    let fields = (
        option::of(bytes(300)),
        option::of(bytes(20_000)),
        ".{0,40}",
        vec(header, 0..4),
        option::of(any::<i64>()),
        bytes(64),
    );
    fields.prop_map(
        |(key, value, r#type, headers, timestamp_ms, event_id)| proto::Record {
            key,
            value,
            r#type,
            headers,
            timestamp_ms,
            event_id,
            ..proto::Record::default()
        },
    )
}

fn ours(record: &proto::Record) -> Record<'_> {
    let mut ours = if record.value.is_some() {
        Record::new()
    } else {
        Record::default()
    };
    if let Some(key) = &record.key {
        ours = ours.key(key);
    }
    if let Some(value) = &record.value {
        ours = ours.value(value);
    }
    if let Some(timestamp) = record.timestamp_ms {
        ours = ours.timestamp_ms(timestamp);
    }
    for header in &record.headers {
        ours = ours.header(&header.name, &header.value);
    }
    ours.event_type(&record.r#type).event_id(&record.event_id)
}

proptest! {
    #[test]
    fn a_batch_decodes_to_the_records_pushed(records in vec(generated(), 0..8), partition in option::of(0u32..9)) {
        let mut batch = match partition {
            Some(partition) => Batch::to_partition("orders", PartitionId(partition)),
            None => Batch::new("orders"),
        };
        for record in &records {
            let promised = batch.bytes_with(&ours(record));
            batch.push(&ours(record));
            prop_assert_eq!(batch.bytes(), promised);
        }
        prop_assert_eq!(batch.len(), records.len());

        let expected = DecodedBatch { topic: "orders".to_owned(), partition, records };
        let encoded = batch.into_encoded();
        prop_assert_eq!(&encoded, &expected.encode_to_vec());
        prop_assert_eq!(DecodedBatch::decode(encoded).unwrap(), expected);
    }
}

#[test]
fn the_client_builds_what_the_broker_accepts() {
    let record = Record::new()
        .key("k")
        .value("")
        .event_type("placed")
        .header("h", b"\xff")
        .timestamp_ms(-1)
        .event_id("e");
    let mut run = Vec::new();
    record.encode(&mut run);
    let (_, encoded) = Records::new(&run).next().unwrap().unwrap();
    let view = RecordView::parse_new(encoded).unwrap();
    assert_eq!(
        (view.key, view.value, view.event_type),
        (Some(&b"k"[..]), Some(&b""[..]), "placed")
    );
    assert_eq!((view.timestamp_ms, view.event_id), (Some(-1), &b"e"[..]));
    assert_eq!(view.headers().collect::<Vec<_>>(), [("h", &b"\xff"[..])]);
}

#[test]
fn a_tombstone_has_a_key_and_no_value() {
    let mut run = Vec::new();
    Record::tombstone("gone").encode(&mut run);
    let (_, encoded) = Records::new(&run).next().unwrap().unwrap();
    let view = RecordView::parse_new(encoded).unwrap();
    assert_eq!((view.key, view.value), (Some(&b"gone"[..]), None));
}

#[test]
fn an_append_says_what_it_expects_in_the_order_it_was_told() {
    let append = Append::from(Batch::of(
        "transfers",
        [Record::new().key("t1").value("42")],
    ))
    .expect_version("accounts", "alice", Version(3))
    .expect_absent("transfers", "t1")
    .expect_exists("accounts", b"bob")
    .expect_next_offset("accounts", PartitionId(2), Offset(40))
    .return_versions();
    let bytes = append.bytes();
    let request = append.into_request();
    assert!(request.return_versions);
    assert_eq!(
        request.encoded_len(),
        bytes + 2 + 2,
        "the tag and length of a batch, and the flag"
    );

    let of_key = |key: &'static str, state| {
        Some(About::Key(proto::KeyCondition {
            key: Bytes::from_static(key.as_bytes()),
            state: Some(state),
        }))
    };
    let partition = proto::PartitionCondition {
        partition: 2,
        next_offset: 40,
    };
    let expected = [
        ("accounts", of_key("alice", State::Version(3))),
        ("transfers", of_key("t1", State::Absent(true))),
        ("accounts", of_key("bob", State::Exists(true))),
        ("accounts", Some(About::Partition(partition))),
    ];
    let expected = expected.map(|(topic, about)| proto::Condition {
        topic_id: String::new(),
        topic: topic.to_owned(),
        about,
    });
    assert_eq!(request.conditions, expected);
}

#[test]
fn an_append_in_parts_is_the_same_message_and_shares_its_large_batches() {
    let batch = |records: usize| {
        let mut batch = Batch::new("orders");
        for _ in 0..records {
            batch.push(&Record::new().key("k").value("0123456789"));
        }
        batch
    };
    let large = 500;
    let (mut buffer, mut parts) = (BytesMut::new(), VecDeque::new());
    let mut expected = Vec::new();
    for sizes in [vec![1], vec![100], vec![1, 100, 2, 90], vec![]] {
        let batches: Vec<Batch> = sizes.iter().map(|records| batch(*records)).collect();
        let append = Append::from(batches).expect_absent("orders", "k");
        let request = append.return_versions().into_request();
        let message = request.encode_to_vec();
        expected.push(0);
        expected.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        expected.extend(message);
        request.encode_in_parts(&mut buffer, large, &mut parts);
        for batch in &request.batches {
            let is_shared = parts.iter().any(|part| part.as_ptr() == batch.as_ptr());
            assert_eq!(is_shared, batch.len() >= large);
        }
    }
    parts.push_back(buffer.freeze());
    assert_eq!(parts.len(), 2 * 3 + 1);
    let sent: Vec<u8> = parts.into_iter().flatten().collect();
    assert_eq!(sent, expected);
}
