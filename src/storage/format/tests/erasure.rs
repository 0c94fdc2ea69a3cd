//! Records of an erased entity.

use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::samples::{any_record, frame_of_batch, golden};
use crate::{
    catalog::Token,
    proto::Record,
    storage::format::{
        erasure::{Left, edit, key_sha256},
        frame::{Batch, Frame},
    },
    types::{Offset, PartitionId, ProducerId, RecordView, Records, TopicId},
};

const BATCH: Batch = Batch {
    producer: ProducerId(4),
    epoch: 2,
    sequence: 9,
};

fn frame(records: &[Record]) -> Frame {
    frame_of_batch(
        TopicId(1),
        PartitionId(2),
        Offset(30),
        1_000,
        Some(BATCH),
        records,
    )
}

fn records(frame: &Frame) -> Vec<Record> {
    let run = frame.records();
    let decode = |(_, encoded): (_, &[u8])| Record::decode(encoded).expect("a record");
    Records::new(&run)
        .map(|record| decode(record.expect("a sound run")))
        .collect()
}

/// The frame after the records with this key are erased; `None` if no record has the key.
fn erased(frame: &Frame, token: Token) -> Option<Frame> {
    edit(frame, |record: &RecordView<'_>| match record.key {
        Some(key) if token.is_of(key) => Left::Erased(token),
        _ => Left::All,
    })
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn of_an_erased_record_type_times_offset_and_version_stay_and_nothing_else() {
    let (before, after) = (records(&golden::frame()), records(&golden::erased_frame()));
    let left = Record {
        r#type: before[0].r#type.clone(),
        timestamp_ms: before[0].timestamp_ms,
        offset: before[0].offset,
        version: before[0].version,
        append_time_ms: before[0].append_time_ms,
        erased: Some(golden::erasure().token.0.to_vec().into()),
        ..Record::default()
    };
    assert_eq!(after, [left, before[1].clone()]);
    for part in [&b"N14228"[..], b"EWR", b"source", b"gate", &[1, 2, 3]] {
        assert!(
            has(golden::frame().bytes(), part) && !has(golden::erased_frame().bytes(), part),
            "{part:?}"
        );
    }
}

#[test]
fn a_frame_says_the_same_of_its_records_when_one_of_them_is_erased() {
    assert_eq!(golden::erased_frame().header(), golden::frame().header());
    let bytes = golden::erased_frame().bytes().clone();
    assert_eq!(
        Frame::decode(&bytes),
        Some(golden::erased_frame()),
        "its checksum is right"
    );
}

#[test]
fn a_frame_without_the_entity_is_left_alone_also_when_it_is_erased_again() {
    let token = golden::erasure().token;
    assert_eq!(erased(&golden::erased_frame(), token), None);
    assert_eq!(
        erased(&golden::frame(), Token::new(token.hash(), 7, b"N99999")),
        None
    );
}

#[test]
fn a_token_is_of_one_key_and_says_its_hash() {
    let token = Token::new(5, 6, b"key");
    assert_eq!(
        (token.hash(), token.is_of(b"key"), token.is_of(b"kex")),
        (5, true, false)
    );
    assert_ne!(
        token,
        Token::new(5, 7, b"key"),
        "a salt of its own for each erasure"
    );
    assert_eq!(Token::decode(&token.0), Some(token));
    assert_eq!(Token::decode(&token.0[1..]), None);
}

#[test]
fn the_digest_that_readers_compare_keys_with_is_sha_256() {
    // From FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        key_sha256(b"abc")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
        expected
    );
}

proptest! {
    #[test]
    fn only_the_records_of_the_entity_change(all in vec(any_record(), 1..8), which: prop::sample::Index) {
        let frame = frame(&all);
        let Some(key) = which.get(&all).key.clone() else { return Ok(()) };
        let token = Token::new(1, 2, &key);
        let after = records(&erased(&frame, token).expect("one is of the entity"));
        for (before, after) in records(&frame).into_iter().zip(after) {
            if before.key.as_ref() == Some(&key) {
                prop_assert_eq!(after.erased.as_deref(), Some(&token.0[..]));
                prop_assert_eq!((after.key, after.value), (None, None));
                prop_assert_eq!((after.offset, after.timestamp_ms), (before.offset, before.timestamp_ms));
            } else {
                prop_assert_eq!(after, before);
            }
        }
    }
}
