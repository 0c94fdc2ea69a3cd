//! Views of an encoded record agree with the generated code, and a sequence of records is split as
//! it was joined.

use proptest::{option, prelude::*};
use prost::Message;

use crate::{
    proto::{Header, Record},
    types::{MalformedRecord, RecordView, Records},
};

fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = bytes::Bytes> {
    prop::collection::vec(any::<u8>(), len).prop_map(Into::into)
}

fn header() -> impl Strategy<Value = Header> {
    ("\\PC{1,20}", bytes(0..30)).prop_map(|(name, value)| Header { name, value })
}

/// Any record that a client may send.
pub(super) fn new_record() -> impl Strategy<Value = Record> {
    (
        option::of(bytes(1..80)),
        option::of(bytes(0..200)),
        "\\PC{0,30}",
        prop::collection::vec(header(), 0..5),
        option::of(any::<i64>()),
        bytes(0..=64),
    )
        .prop_map(
            |(key, value, r#type, headers, timestamp_ms, event_id)| Record {
                key,
                value,
                r#type,
                headers,
                timestamp_ms,
                event_id,
                ..Record::default()
            },
        )
}

/// Any record as it is stored.
pub(super) fn stored_record() -> impl Strategy<Value = Record> {
    (
        new_record(),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(any::<i64>()),
        option::of(bytes(0..40)),
    )
        .prop_map(|(record, offset, version, append_time_ms, erased)| Record {
            offset,
            version,
            append_time_ms,
            erased,
            ..record
        })
}

fn assert_same(view: &RecordView<'_>, record: &Record) {
    assert_eq!(view.key, record.key.as_deref());
    assert_eq!(view.value, record.value.as_deref());
    assert_eq!(view.event_type, record.r#type);
    assert_eq!(view.timestamp_ms, record.timestamp_ms);
    assert_eq!(view.event_id, record.event_id);
    assert_eq!(view.offset, record.offset);
    assert_eq!(view.version, record.version);
    assert_eq!(view.append_time_ms, record.append_time_ms);
    assert_eq!(view.erased, record.erased.as_deref());
    let headers: Vec<Header> = view
        .headers()
        .map(|(name, value)| Header {
            name: name.to_owned(),
            value: value.to_vec().into(),
        })
        .collect();
    assert_eq!(headers, record.headers);
}

proptest! {
    #[test]
    fn a_view_shows_what_the_generated_code_encoded(record in stored_record()) {
        let encoded = record.encode_to_vec();
        let view = RecordView::parse(&encoded).expect("a valid record");
        assert_same(&view, &record);
        prop_assert_eq!(view.encoded(), &encoded[..]);
    }

    #[test]
    fn a_record_without_the_brokers_fields_is_taken_and_one_with_any_is_not(record in stored_record()) {
        let theirs = record.offset.is_some() || record.version.is_some() || record.append_time_ms.is_some()
            || record.erased.is_some();
        prop_assert_eq!(RecordView::parse_new(&record.encode_to_vec()).is_err(), theirs);
    }

    #[test]
    fn fields_added_behind_a_record_are_seen_and_change_nothing_else(record in new_record(), offset: u64) {
        let mut spliced = record.encode_to_vec();
        spliced.extend(Record { offset: Some(offset), ..Record::default() }.encode_to_vec());
        let view = RecordView::parse(&spliced).expect("a valid record");
        assert_same(&view, &Record { offset: Some(offset), ..record });
    }

    #[test]
    fn a_run_is_taken_apart_as_it_was_put_together(records in prop::collection::vec(stored_record(), 0..8)) {
        let (mut run, mut expected) = (Vec::new(), Vec::new());
        for record in &records {
            let start = run.len();
            prost::encoding::message::encode(15, record, &mut run);
            expected.push((start..run.len(), record.encode_to_vec()));
        }
        let found: Vec<_> = Records::new(&run)
            .map(|element| element.map(|(place, encoded)| (place, encoded.to_vec())).expect("a valid run"))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn no_bytes_at_all_are_an_empty_record() {
    let view = RecordView::parse_new(&[]).expect("every field is optional");
    assert_eq!(view, RecordView::default());
    assert_eq!(view.headers().count(), 0);
}

#[test]
fn an_empty_value_is_not_a_tombstone() {
    let empty = Record {
        value: Some(bytes::Bytes::new()),
        ..Record::default()
    }
    .encode_to_vec();
    assert_eq!(
        RecordView::parse(&empty).expect("valid").value,
        Some(&[][..])
    );
    assert_eq!(RecordView::parse(&[]).expect("valid").value, None);
}

#[test]
fn of_a_field_that_is_there_twice_the_last_counts_as_everywhere_in_protobuf() {
    let mut encoded = Record {
        key: Some("first".into()),
        ..Record::default()
    }
    .encode_to_vec();
    encoded.extend(
        Record {
            key: Some("second".into()),
            ..Record::default()
        }
        .encode_to_vec(),
    );
    assert_eq!(
        RecordView::parse(&encoded).expect("valid").key,
        Some(&b"second"[..])
    );
    assert_eq!(
        Record::decode(&encoded[..]).expect("valid").key.as_deref(),
        Some(&b"second"[..])
    );
}

#[test]
fn a_run_that_breaks_gives_what_is_before_the_break_then_one_error_and_ends() {
    let mut run = Vec::new();
    prost::encoding::message::encode(
        15,
        &Record {
            key: Some("k".into()),
            ..Record::default()
        },
        &mut run,
    );
    let whole = run.len();
    for behind in [&[0x7a, 0x05, 0x00][..], &[0x7a], &[0x0a, 0x00], &[0xff]] {
        run.truncate(whole);
        run.extend(behind);
        let mut records = Records::new(&run);
        assert_eq!(records.next().expect("one").expect("valid").0, 0..whole);
        assert_eq!(records.next(), Some(Err(MalformedRecord::Encoding)));
        assert_eq!(records.next(), None);
    }
}
