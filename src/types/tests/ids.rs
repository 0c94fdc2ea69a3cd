//! Offsets and ids.

use crate::types::{Offset, PartitionId, ProducerId, TopicId, Version};

#[test]
fn offsets_are_ordered_by_place_and_count_from_zero() {
    assert_eq!(Offset::ZERO.plus(3), Offset(3));
    assert_eq!(Offset(u64::MAX - 1).plus(1), Offset(u64::MAX));
    assert!(Offset(9) < Offset(10));
}

#[test]
#[should_panic(expected = "an offset went past 2^64")]
fn an_offset_never_wraps() {
    let _ = Offset(u64::MAX).plus(1);
}

#[test]
fn versions_count_from_one() {
    assert_eq!(Version::NONE.next(), Version(1));
    assert_eq!(Version(2).plus(3), Version(5));
    assert_eq!(Version::default(), Version::NONE);
}

#[test]
#[should_panic(expected = "a version went past 2^64")]
fn a_version_never_wraps() {
    let _ = Version(u64::MAX).next();
}

#[test]
fn identities_print_as_people_and_the_api_name_them() {
    assert_eq!(Offset(12).to_string(), "12");
    assert_eq!(PartitionId(7).to_string(), "7");
    assert_eq!(Version(7).to_string(), "7");
    assert_eq!(
        ProducerId(0xab).to_string(),
        "00000000000000ab",
        "always 16 digits"
    );
    assert_eq!(
        TopicId(0xab).to_string(),
        "00000000000000ab",
        "always 16 digits"
    );
}
