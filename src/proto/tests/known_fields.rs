//! What requests may hold.

use bytes::Bytes;
use prost::Message;

use crate::proto::{
    CommitRequest, Condition, CreateTopicRequest, Filter, GroupOffset, GroupOffsets, KeyCondition,
    ListOffsetsRequest, PartitionPosition, Position, Producer, ReadRequest, Received,
    ResetGroupRequest,
    condition::About,
    key_condition::State,
    known_fields::request_of,
    position::At,
    wire::{self, AppendRequest},
};

fn check<M: Received>(encoded: &[u8]) -> Result<(), String> {
    let fields = M::FIELDS.expect("it is a request");
    fields.check(encoded).map_err(|unknown| unknown.to_string())
}

/// A field that no message has.
const UNKNOWN: &[u8] = b"\xf8\x3e\x01";

/// Field `number`, which holds this message.
fn holding(number: u8, message: &[u8]) -> Vec<u8> {
    let len = u8::try_from(message.len()).expect("it is short");
    [&[number << 3 | 2, len], message].concat()
}

fn full_append() -> AppendRequest {
    AppendRequest {
        batches: vec![Bytes::from_static(b"anything"), Bytes::from_static(UNKNOWN)],
        conditions: vec![Condition {
            topic: "t".to_owned(),
            topic_id: "0123456789abcdef".to_owned(),
            about: Some(About::Key(KeyCondition {
                key: Bytes::from_static(b"k"),
                state: Some(State::Version(7)),
            })),
        }],
        producer: Some(Producer { id: 1, epoch: 2 }),
        return_versions: true,
        group_offsets: vec![wire::encode(&GroupOffsets {
            group: "g".to_owned(),
            offsets: vec![GroupOffset::default()],
            member_id: "0123456789abcdef".to_owned(),
        })],
    }
}

#[test]
fn what_a_request_has_passes() {
    assert_eq!(
        check::<AppendRequest>(&full_append().encode_to_vec()),
        Ok(())
    );
    let read = ReadRequest {
        topic: "t".to_owned(),
        start: Some(Position {
            at: Some(At::Offset(3)),
        }),
        partitions: vec![PartitionPosition::default()],
        follow: true,
        max_records: 9,
        filter: Some(Filter {
            keys: vec![Bytes::from_static(UNKNOWN)],
            types: vec!["a".to_owned()],
        }),
        topic_id: "0".to_owned(),
        max_response_bytes: 65_536,
    };
    assert_eq!(check::<ReadRequest>(&read.encode_to_vec()), Ok(()));
    let create = CreateTopicRequest {
        name: "t".to_owned(),
        partitions: 3,
        settings: [("keys".to_owned(), "plain".to_owned())].into(),
    };
    assert_eq!(check::<CreateTopicRequest>(&create.encode_to_vec()), Ok(()));
    assert_eq!(check::<AppendRequest>(b""), Ok(()));
}

#[test]
fn fields_that_are_set_to_their_default_and_numbers_longer_than_need_be_pass() {
    // `follow: false`, `max_records: 0` in two bytes, an empty filter.
    assert_eq!(
        check::<ReadRequest>(b"\x20\x00\x28\x80\x00\x32\x00"),
        Ok(())
    );
}

#[test]
fn a_field_that_is_not_known_is_named_with_its_message_however_deep_it_is() {
    let of = |encoded: Vec<u8>| check::<AppendRequest>(&encoded).unwrap_err();
    let says = |error: String, message: &str| {
        let text = format!(
            "field 1007 of {message} is unknown to this broker; the client's .proto files are newer"
        );
        assert_eq!(error, text);
    };
    says(of(UNKNOWN.to_vec()), "AppendRequest");
    says(of(holding(2, UNKNOWN)), "Condition");
    says(of(holding(2, &holding(2, UNKNOWN))), "KeyCondition");
    says(of(holding(2, &holding(3, UNKNOWN))), "PartitionCondition");
    says(of(holding(3, UNKNOWN)), "Producer");
    let behind = [full_append().encode_to_vec(), holding(3, UNKNOWN)].concat();
    says(of(behind), "Producer");
    let entry = check::<CreateTopicRequest>(&holding(3, UNKNOWN)).unwrap_err();
    says(entry, "SettingsEntry");
    let position = check::<ListOffsetsRequest>(&holding(3, &holding(2, UNKNOWN))).unwrap_err();
    says(position, "Position");
}

#[test]
fn what_is_no_protobuf_is_left_to_those_who_decode_it() {
    for encoded in [&b"\x0a\xff"[..], b"\x12\x02\x0a\x05", b"\x00", b"\xff"] {
        assert_eq!(check::<AppendRequest>(encoded), Ok(()));
        assert!(AppendRequest::decode(encoded).is_err(), "{encoded:?}");
    }
}

#[test]
fn a_request_with_more_elements_than_any_needs_is_refused_before_it_is_decoded() {
    let texts = |count: usize| holding(2, &[]).repeat(count);
    let read = |types: usize| {
        let filter = Filter {
            keys: vec![Bytes::new(); types],
            types: Vec::new(),
        };
        let filter = Some(filter);
        let read = ReadRequest {
            filter,
            ..ReadRequest::default()
        };
        read.encode_to_vec()
    };
    // The filter is one of them.
    assert_eq!(check::<ReadRequest>(&read(65_535)), Ok(()));
    let refused = check::<ReadRequest>(&read(65_536)).unwrap_err();
    assert!(refused.contains("more than 65536 elements"), "{refused}");
    let offsets = |count: usize| {
        let offsets = GroupOffsets {
            offsets: vec![GroupOffset::default(); count],
            ..GroupOffsets::default()
        };
        let append = AppendRequest {
            group_offsets: vec![wire::encode(&offsets)],
            ..AppendRequest::default()
        };
        append.encode_to_vec()
    };
    // The group is one of them.
    assert_eq!(check::<AppendRequest>(&offsets(65_535)), Ok(()));
    for append in [offsets(65_536), texts(65_537)] {
        let refused = check::<AppendRequest>(&append).unwrap_err();
        assert!(refused.contains("more than 65536 elements"), "{refused}");
    }
}

#[test]
fn what_a_request_takes_decoded_is_bounded_before_it_is_decoded() {
    const COUNT: usize = 10_000;
    let commit = CommitRequest {
        offsets: vec![GroupOffset::default(); COUNT],
        ..CommitRequest::default()
    };
    let encoded = commit.encode_to_vec();
    let fields = CommitRequest::FIELDS.expect("it is a request");
    let decoded = CommitRequest::decode(&encoded[..]).expect("it is one");
    let takes = decoded.offsets.capacity() * size_of::<GroupOffset>();
    let bound = fields.decoded_bytes(&encoded);
    assert!((takes..4 * takes).contains(&bound), "{bound} for {takes}");

    let reset = ResetGroupRequest {
        partitions: vec![1; COUNT],
        ..ResetGroupRequest::default()
    };
    let encoded = reset.encode_to_vec();
    let fields = ResetGroupRequest::FIELDS.expect("it is a request");
    let bound = fields.decoded_bytes(&encoded);
    assert!(bound >= COUNT * 2 * size_of::<u32>(), "{bound}");

    for (path, message) in [
        ("/taffrail.v1.Groups/Commit", "CommitRequest"),
        ("/taffrail.v1.Groups/Consume", "ConsumeRequest"),
        ("/taffrail.v1.Log/ListOffsets", "ListOffsetsRequest"),
    ] {
        let fields = request_of(path).expect("it is a call");
        let refused = fields.check(UNKNOWN).unwrap_err().to_string();
        assert!(refused.contains(message), "{refused}");
    }
    assert!(request_of("/grpc.health.v1.Health/Check").is_none());
}
