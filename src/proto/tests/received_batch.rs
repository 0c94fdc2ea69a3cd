//! Decoding of an `AppendBatch`, compared with prost.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use prost::{Message, encoding};

use crate::proto::{
    MalformedBatch, ReceivedBatch,
    wire::{AppendBatch, RECORDS_FIELD},
};

fn framed(records: &[Bytes]) -> Vec<u8> {
    let mut run = Vec::new();
    encoding::bytes::encode_repeated(RECORDS_FIELD, records, &mut run);
    run
}

fn decode(encoded: &[u8]) -> Result<ReceivedBatch, MalformedBatch> {
    ReceivedBatch::decode(&Bytes::copy_from_slice(encoded))
}

prop_compose! {
    fn any_batch()(
        topic in ".{0,20}",
        partition in proptest::option::of(any::<u32>()),
        sequence in proptest::option::of(any::<u64>()),
        topic_id in "[0-9a-f]{0,16}",
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
    ) -> AppendBatch {
        let records = records.into_iter().map(Bytes::from).collect();
        AppendBatch { topic, partition, sequence, topic_id, records }
    }
}

/// A batch as a client may also encode it: each field in its own message, the messages joined in
/// any order.
fn any_scattered() -> impl Strategy<Value = (AppendBatch, Vec<u8>)> {
    let pieces = |batch: AppendBatch| {
        let mut pieces: Vec<(Option<usize>, Vec<u8>)> = Vec::new();
        let topic = AppendBatch {
            topic: batch.topic.clone(),
            ..AppendBatch::default()
        };
        let partition = AppendBatch {
            partition: batch.partition,
            ..AppendBatch::default()
        };
        let sequence = AppendBatch {
            sequence: batch.sequence,
            ..AppendBatch::default()
        };
        let topic_id = AppendBatch {
            topic_id: batch.topic_id.clone(),
            ..AppendBatch::default()
        };
        pieces.extend(
            [topic, partition, sequence, topic_id].map(|piece| (None, piece.encode_to_vec())),
        );
        for (i, record) in batch.records.iter().enumerate() {
            pieces.push((Some(i), framed(std::slice::from_ref(record))));
        }
        (Just(batch), Just(pieces).prop_shuffle())
    };
    any_batch()
        .prop_flat_map(pieces)
        .prop_map(|(mut batch, pieces)| {
            let order: Vec<usize> = pieces.iter().filter_map(|(i, _)| *i).collect();
            batch.records = order.iter().map(|i| batch.records[*i].clone()).collect();
            (
                batch,
                pieces.into_iter().flat_map(|(_, bytes)| bytes).collect(),
            )
        })
}

proptest! {
    #[test]
    fn any_encoded_batch_gives_what_was_encoded(batch in any_batch()) {
        let received = decode(&batch.encode_to_vec()).unwrap();
        prop_assert_eq!(&received.records[..], framed(&batch.records));
        prop_assert_eq!(received.topic, batch.topic);
        prop_assert_eq!(received.topic_id, batch.topic_id);
        prop_assert_eq!((received.partition, received.sequence), (batch.partition, batch.sequence));
    }

    #[test]
    fn records_scattered_over_the_message_are_joined_in_their_order((batch, encoded) in any_scattered()) {
        prop_assert_eq!(&AppendBatch::decode(&encoded[..]).unwrap(), &batch);
        let received = decode(&encoded).unwrap();
        prop_assert_eq!(&received.records[..], framed(&batch.records));
        prop_assert_eq!(received.topic, batch.topic);
        prop_assert_eq!(received.topic_id, batch.topic_id);
        prop_assert_eq!(ReceivedBatch::count_records(&encoded, usize::MAX).count, batch.records.len());
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(encoded in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(received) = decode(&encoded) {
            let ours = AppendBatch::decode(&encoded[..]).unwrap();
            prop_assert_eq!(received.topic, ours.topic);
            prop_assert_eq!(&received.records[..], framed(&ours.records));
            prop_assert_eq!(ReceivedBatch::count_records(&encoded, usize::MAX).count, ours.records.len());
        }
    }

    #[test]
    fn a_damaged_batch_never_panics(
        batch in any_batch(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut encoded = batch.encode_to_vec();
        prop_assume!(!encoded.is_empty());
        for (at, byte) in damage {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        encoded.truncate(cut.index(encoded.len()) + 1);
        decode(&encoded).ok();
    }
}

#[test]
fn records_side_by_side_are_one_slice_of_the_message() {
    let records = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let batch = AppendBatch {
        topic: "t".into(),
        partition: Some(1),
        sequence: Some(0),
        topic_id: String::new(),
        records,
    };
    let encoded = Bytes::from(batch.encode_to_vec());
    let received = ReceivedBatch::decode(&encoded).unwrap();
    assert!(encoded.as_ptr_range().contains(&received.records.as_ptr()));
}

#[test]
fn a_record_behind_an_overlong_tag_is_stored_behind_a_short_one() {
    let encoded = [0xfa, 0x00, 3, b'o', b'n', b'e'];
    assert_eq!(
        &decode(&encoded).unwrap().records[..],
        framed(&[Bytes::from_static(b"one")])
    );
}

#[test]
fn what_is_wrong_with_a_batch_is_named() {
    let mut partition_of_33_bits = Vec::new();
    encoding::uint64::encode(2, &(1 << 32), &mut partition_of_33_bits);
    let mut newer = AppendBatch {
        topic: "t".into(),
        ..AppendBatch::default()
    }
    .encode_to_vec();
    encoding::uint64::encode(5, &7, &mut newer);
    let mut partition_as_text = Vec::new();
    encoding::string::encode(2, &"7".to_owned(), &mut partition_as_text);
    let mut sequence_as_text = Vec::new();
    encoding::string::encode(3, &"7".to_owned(), &mut sequence_as_text);
    let mut topic_id_as_number = Vec::new();
    encoding::uint64::encode(4, &7, &mut topic_id_as_number);
    let mut cut_off = framed(&[Bytes::from_static(b"one")]);
    cut_off.pop();
    let mut endless = vec![crate::proto::wire::RECORD_TAG];
    endless.put_bytes(0xff, 9);
    endless.put_u8(1);

    assert_eq!(
        decode(&partition_of_33_bits),
        Err(MalformedBatch::Partition)
    );
    assert_eq!(decode(&newer), Err(MalformedBatch::UnknownField(5)));
    assert_eq!(decode(&partition_as_text), Err(MalformedBatch::WireType(2)));
    assert_eq!(decode(&sequence_as_text), Err(MalformedBatch::WireType(3)));
    assert_eq!(
        decode(&topic_id_as_number),
        Err(MalformedBatch::WireType(4))
    );
    assert_eq!(decode(&[0x0a, 1, 0xff]), Err(MalformedBatch::Topic));
    assert_eq!(decode(&[0x22, 1, 0xff]), Err(MalformedBatch::TopicId));
    assert_eq!(decode(&cut_off), Err(MalformedBatch::Encoding));
    assert_eq!(decode(&endless), Err(MalformedBatch::Encoding));
}
