//! The conversion of conditions from the wire.

use bytes::Bytes;

use crate::{
    broker::{Condition, Error, Expected},
    proto::{self, KeyCondition, PartitionCondition, condition::About, key_condition::State},
    server::log::conditions::conditions,
    types::{Offset, PartitionId, Version},
};

fn about(about: Option<About>) -> proto::Condition {
    proto::Condition {
        topic_id: String::new(),
        topic: "accounts".to_owned(),
        about,
    }
}

fn of_key(key: &[u8], state: Option<State>) -> proto::Condition {
    about(Some(About::Key(KeyCondition {
        key: Bytes::copy_from_slice(key),
        state,
    })))
}

#[test]
fn every_kind_is_understood() {
    let alice = || Bytes::from_static(b"alice");
    let understood = |condition| {
        let [
            Condition {
                topic, expected, ..
            },
        ] = &conditions(vec![condition]).unwrap()[..]
        else {
            panic!("one condition")
        };
        assert_eq!(topic, "accounts");
        expected.clone()
    };
    let partition = About::Partition(PartitionCondition {
        partition: 2,
        next_offset: 40,
    });
    assert_eq!(
        understood(of_key(b"alice", Some(State::Absent(true)))),
        Expected::KeyAbsent { key: alice() }
    );
    assert_eq!(
        understood(of_key(b"alice", Some(State::Exists(true)))),
        Expected::KeyExists { key: alice() }
    );
    for version in [0, 7] {
        let expected = Expected::KeyAt {
            key: alice(),
            version: Version(version),
        };
        assert_eq!(
            understood(of_key(b"alice", Some(State::Version(version)))),
            expected
        );
    }
    let expected = Expected::PartitionAt {
        partition: PartitionId(2),
        next: Offset(40),
    };
    assert_eq!(understood(about(Some(partition))), expected);
    assert!(
        conditions(vec![of_key(&[0xff; 65_535], Some(State::Exists(true)))]).is_ok(),
        "the longest key"
    );
}

#[test]
fn one_that_is_malformed_is_refused_by_its_number_wherever_it_is() {
    let malformed = [
        (about(None), "`key` or `partition`"),
        (of_key(b"alice", None), "`absent`, `exists` or `version`"),
        (
            of_key(b"alice", Some(State::Absent(false))),
            "absent: false",
        ),
        (
            of_key(b"alice", Some(State::Exists(false))),
            "exists: false",
        ),
        (of_key(b"", Some(State::Exists(true))), "1 to 65,535 bytes"),
        (
            of_key(&[0; 65_536], Some(State::Version(1))),
            "1 to 65,535 bytes",
        ),
    ];
    for (condition, names) in malformed {
        let good = of_key(b"alice", Some(State::Exists(true)));
        let error = conditions(vec![good.clone(), condition, good]).unwrap_err();
        assert!(
            matches!(error, Error::MalformedCondition { index: 1, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(names), "{error}");
    }
}
