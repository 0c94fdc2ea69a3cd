//! The responses that carry records, compared with prost's code for the same definitions.

use bytes::Bytes;
use proptest::prelude::*;
use prost::{Message, encoding};

use crate::{
    proto::{
        ErasedEntity, Record,
        wire::{LatestRecord, RECORDS_FIELD, ReadKeyResponse, ReadResponse},
    },
    types::Records,
};

#[derive(Clone, PartialEq, Message)]
struct DerivedRead {
    #[prost(uint32, tag = "1")]
    partition: u32,
    #[prost(uint64, tag = "2")]
    next_offset: u64,
    #[prost(uint64, tag = "3")]
    high_watermark: u64,
    #[prost(bool, tag = "4")]
    caught_up: bool,
    #[prost(message, repeated, tag = "5")]
    erased: Vec<ErasedEntity>,
    #[prost(string, tag = "6")]
    topic_id: String,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    records: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct DerivedReadKey {
    #[prost(uint64, tag = "1")]
    latest_version: u64,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint64, tag = "3")]
    first_version: u64,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    records: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct DerivedLatest {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(message, optional, tag = "2")]
    record: Option<Record>,
    #[prost(uint32, tag = "3")]
    partition: u32,
}

/// Records encoded as in frames, some of them in one slice.
fn slices(records: &[Bytes]) -> Vec<Bytes> {
    records.chunks(3).map(run).collect()
}

fn run(records: &[Bytes]) -> Bytes {
    let mut run = Vec::new();
    encoding::bytes::encode_repeated(RECORDS_FIELD, records, &mut run);
    run.into()
}

fn any_records() -> impl Strategy<Value = Vec<Bytes>> {
    proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from),
        0..10,
    )
}

fn erased(count: u64) -> Vec<ErasedEntity> {
    let entity = |i| ErasedEntity {
        key_sha256: Bytes::from(vec![7; 32]),
        through_version: i,
        end_offset: i * 10,
    };
    (0..count).map(entity).collect()
}

proptest! {
    #[test]
    fn a_read_response_has_the_form_that_prost_gives_it(
        (partition, next_offset, high_watermark) in any::<(u32, u64, u64)>(),
        caught_up in any::<bool>(),
        told in 0u64..3,
        topic_id in "[0-9a-f]{0,16}",
        records in any_records(),
    ) {
        let erased = erased(told);
        let derived = DerivedRead {
            partition, next_offset, high_watermark, caught_up, erased: erased.clone(), topic_id: topic_id.clone(),
            records: records.clone(),
        };
        let records = slices(&records);
        let ours = ReadResponse { partition, next_offset, high_watermark, caught_up, erased, topic_id, records };
        prop_assert_eq!(ours.encode_to_vec(), derived.encode_to_vec());
        prop_assert_eq!(ours.encoded_len(), derived.encoded_len());

        let decoded = ReadResponse::decode(&ours.encode_to_vec()[..]).unwrap();
        prop_assert_eq!(decoded.records.concat(), ours.records.concat());
        prop_assert_eq!(ReadResponse { records: Vec::new(), ..decoded }, ReadResponse { records: Vec::new(), ..ours });
    }

    #[test]
    fn a_response_to_a_read_by_key_has_the_form_that_prost_gives_it(
        (latest_version, partition, first_version) in any::<(u64, u32, u64)>(),
        records in any_records(),
    ) {
        let derived = DerivedReadKey { latest_version, partition, first_version, records: records.clone() };
        let ours = ReadKeyResponse { latest_version, partition, first_version, records: slices(&records) };
        prop_assert_eq!(ours.encode_to_vec(), derived.encode_to_vec());
        prop_assert_eq!(ours.encoded_len(), derived.encoded_len());

        let decoded = ReadKeyResponse::decode(&ours.encode_to_vec()[..]).unwrap();
        prop_assert_eq!((decoded.latest_version, decoded.partition), (latest_version, partition));
        prop_assert_eq!(decoded.first_version, first_version);
        prop_assert_eq!(decoded.records.concat(), run(&records));
    }
}

#[test]
fn the_records_of_a_response_are_one_slice_of_the_message() {
    let records = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let encoded = Bytes::from(
        ReadKeyResponse {
            latest_version: 2,
            partition: 1,
            first_version: 1,
            records: vec![run(&records)],
        }
        .encode_to_vec(),
    );
    let decoded = ReadKeyResponse::decode(encoded.clone()).unwrap();
    assert_eq!(decoded.records.len(), 1);
    assert!(
        encoded
            .as_ptr_range()
            .contains(&decoded.records[0].as_ptr())
    );
}

#[test]
fn records_before_other_fields_are_read_too() {
    let records = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let mut encoded = run(&records[..1]).to_vec();
    let rest = DerivedReadKey {
        latest_version: 2,
        partition: 1,
        first_version: 1,
        records: records[1..].to_vec(),
    };
    encoded.extend(rest.encode_to_vec());
    // Bytes behind the first record are taken as they are, and parsed only when the records are
    // read.
    let decoded = ReadKeyResponse::decode(&encoded[..]).unwrap();
    assert!(Records::new(&decoded.records[0]).next().unwrap().is_ok());
    assert!(
        Records::new(&decoded.records[0]).any(|record| record.is_err()),
        "only a broker of ours is read"
    );
}

#[test]
fn a_latest_record_has_the_form_that_prost_gives_it() {
    let record = Record {
        key: Some(Bytes::from_static(b"k")),
        version: Some(3),
        ..Record::default()
    };
    for record in [Some(record), Some(Record::default()), None] {
        let encoded = record
            .as_ref()
            .map(|record| Bytes::from(record.encode_to_vec()));
        let ours = LatestRecord {
            version: 3,
            record: encoded,
            partition: 2,
        };
        assert_eq!(
            ours.encode_to_vec(),
            DerivedLatest {
                version: 3,
                record,
                partition: 2
            }
            .encode_to_vec()
        );
        assert_eq!(LatestRecord::decode(&ours.encode_to_vec()[..]), Ok(ours));
    }
}
