//! The responses to a member of a group, compared with prost's code for the same definitions.

use bytes::Bytes;
use prost::{Message, Oneof, encoding};

use crate::proto::{
    CommitResult, Committed, Credit, ErasedEntity, GroupOffset, Heartbeat, PartitionFailed,
    wire::{ConsumeMessage, ConsumeResponse, RECORDS_FIELD, Records},
};

#[derive(Clone, PartialEq, Message)]
struct Derived {
    #[prost(oneof = "DerivedMessage", tags = "4, 5, 7, 8")]
    message: Option<DerivedMessage>,
}

#[derive(Clone, PartialEq, Oneof)]
enum DerivedMessage {
    #[prost(message, tag = "4")]
    Records(DerivedRecords),
    #[prost(message, tag = "5")]
    Committed(Committed),
    #[prost(message, tag = "7")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "8")]
    Failed(PartitionFailed),
}

#[derive(Clone, PartialEq, Message)]
struct DerivedRecords {
    #[prost(message, optional, tag = "1")]
    next: Option<GroupOffset>,
    #[prost(message, optional, tag = "2")]
    cost: Option<Credit>,
    #[prost(uint64, tag = "3")]
    high_watermark: u64,
    #[prost(bool, tag = "4")]
    caught_up: bool,
    #[prost(uint64, tag = "5")]
    replayed_below: u64,
    #[prost(message, repeated, tag = "6")]
    erased: Vec<ErasedEntity>,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    records: Vec<Bytes>,
}

fn derived() -> DerivedRecords {
    DerivedRecords {
        next: Some(GroupOffset {
            topic: "orders".to_owned(),
            next_offset: 300,
            generation: 7,
            ..GroupOffset::default()
        }),
        cost: Some(Credit {
            records: 2,
            bytes: 10,
        }),
        high_watermark: 400,
        caught_up: true,
        replayed_below: 20,
        erased: vec![ErasedEntity::default()],
        records: vec![Bytes::from_static(b"one"), Bytes::from(vec![7; 300])],
    }
}

/// A generated message as the broker sends it, with the records encoded as in a frame.
fn ours(derived: &DerivedRecords) -> Records {
    let mut run = Vec::new();
    encoding::bytes::encode_repeated(RECORDS_FIELD, &derived.records, &mut run);
    let derived = derived.clone();
    Records {
        next: derived.next,
        cost: derived.cost,
        high_watermark: derived.high_watermark,
        caught_up: derived.caught_up,
        replayed_below: derived.replayed_below,
        erased: derived.erased,
        records: vec![run.into()],
    }
}

#[test]
fn a_response_has_the_form_that_prost_gives_it() {
    let result = CommitResult {
        topic: "orders".to_owned(),
        ..CommitResult::default()
    };
    let committed = Committed {
        results: vec![result],
    };
    let failed = PartitionFailed {
        topic: "orders".to_owned(),
        reason: "DAMAGED_RECORDS".to_owned(),
        earliest: 7,
        ..PartitionFailed::default()
    };
    let (empty, full) = (DerivedRecords::default(), derived());
    for (derived, message) in [
        (
            DerivedMessage::Heartbeat(Heartbeat {}),
            ConsumeMessage::Heartbeat(Heartbeat {}),
        ),
        (
            DerivedMessage::Failed(failed.clone()),
            ConsumeMessage::Failed(failed),
        ),
        (
            DerivedMessage::Committed(committed.clone()),
            ConsumeMessage::Committed(committed),
        ),
        (
            DerivedMessage::Records(full.clone()),
            ConsumeMessage::Records(ours(&full)),
        ),
        (
            DerivedMessage::Records(empty),
            ConsumeMessage::Records(Records::default()),
        ),
    ] {
        let ours = ConsumeResponse::from(message);
        let derived = Derived {
            message: Some(derived),
        };
        let encoded = ours.encode_to_vec();
        assert_eq!(encoded, derived.encode_to_vec());
        assert_eq!(encoded.len(), ours.encoded_len());
        assert_eq!(ConsumeResponse::decode(&encoded[..]), Ok(ours));
    }
}

#[test]
fn a_head_and_the_records_behind_it_are_the_response() {
    let whole = ours(&derived());
    let head = Records {
        records: Vec::new(),
        ..whole.clone()
    };
    let bytes = whole.records.iter().map(Bytes::len).sum();
    let mut sent = ConsumeResponse::head_of(&head, bytes).to_vec();
    sent.extend(whole.records.concat());
    let whole = ConsumeResponse::from(ConsumeMessage::Records(whole));
    assert_eq!(sent, whole.encode_to_vec());
}

#[test]
fn the_records_of_a_response_are_a_slice_of_the_message() {
    let response = ConsumeResponse::from(ConsumeMessage::Records(ours(&derived())));
    let encoded = Bytes::from(response.encode_to_vec());
    let decoded = ConsumeResponse::decode(encoded.clone()).expect("it is a response");
    let Some(ConsumeMessage::Records(records)) = decoded.message else {
        panic!("{decoded:?} has no records");
    };
    assert_eq!(records.records.len(), 1);
    assert!(
        encoded
            .as_ptr_range()
            .contains(&records.records[0].as_ptr())
    );
}

#[test]
fn what_a_newer_broker_says_is_passed_over() {
    let newer = b"\xfa\x01\x03new";
    let decoded = ConsumeResponse::decode(&newer[..]).expect("it is protobuf");
    assert_eq!(decoded, ConsumeResponse::default());
}
