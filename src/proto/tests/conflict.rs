//! The detail of a conflict, among other details.

use crate::proto::{Conflict, FailedCondition, failed_condition::Actual};

fn conflict(count: u32) -> Conflict {
    let failed = (0..count).map(|index| FailedCondition {
        index,
        actual: Some(Actual::Version(u64::MAX)),
    });
    Conflict::of(failed.collect())
}

/// A `google.rpc.Status` with a detail of another type.
fn other_details() -> Vec<u8> {
    let (mut any, mut status) = (Vec::new(), Vec::new());
    prost::encoding::string::encode(
        1,
        &"type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        &mut any,
    );
    prost::encoding::bytes::encode(2, &b"not a conflict".to_vec(), &mut any);
    prost::encoding::int32::encode(1, &10, &mut status);
    prost::encoding::string::encode(2, &"the message".to_owned(), &mut status);
    prost::encoding::bytes::encode(3, &any, &mut status);
    status
}

#[test]
fn it_is_found_behind_other_details() {
    let details = conflict(3).add_to_details(&other_details());
    assert!(details.starts_with(&other_details()));
    assert_eq!(Conflict::from_details(&details), Some(conflict(3)));
}

#[test]
fn details_without_it_have_none() {
    assert_eq!(Conflict::from_details(&other_details()), None);
    assert_eq!(Conflict::from_details(b""), None);
    assert_eq!(Conflict::from_details(b"\xff"), None);
}

#[test]
fn it_names_the_first_hundred_conditions_and_counts_all() {
    for (failed, named) in [(1, 1), (100, 100), (101, 100), (1_000, 100)] {
        let conflict = conflict(failed);
        let indexes: Vec<u32> = conflict.failed.iter().map(|failed| failed.index).collect();
        assert_eq!((conflict.count, indexes), (failed, (0..named).collect()));
    }
}
