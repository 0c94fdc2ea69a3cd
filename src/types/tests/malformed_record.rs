//! Bytes that are not a record are refused with a reason, without a panic.

use proptest::prelude::*;
use prost::Message;

use super::record::stored_record;
use crate::{
    proto::{Header, Record},
    types::{
        MalformedRecord, RecordView, Records,
        limits::{MAX_EVENT_ID_BYTES, MAX_HEADERS, MAX_KEY_BYTES, MAX_NAME_BYTES},
    },
};

const KEY: u8 = 1 << 3 | 2;
const TYPE: u8 = 3 << 3 | 2;
const HEADER: u8 = 4 << 3 | 2;
const TIMESTAMP: u8 = 5 << 3;
const OFFSET: u8 = 12 << 3 | 1;

fn refusal(encoded: &[u8]) -> MalformedRecord {
    RecordView::parse_new(encoded).expect_err("it is malformed")
}

fn refusal_of(record: &Record) -> MalformedRecord {
    refusal(&record.encode_to_vec())
}

#[test]
fn an_encoding_that_ends_early_or_lies_about_a_length_is_refused() {
    for encoded in [
        &[KEY][..],
        &[KEY, 1],
        &[KEY, 5, b'a'],
        &[KEY, 0xff, 0xff, 0xff, 0xff, 0x0f, b'a'],
        &[
            KEY, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'a',
        ],
        &[TIMESTAMP],
        &[TIMESTAMP, 0x80],
        &[
            TIMESTAMP, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
        ],
        &[
            TIMESTAMP, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
        ],
        &[OFFSET, 1, 2, 3, 4, 5, 6, 7],
        &[0x00],
        &[0x02, 0x00],
        &[HEADER, 2, KEY, 9],
    ] {
        assert_eq!(
            refusal(encoded),
            MalformedRecord::Encoding,
            "{encoded:02x?}"
        );
    }
}

#[test]
fn a_field_that_a_record_does_not_have_is_refused_by_its_number() {
    assert_eq!(refusal(&[7 << 3, 0]), MalformedRecord::UnknownField(7));
    assert_eq!(refusal(&[0x82, 0x01, 0]), MalformedRecord::UnknownField(16));
    assert_eq!(
        refusal(&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0]),
        MalformedRecord::UnknownField((1 << 29) - 1)
    );
    assert_eq!(
        refusal(&[HEADER, 2, 3 << 3, 0]),
        MalformedRecord::UnknownHeaderField(3)
    );
}

#[test]
fn a_field_of_the_wrong_wire_type_is_refused_by_its_number() {
    for field in [1u8, 2, 3, 4, 6] {
        assert_eq!(
            refusal(&[field << 3, 0]),
            MalformedRecord::WireType(u32::from(field))
        );
    }
    assert_eq!(refusal(&[5 << 3 | 2, 0]), MalformedRecord::WireType(5));
    assert_eq!(refusal(&[12 << 3, 0]), MalformedRecord::WireType(12));
    assert_eq!(
        refusal(&[15 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        MalformedRecord::WireType(15)
    );
    // Groups and 32-bit fields; no field of a record has these wire types.
    for wire in [3u8, 4, 5, 6, 7] {
        assert_eq!(refusal(&[1 << 3 | wire]), MalformedRecord::WireType(1));
    }
    assert_eq!(
        refusal(&[HEADER, 2, 1 << 3, 0]),
        MalformedRecord::WireType(4)
    );
}

#[test]
fn a_field_that_only_the_broker_sets_is_refused_by_its_name() {
    let zero = Some(0);
    assert_eq!(
        refusal_of(&Record {
            offset: zero,
            ..Record::default()
        }),
        MalformedRecord::BrokerField("offset")
    );
    assert_eq!(
        refusal_of(&Record {
            version: zero,
            ..Record::default()
        }),
        MalformedRecord::BrokerField("version")
    );
    let erased = Some(vec![1; 32].into());
    assert_eq!(
        refusal_of(&Record {
            erased,
            ..Record::default()
        }),
        MalformedRecord::BrokerField("erased")
    );
    assert_eq!(
        refusal(&[15 << 3 | 2, 0]),
        MalformedRecord::BrokerField("erased"),
        "present, though empty"
    );
    let error = refusal_of(&Record {
        append_time_ms: Some(0),
        ..Record::default()
    });
    assert_eq!(
        error.to_string(),
        "append_time_ms is set by the broker; leave it out"
    );
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert_eq!(
        refusal(&[TYPE, 1, 0xff]).to_string(),
        "the type is not UTF-8"
    );
    assert_eq!(
        refusal(&[HEADER, 3, KEY, 1, 0xff]).to_string(),
        "a header's name is not UTF-8"
    );
    // A character cut in half.
    assert_eq!(
        refusal(&[TYPE, 1, 0xc3]),
        MalformedRecord::NotUtf8("the type")
    );
}

#[test]
fn an_empty_key_and_an_empty_header_name_are_refused() {
    let empty_key = refusal_of(&Record {
        key: Some(bytes::Bytes::new()),
        ..Record::default()
    });
    assert_eq!(
        empty_key.to_string(),
        "the key is empty; leave it out, or give it at least one byte"
    );
    let nameless = refusal_of(&Record {
        headers: vec![Header::default()],
        ..Record::default()
    });
    assert_eq!(nameless, MalformedRecord::Empty("a header's name"));
}

#[test]
fn each_bound_is_allowed_and_one_more_is_refused() {
    let of_key = |len| Record {
        key: Some(vec![1; len].into()),
        ..Record::default()
    };
    let of_type = |len| Record {
        r#type: "t".repeat(len),
        ..Record::default()
    };
    let of_event_id = |len| Record {
        event_id: vec![1; len].into(),
        ..Record::default()
    };
    let of_header_name = |len| Record {
        headers: vec![Header {
            name: "n".repeat(len),
            ..Header::default()
        }],
        ..Record::default()
    };
    type Case<'a> = (&'static str, usize, &'a dyn Fn(usize) -> Record);
    let cases: [Case<'_>; 4] = [
        ("the key", MAX_KEY_BYTES, &of_key),
        ("the type", MAX_NAME_BYTES, &of_type),
        ("the event id", MAX_EVENT_ID_BYTES, &of_event_id),
        ("a header's name", MAX_NAME_BYTES, &of_header_name),
    ];
    for (what, max, of_length) in cases {
        RecordView::parse_new(&of_length(max).encode_to_vec()).expect(what);
        let error = refusal_of(&of_length(max + 1));
        assert_eq!(
            error,
            MalformedRecord::TooLong {
                what,
                len: max + 1,
                max
            }
        );
        assert_eq!(
            error.to_string(),
            format!("{what} has {} bytes; at most {max} are allowed", max + 1)
        );
    }
}

#[test]
fn the_number_of_headers_is_bounded() {
    let of_headers = |count| Record {
        headers: vec![
            Header {
                name: "n".to_owned(),
                ..Header::default()
            };
            count
        ],
        ..Record::default()
    };
    let most = of_headers(MAX_HEADERS).encode_to_vec();
    assert_eq!(
        RecordView::parse_new(&most)
            .expect("at the bound")
            .headers()
            .count(),
        MAX_HEADERS
    );
    assert_eq!(
        refusal_of(&of_headers(MAX_HEADERS + 1)).to_string(),
        "it has 65 headers; at most 64 are allowed"
    );
}

/// Calls every accessor, as the broker and the client do.
fn exercise(bytes: &[u8]) {
    if let Ok(record) = RecordView::parse(bytes) {
        // The generated code of every client must accept whatever the view accepts.
        let decoded = Record::decode(bytes).expect("what the view takes, generated code takes");
        assert_eq!(record.headers().count(), decoded.headers.len());
        assert_eq!(record.key, decoded.key.as_deref());
    }
    let mut end = 0;
    for element in Records::new(bytes) {
        let Ok((place, encoded)) = element else { break };
        assert_eq!(place.start, end, "elements lie side by side");
        assert!(place.end <= bytes.len() && encoded.len() < place.len());
        end = place.end;
    }
    for element in Records::received(bytes) {
        let Ok((place, encoded)) = element else { break };
        assert!(place.end <= bytes.len() && encoded.len() < place.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn arbitrary_bytes_never_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        exercise(&bytes);
    }

    #[test]
    fn a_valid_record_with_bytes_changed_never_causes_a_panic(
        record in stored_record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut run = Vec::new();
        prost::encoding::message::encode(15, &record, &mut run);
        let mut encoded = record.encode_to_vec();
        for (place, byte) in changes {
            if !encoded.is_empty() {
                let place = place.index(encoded.len());
                encoded[place] = byte;
            }
            let place = place.index(run.len());
            run[place] = byte;
        }
        exercise(&encoded);
        exercise(&run);
    }

    #[test]
    fn a_valid_record_cut_short_never_causes_a_panic(record in stored_record(), cut: prop::sample::Index) {
        let mut run = Vec::new();
        prost::encoding::message::encode(15, &record, &mut run);
        exercise(&run[..cut.index(run.len())]);
        let encoded = record.encode_to_vec();
        exercise(&encoded[..cut.index(encoded.len() + 1)]);
    }
}
