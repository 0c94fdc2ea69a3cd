//! Fields that a later version adds to a record, and to what is around it.

use prost::Message;

use crate::{
    proto::{Header, Record},
    types::{MalformedRecord, RecordView, Records},
};

/// The tag of a field of this wire type.
fn tag(field: u32, wire: u32) -> Vec<u8> {
    let mut tag = Vec::new();
    prost::encoding::encode_varint(u64::from(field << 3 | wire), &mut tag);
    tag
}

/// A field of each wire type, with its number: a number, eight bytes, bytes, a group with a group
/// and a number in it, four bytes.
fn later_fields() -> Vec<(u32, Vec<u8>)> {
    let mut fields = Vec::new();
    for number in [7, 1_000] {
        let group = [
            tag(number, 3),
            tag(1, 3),
            tag(2, 0),
            vec![0x96, 1],
            tag(1, 4),
            tag(number, 4),
        ];
        fields.push((number, [tag(number, 0), vec![0x96, 1]].concat()));
        fields.push((number, [tag(number, 1), vec![9; 8]].concat()));
        fields.push((number, [tag(number, 2), vec![3, 7, 7, 7]].concat()));
        fields.push((number, group.concat()));
        fields.push((number, [tag(number, 5), vec![9; 4]].concat()));
    }
    fields
}

fn record() -> Record {
    Record {
        key: Some("k".into()),
        value: Some("v".into()),
        r#type: "t".to_owned(),
        ..Record::default()
    }
}

#[test]
fn a_field_of_a_later_version_is_passed_over_when_it_is_read_and_refused_in_an_append() {
    let known = record().encode_to_vec();
    for (number, field) in later_fields() {
        for place in 0..=2 {
            let mut parts = vec![&known[..3], &known[3..]];
            parts.insert(place, &field);
            let encoded = parts.concat();
            let view = RecordView::parse(&encoded).expect("what is known is there");
            assert_eq!(view.key, Some(&b"k"[..]));
            assert_eq!(view.value, Some(&b"v"[..]));
            assert_eq!(view.event_type, "t");
            assert_eq!(view.encoded(), encoded);
            assert_eq!(
                RecordView::parse_new(&encoded),
                Err(MalformedRecord::UnknownField(number))
            );
        }
    }
}

#[test]
fn so_is_one_in_a_header_or_between_headers() {
    let header = Header {
        name: "n".to_owned(),
        value: "v".into(),
    };
    let plain = header.encode_to_vec();
    for (number, field) in later_fields() {
        let mut encoded = field.clone();
        for inner in [[&plain[..], &field].concat(), [&field[..], &plain].concat()] {
            prost::encoding::bytes::encode(4, &inner, &mut encoded);
            encoded.extend(&field);
        }
        let view = RecordView::parse(&encoded).expect("what is known is there");
        let headers: Vec<_> = view.headers().collect();
        assert_eq!(headers, [("n", &b"v"[..]); 2]);
        let mut new = Vec::new();
        prost::encoding::bytes::encode(4, &[&plain[..], &field].concat(), &mut new);
        assert_eq!(
            RecordView::parse_new(&new),
            Err(MalformedRecord::UnknownHeaderField(number))
        );
    }
}

#[test]
fn records_of_a_response_are_found_between_and_ahead_of_fields_of_a_later_version() {
    let mut one = Vec::new();
    prost::encoding::message::encode(15, &record(), &mut one);
    for (number, field) in later_fields() {
        let run = [&field[..], &one, &field, &field, &one, &field].concat();
        let found: Vec<_> = Records::received(&run).collect();
        if number < 15 {
            // What is known of a response comes ahead of its records: this is something else.
            assert_eq!(found, [Err(MalformedRecord::Encoding)]);
            continue;
        }
        assert_eq!(found.len(), 2);
        for element in found {
            let (place, encoded) = element.expect("a record");
            assert_eq!(run[place], one);
            assert_eq!(encoded, record().encode_to_vec());
        }
        let mut of_a_frame = Records::new(&run);
        assert_eq!(of_a_frame.next(), Some(Err(MalformedRecord::Encoding)));
        assert_eq!(of_a_frame.next(), None);
    }
}

#[test]
fn a_field_that_does_not_end_is_no_field() {
    let mut deep = Vec::new();
    for _ in 0..1_000 {
        deep.extend(tag(7, 3));
    }
    for malformed in [
        tag(7, 0),
        [tag(7, 1), vec![0; 7]].concat(),
        [tag(7, 2), vec![2, 0]].concat(),
        tag(7, 3),
        [tag(7, 3), tag(8, 4)].concat(),
        tag(7, 4),
        [tag(7, 5), vec![0; 3]].concat(),
        tag(7, 6),
        deep,
    ] {
        assert_eq!(
            RecordView::parse(&malformed),
            Err(MalformedRecord::Encoding),
            "{malformed:02x?}"
        );
    }
}
