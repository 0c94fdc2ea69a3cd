//! The detail of a conflict, among other details.

use prost::Message;

use crate::proto::{Actual, CONFLICT_DETAIL_BYTES, Conflict, FailedCondition, FailedConditions};

fn failed(count: u32) -> Vec<FailedCondition> {
    (0..count)
        .map(|index| FailedCondition {
            index,
            actual: Actual::Version(u64::from(index) + 1),
        })
        .collect()
}

fn conflict(count: u32) -> Conflict {
    Conflict::of(&failed(count), usize::MAX)
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
fn it_names_the_conditions_of_both_kinds_in_the_requests_order() {
    let kinds = |index: u32| match index % 3 {
        0 => Actual::NextOffset(u64::from(index) * 1_000_000_007),
        _ => Actual::Version(u64::from(index)),
    };
    let every_seventh = (5..1_000).step_by(7);
    let failed: Vec<_> = every_seventh
        .map(|index| FailedCondition {
            index,
            actual: kinds(index),
        })
        .collect();
    let conflict = Conflict::of(&failed, usize::MAX);
    assert_eq!(conflict.count as usize, failed.len());
    assert_eq!(
        Conflict::decode(&*conflict.encode_to_vec())
            .unwrap()
            .failed(),
        failed
    );
    assert_eq!(Conflict::of(&[], 0).failed(), []);
}

#[test]
fn it_names_as_many_of_the_first_as_it_has_room_for_and_says_how_many_there_are() {
    let all = failed(1_000);
    for most in 22..3_100 {
        let conflict = Conflict::of(&all, most);
        let named = conflict.failed();
        assert_eq!((conflict.count, &*named), (1_000, &all[..named.len()]));
        let bytes = conflict.encoded_len();
        assert!(bytes <= most, "{bytes} of {most}");
        assert!(
            named.len() == 1_000 || bytes + 3 + 22 > most,
            "{} in {most}",
            named.len()
        );
    }
    assert_eq!(Conflict::of(&all, 3_100).failed(), all);
}

#[test]
fn a_thousand_take_a_byte_and_their_version_each() {
    for (version, bytes) in [
        (100, 2),
        (10_000, 3),
        (2_000_000, 4),
        (200_000_000, 5),
        (u64::MAX, 11),
    ] {
        let failed: Vec<_> = (0..1_000)
            .map(|index| FailedCondition {
                index,
                actual: Actual::Version(version),
            })
            .collect();
        let conflict = Conflict::of(&failed, usize::MAX);
        assert!(
            conflict.encoded_len() <= 1_000 * bytes + 22,
            "{} for {version}",
            conflict.encoded_len()
        );
        let details = conflict.add_to_details(&[]);
        assert!(details.len() <= conflict.encoded_len() + CONFLICT_DETAIL_BYTES);
    }
}

#[test]
fn lists_that_make_no_sense_end_where_they_do_not() {
    let list = |skipped: &[u32], actual: &[u64]| {
        let list = FailedConditions {
            skipped: skipped.to_vec(),
            actual: actual.to_vec(),
        };
        let indexes = Conflict {
            count: 9,
            keys: Some(list),
            partitions: None,
        }
        .failed();
        indexes
            .iter()
            .map(|failed| failed.index)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[3, 0, 1], &[1, 1]), [3, 4]);
    assert_eq!(list(&[1], &[1, 1]), [1]);
    assert_eq!(list(&[2, u32::MAX, 0], &[1, 1, 1]), [2]);
    assert_eq!(list(&[u32::MAX, 0], &[1, 1]), [u32::MAX]);
}
