//! The detail of a conflict, among other details.

use prost::Message;

use crate::proto::{Conflict, FailedCondition, MAX_FAILED_CONDITIONS, failed_condition::Actual};

fn conflict(failed: u32) -> Conflict {
    let one = |index| FailedCondition { index, actual: Some(Actual::Version(u64::from(index) + 1)) };
    Conflict { failed: (0..failed).map(one).collect() }
}

/// A `google.rpc.Status` with a detail of another type.
fn other_details() -> Vec<u8> {
    let (mut any, mut status) = (Vec::new(), Vec::new());
    prost::encoding::string::encode(1, &"type.googleapis.com/google.rpc.ErrorInfo".to_owned(), &mut any);
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
fn it_names_as_many_conditions_as_there_is_room_for() {
    let details = conflict(1_000).add_to_details(&other_details());
    let named = Conflict::from_details(&details).unwrap();
    assert_eq!(named.failed, conflict(256).failed);
    assert_eq!(MAX_FAILED_CONDITIONS, 256);

    let largest = FailedCondition { index: 999, actual: Some(Actual::NextOffset(u64::MAX)) };
    let largest = Conflict { failed: vec![largest; MAX_FAILED_CONDITIONS] };
    assert_eq!(largest.encoded_len(), 4 << 10);
}
