//! Records are parsed, or refused with the reason; they are rendered in small steps.

use std::net::SocketAddr;

mod gate;

use bytes::Bytes;
use http::{Method, Request, header::HOST};

use super::{
    events::{parse_id, parse_places},
    json::Records,
    may_be_named,
    query::{Query, decoded},
    rendering::{NotRecords, Rendering},
    routes::{Route, is_call, route},
};
use crate::{
    proto::{Header, Record, wire},
    server::limits::{HTTP_PIECE_BYTES, HTTP_STEP_BYTES, HttpApi},
    types::limits::MAX_CONDITIONS_PER_APPEND,
};

fn record(value: &[u8]) -> Record {
    Record {
        value: Some(Bytes::copy_from_slice(value)),
        offset: Some(7),
        append_time_ms: Some(9),
        ..Record::default()
    }
}

/// Renders records, and returns the pieces of text.
fn pieces(records: &[Record]) -> Vec<String> {
    let mut run = Vec::new();
    for record in records {
        wire::push_record(&mut run, record);
    }
    let mut rendering = Rendering::new(3, run.into());
    let mut pieces = Vec::new();
    loop {
        let piece = rendering.next(&mut None).expect("they are records");
        if piece.is_empty() {
            return pieces;
        }
        pieces.push(piece);
    }
}

#[test]
fn a_record_of_any_size_is_written_in_pieces_that_are_small_and_none_is_within_a_character() {
    // Three bytes each, so that steps do not end between characters by chance.
    let text = "\u{20ac}".repeat(HTTP_PIECE_BYTES);
    let controls = "\u{1}".repeat(4 * HTTP_PIECE_BYTES);
    for (value, length) in [(&text, text.len()), (&controls, 6 * controls.len())] {
        let pieces = pieces(&[record(value.as_bytes())]);
        let most = HTTP_PIECE_BYTES + 6 * HTTP_STEP_BYTES;
        assert!(pieces.iter().all(|piece| piece.len() <= most));
        assert!(pieces.len() > 2);
        let whole = pieces.concat();
        assert!(whole.len() > length);
        let parsed: serde_json::Value = serde_json::from_str(&whole).expect("it is JSON");
        assert_eq!(parsed["value"], **value);
    }
}

#[test]
fn bytes_that_are_no_text_are_base64_whatever_their_number() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    for count in [
        1,
        2,
        3,
        HTTP_STEP_BYTES - 1,
        HTTP_STEP_BYTES,
        3 * HTTP_STEP_BYTES + 1,
    ] {
        let value = vec![0xff; count];
        let whole = pieces(&[record(&value)]).concat();
        let parsed: serde_json::Value = serde_json::from_str(&whole).expect("it is JSON");
        let text = parsed["value_base64"].as_str().expect("it is text");
        assert_eq!(STANDARD.decode(text).expect("it is base64"), value);
    }
}

#[test]
fn what_is_no_record_is_not_written() {
    let mut rendering = Rendering::new(0, Bytes::from_static(b"\x7a\x05abc"));
    assert_eq!(rendering.next(&mut None), Err(NotRecords));
}

#[test]
fn records_are_encoded_as_any_client_encodes_them() {
    let line = br#"{"key":"k","value":"v","type":"t","headers":[{"name":"n","value":"h"}],
        "timestamp_ms":-1,"event_id":"e","expected_version":4}"#;
    let records = Records::of_json(line).expect("it is right");
    let expected = Record {
        key: Some("k".into()),
        value: Some("v".into()),
        r#type: "t".to_owned(),
        headers: vec![Header {
            name: "n".to_owned(),
            value: "h".into(),
        }],
        timestamp_ms: Some(-1),
        event_id: "e".into(),
        ..Record::default()
    };
    let mut run = Vec::new();
    wire::push_record(&mut run, &expected);
    assert_eq!(records.run, run);
    assert!(records.run.len() <= line.len());
    assert_eq!(records.conditions.len(), 1);
    assert_eq!(records.conditions[0].version, 4);
}

#[test]
fn what_a_request_may_not_have_many_of_is_not_gathered_beyond_that() {
    let headers = r#"{"name":"n"},"#.repeat(1_000);
    let line = format!(r#"{{"headers":[{}]}}"#, headers.trim_end_matches(','));
    let refused = Records::of_lines(line.as_bytes()).expect_err("they are too many");
    assert!(refused.contains("at most 64 headers"), "{refused}");
    let lines = "{\"key\":\"k\",\"expected_version\":1}\n".repeat(3_000);
    let records = Records::of_lines(lines.as_bytes()).expect("the broker says that");
    assert_eq!(records.conditions.len(), MAX_CONDITIONS_PER_APPEND + 1);
    assert_eq!(records.count, 3_000);
}

#[test]
fn paths_and_parameters_are_decoded_once() {
    assert_eq!(decoded("a%2Fb%25%ff").as_deref(), Some(&b"a/b%\xff"[..]));
    for broken in ["%", "%a", "%zz", "%+1"] {
        assert_eq!(decoded(broken), None, "{broken}");
    }
    assert!(is_call("/v1") && is_call("/v1/x") && !is_call("/v10") && !is_call("/"));
    let key = route(&Method::GET, "/v1/topics/t/keys/a%2Fb").ok();
    let (topic, key_bytes) = ("t".to_owned(), b"a/b".to_vec());
    assert_eq!(
        key,
        Some(Route::Key {
            topic,
            key: key_bytes
        })
    );
    for unknown in [
        "/v1",
        "/v1/v1/topics",
        "/v1/topics/t",
        "/v1/topics/t/keys/a/b",
    ] {
        assert!(route(&Method::GET, unknown).is_err(), "{unknown}");
    }
    let query = Query::of(Some("key=a+b%26c&key=&follow"), &["key", "follow"]).ok();
    let query = query.expect("it is right");
    assert_eq!(query.all("key").collect::<Vec<_>>(), ["a b&c", ""]);
    assert!(query.one("key").is_err());
    assert!(query.flag("follow").is_ok_and(|follows| follows));
}

#[test]
fn an_id_that_is_none_of_ours_is_refused() {
    let places = vec![(0, 17), (3, u64::MAX)];
    let parsed = parse_id("00000000000000a7/0:17,3:18446744073709551615").ok();
    assert_eq!(parsed, Some(("00000000000000a7".to_owned(), places)));
    for broken in ["", "17", "a7/", "a7/0", "a7/0:x", "a7/0:1,", "a7/-1:1"] {
        assert!(parse_id(broken).is_err(), "{broken}");
    }
    assert_eq!(parse_places("0:1,1:2"), Some(vec![(0, 1), (1, 2)]));
}

#[test]
fn no_browser_is_shown_figures_by_a_name_that_its_page_may_have_made_to_lead_here() {
    let rules = HttpApi {
        hosts: vec!["listed.example".to_owned()],
        ..HttpApi::default()
    };
    let shown = |host: &str, headers: &[(&str, &str)], local: &str, is_secure: bool| {
        let mut request = Request::get("/metrics").header(HOST, host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let local: SocketAddr = local.parse().expect("it is an address");
        let request = request.body(()).expect("it is sound");
        may_be_named(&rules, &request, Some(local), is_secure)
    };
    let (loopback, network) = ("127.0.0.1:9641", "10.0.0.7:9641");
    let browser = [("accept-language", "")];
    let prometheus = [("user-agent", "Prometheus/3.16.0")];
    for local in [loopback, network] {
        for host in [
            "127.0.0.1:9641",
            "10.0.0.7:80",
            "[fd00::7]:9641",
            "localhost",
            "Localhost:1",
            "listed.example",
            "Listed.Example:7",
        ] {
            assert!(shown(host, &browser, local, false), "{host} at {local}");
        }
        for host in ["evil.example:9641", "127.0.0.1.evil.example", "x", ""] {
            assert!(!shown(host, &browser, local, false), "{host} at {local}");
        }
        assert!(shown("broker.example", &browser, local, true), "{local}");
    }
    assert!(shown("broker.example:9641", &prometheus, network, false));
    assert!(!shown("broker.example:9641", &prometheus, loopback, false));
    for (name, value) in [
        ("sec-fetch-site", "same-origin"),
        ("referer", "http://evil.example/"),
        ("origin", "http://evil.example"),
    ] {
        assert!(!shown("evil.example", &[(name, value)], network, false));
    }
}
