//! Repeated appends with event ids.

use bytes::Bytes;

use super::world::{create, encode_proto, open, send};
use crate::{
    broker::{Actual, Append, AppendBatch, Broker, Condition, Error, Expected},
    env::sim::SimDisk,
    proto,
    types::Version,
};

fn broker() -> Broker {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", 1);
    broker
}

/// An append of one record of a key, with an event id, on the condition that these keys are at
/// these versions.
fn append_if(key: &str, event_id: &str, conditions: &[(&str, u64)]) -> Append {
    let record = proto::Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from_static(b"value")),
        event_id: Bytes::copy_from_slice(event_id.as_bytes()),
        ..Default::default()
    };
    append_record_if(&record, conditions)
}

fn append_record_if(record: &proto::Record, conditions: &[(&str, u64)]) -> Append {
    let records = encode_proto(record).into();
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: None,
        sequence: None,
        records,
    };
    let condition = |(key, version): &(&str, u64)| Condition {
        topic_id: None,
        topic: "t".into(),
        expected: Expected::KeyAt {
            key: Bytes::copy_from_slice(key.as_bytes()),
            version: Version(*version),
        },
    };
    Append {
        batches: vec![batch],
        conditions: conditions.iter().map(condition).collect(),
        ..Append::default()
    }
}

#[test]
fn a_stored_append_is_answered_again_whatever_has_become_of_entities_it_had_only_a_condition_on() {
    let broker = broker();
    let transfer = || append_if("to", "event 1", &[("to", 0), ("limit", 0)]);
    let first = send(&broker, transfer()).expect("the conditions hold");
    send(&broker, append_if("limit", "event 2", &[("limit", 0)])).expect("the condition holds");
    assert_eq!(send(&broker, transfer()), Ok(first), "it was stored");

    let other = append_if("to", "event 3", &[("to", 0), ("limit", 0)]);
    let Err(Error::Conflict { failed }) = send(&broker, other) else {
        panic!("another append is in conflict")
    };
    assert_eq!(
        failed.iter().map(|failed| failed.index).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn an_event_id_that_comes_with_another_event_is_a_conflict_and_not_answered_as_stored() {
    let broker = broker();
    let event = proto::Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        r#type: "paid".to_owned(),
        headers: vec![proto::Header {
            name: "by".to_owned(),
            value: Bytes::from_static(b"alice"),
        }],
        event_id: Bytes::from_static(b"event"),
        ..Default::default()
    };
    let at_first = |record: &proto::Record| append_record_if(record, &[("key", 0)]);
    let first = send(&broker, at_first(&event)).expect("the condition holds");
    assert_eq!(send(&broker, at_first(&event)), Ok(first.clone()));

    let another_value = proto::Record {
        value: Some(Bytes::from_static(b"another")),
        ..event.clone()
    };
    let without_value = proto::Record {
        value: None,
        ..event.clone()
    };
    let another_type = proto::Record {
        r#type: "refunded".to_owned(),
        ..event.clone()
    };
    let without_headers = proto::Record {
        headers: Vec::new(),
        ..event.clone()
    };
    for other in [another_value, without_value, another_type, without_headers] {
        let Err(Error::Conflict { failed }) = send(&broker, at_first(&other)) else {
            panic!("answered as if it were stored: {other:?}")
        };
        assert_eq!(failed[0].actual, Actual::Version(Version(1)));
    }
    let tried_later = proto::Record {
        timestamp_ms: Some(1_800_000_000_000),
        ..event
    };
    assert_eq!(send(&broker, at_first(&tried_later)), Ok(first));
}

#[test]
fn an_append_at_the_highest_version_there_can_be_is_in_conflict_as_any_other() {
    let Err(Error::Conflict { failed }) =
        send(&broker(), append_if("key", "event", &[("key", u64::MAX)]))
    else {
        panic!("the key has no record")
    };
    assert_eq!(failed[0].actual, Actual::Version(Version::NONE));
}

#[test]
fn a_conflict_does_not_keep_the_request_that_it_is_about() {
    let broker = broker();
    // As in a request, the key is a slice of a large buffer.
    let request = Bytes::from(vec![b'k'; 100_000]);
    let mut append = append_if("other", "event", &[("key", 0)]);
    append.conditions[0].expected = Expected::KeyAt {
        key: request.slice(..50_000),
        version: Version(7),
    };
    let Err(Error::Conflict { failed }) = send(&broker, append) else {
        panic!("there is no such record");
    };
    assert!(request.is_unique(), "nobody else holds on to it");
    let Expected::KeyAt { key, .. } = &failed[0].condition.expected else {
        panic!("it is of a key");
    };
    assert_eq!(key.len(), 1 << 10, "it is told, and texts are no longer");
}
