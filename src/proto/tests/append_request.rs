//! `AppendRequest`, compared with prost's code for the same definition.

use bytes::Bytes;
use prost::Message;

use crate::{
    proto::{
        Condition, GroupOffset, GroupOffsets, KeyCondition, PartitionCondition, Producer,
        condition::About,
        key_condition::State,
        wire::{self, AppendRequest},
    },
    types::limits::{MAX_BATCHES_PER_APPEND, MAX_CONDITIONS_PER_APPEND, MAX_GROUPS_PER_APPEND},
};

#[derive(Clone, PartialEq, Message)]
struct Derived {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    batches: Vec<Bytes>,
    #[prost(message, repeated, tag = "2")]
    conditions: Vec<Condition>,
    #[prost(message, optional, tag = "3")]
    producer: Option<Producer>,
    #[prost(bool, tag = "4")]
    return_versions: bool,
    #[prost(message, repeated, tag = "5")]
    group_offsets: Vec<GroupOffsets>,
}

fn derived(batches: usize) -> Derived {
    Derived {
        batches: (0..batches)
            .map(|i| Bytes::from(format!("batch {i}")))
            .collect(),
        ..Derived::default()
    }
}

fn of_key(key: &'static str, state: State) -> Condition {
    let about = About::Key(KeyCondition {
        key: Bytes::from_static(key.as_bytes()),
        state: Some(state),
    });
    Condition {
        topic_id: String::new(),
        topic: "accounts".to_owned(),
        about: Some(about),
    }
}

fn conditions() -> Vec<Condition> {
    let about = About::Partition(PartitionCondition {
        partition: 3,
        next_offset: 40,
    });
    vec![
        of_key("alice", State::Version(7)),
        of_key("bob", State::Absent(true)),
        of_key("carol", State::Exists(true)),
        Condition {
            topic_id: String::new(),
            topic: "transfers".to_owned(),
            about: Some(about),
        },
        Condition::default(),
    ]
}

fn offsets() -> GroupOffsets {
    let offset = GroupOffset {
        topic: "orders".to_owned(),
        next_offset: 7,
        generation: 3,
        ..GroupOffset::default()
    };
    GroupOffsets {
        group: "billing".to_owned(),
        offsets: vec![offset, GroupOffset::default()],
        member_id: "0123456789abcdef".to_owned(),
    }
}

fn assert_same_form(derived: &Derived) {
    let Derived {
        batches,
        conditions,
        producer,
        return_versions,
        group_offsets,
    } = derived.clone();
    let group_offsets = group_offsets.iter().map(wire::encode).collect();
    let request = AppendRequest {
        batches,
        conditions,
        producer,
        return_versions,
        group_offsets,
    };
    let encoded = request.encode_to_vec();
    assert_eq!(encoded, derived.encode_to_vec());
    assert_eq!(encoded.len(), request.encoded_len());
    assert_eq!(AppendRequest::decode(&encoded[..]), Ok(request));
}

#[test]
fn it_has_the_form_that_prost_gives_it() {
    assert_same_form(&Derived::default());
    assert_same_form(&derived(3));
    assert_same_form(&Derived {
        conditions: conditions(),
        ..derived(0)
    });
    assert_same_form(&Derived {
        producer: Some(Producer {
            id: u64::MAX,
            epoch: 2,
        }),
        ..derived(1)
    });
    assert_same_form(&Derived {
        producer: Some(Producer::default()),
        ..derived(1)
    });
    assert_same_form(&Derived {
        return_versions: true,
        group_offsets: vec![offsets(), GroupOffsets::default()],
        conditions: conditions(),
        ..derived(2)
    });
}

#[test]
fn a_received_request_keeps_one_of_each_kind_more_than_are_allowed_and_no_more() {
    let many = Derived {
        conditions: vec![of_key("alice", State::Exists(true)); MAX_CONDITIONS_PER_APPEND + 100],
        group_offsets: vec![offsets(); MAX_GROUPS_PER_APPEND + 100],
        ..derived(MAX_BATCHES_PER_APPEND + 100)
    };
    let request = AppendRequest::decode(&many.encode_to_vec()[..]).unwrap();
    assert_eq!(request.batches.len(), MAX_BATCHES_PER_APPEND + 1);
    assert_eq!(request.conditions.len(), MAX_CONDITIONS_PER_APPEND + 1);
    assert_eq!(request.group_offsets.len(), MAX_GROUPS_PER_APPEND + 1);
}

#[test]
fn what_is_wrong_with_a_field_is_said_by_its_name() {
    for (field, name) in [
        (1, "batches"),
        (2, "conditions"),
        (3, "producer"),
        (4, "return_versions"),
        (5, "group_offsets"),
    ] {
        let mut encoded = Vec::new();
        prost::encoding::fixed32::encode(field, &1, &mut encoded);
        let error = AppendRequest::decode(&encoded[..]).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_batch_is_a_slice_of_the_received_message() {
    let encoded = Bytes::from(derived(2).encode_to_vec());
    let request = AppendRequest::decode(encoded.clone()).unwrap();
    for batch in request.batches {
        assert!(encoded.as_ptr_range().contains(&batch.as_ptr()));
    }
}
