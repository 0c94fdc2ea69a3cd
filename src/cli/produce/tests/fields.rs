//! Key, type and time are taken from lines.

use crate::cli::{
    produce::fields::{Extracted, Field, Fields},
    time::TimeUnit,
};

fn field(name: &str, is_optional: bool) -> Option<Field> {
    let name = name.to_owned();
    Some(Field { name, is_optional })
}

fn fields() -> Fields {
    Fields {
        key: field("tail", true),
        event_type: field("type", true),
        time: field("time", true),
        time_unit: TimeUnit::default(),
    }
}

fn key_field(name: &str) -> Fields {
    Fields {
        key: field(name, false),
        ..Fields::default()
    }
}

fn key_of(line: &str) -> Result<Option<String>, String> {
    fields()
        .extract(line.as_bytes())
        .map(|extracted| extracted.key)
}

#[test]
fn a_flight_has_key_type_and_time() {
    let line = r#"{"type":"departed","time":"2013-01-01T05:17:00","flight":{"no":[1,{"tail":0}]},"tail":"N14228"}"#;
    assert_eq!(
        fields().extract(line.as_bytes()).unwrap(),
        Extracted {
            key: Some("N14228".to_owned()),
            event_type: Some("departed".to_owned()),
            timestamp_ms: Some(1_357_017_420_000)
        }
    );
}

#[test]
fn a_field_that_may_be_missing_and_one_that_is_null_are_left_out() {
    assert_eq!(
        fields().extract(br#"{"tail":null,"type":null}"#).unwrap(),
        Extracted::default()
    );
    assert_eq!(fields().extract(b"{}").unwrap(), Extracted::default());
}

#[test]
fn a_field_that_may_not_be_missing_is_named() {
    assert_eq!(
        key_field("k").extract(br#"{"k":null}"#),
        Ok(Extracted::default())
    );
    let problem = key_field("k").extract(br#"{"key":1}"#).unwrap_err();
    assert!(
        problem.contains("no field \"k\"") && problem.contains("--key-optional"),
        "{problem}"
    );
}

#[test]
fn a_name_with_dots_is_followed_the_longest_part_that_there_is_first() {
    for (name, line, key) in [
        ("a.b", r#"{"a":{"b":1}}"#, Some("1")),
        ("a.b", r#"{"a":{"b":1},"a.b":2}"#, Some("2")),
        ("a.b", r#"{"a.b":2,"a":{"b":1}}"#, Some("2")),
        ("a.b", r#"{"a":{"b":null},"x":1}"#, None),
        ("a.b.c", r#"{"a":{"b":{"c":3}}}"#, Some("3")),
        ("a.b.c", r#"{"a":{"b.c":4}}"#, Some("4")),
        ("a.b.c", r#"{"a.b":{"c":5},"a":{"b":{"c":3}}}"#, Some("5")),
        ("a.b", r#"{"a":{"b":1},"a":{"b":6}}"#, Some("6")),
        ("\u{e4}.\u{f6}", "{\"\u{e4}\":{\"\\u00f6\":7}}", Some("7")),
        (".", r#"{"":{"":8}}"#, Some("8")),
    ] {
        let extracted = key_field(name).extract(line.as_bytes()).unwrap();
        assert_eq!(extracted.key.as_deref(), key, "{name} of {line}");
    }
    for line in [
        r#"{"ab":1}"#,
        r#"{"a":1}"#,
        r#"{"a":[{"b":1}]}"#,
        r#"{"a":{}}"#,
        r#"{"b":1}"#,
    ] {
        let problem = key_field("a.b").extract(line.as_bytes()).unwrap_err();
        assert!(problem.contains("no field \"a.b\""), "{line}: {problem}");
    }
}

#[test]
fn numbers_and_booleans_are_keys_as_they_are_written() {
    for (line, key) in [
        (r#"{"tail":1.50}"#, "1.50"),
        (
            r#"{"tail":123456789012345678901234567890}"#,
            "123456789012345678901234567890",
        ),
        (r#"{"tail":true}"#, "true"),
        (r#"{"tail":"a\u00e4\n"}"#, "a\u{e4}\n"),
        (r#"{"t\u0061il":"escaped name"}"#, "escaped name"),
        (r#"{"tail":"first","tail":"last"}"#, "last"),
    ] {
        assert_eq!(key_of(line).unwrap().as_deref(), Some(key), "{line}");
    }
}

#[test]
fn a_key_that_is_no_single_value_or_too_long_is_refused() {
    assert!(
        key_of(r#"{"tail":{"a":1}}"#)
            .unwrap_err()
            .contains("must be one value")
    );
    assert!(key_of(r#"{"tail":""}"#).unwrap_err().contains("is empty"));
    let long = format!(r#"{{"tail":"{}"}}"#, "x".repeat(65_536));
    assert!(key_of(&long).unwrap_err().contains("65536 bytes"));
}

#[test]
fn a_line_that_is_no_object_is_refused_with_the_place() {
    for line in [
        "",
        "  ",
        "[1]",
        "17",
        r#"{"tail":"#,
        r#"{"tail":1} x"#,
        "\u{fffd}{}",
    ] {
        let problem = key_of(line).unwrap_err();
        assert!(
            problem.starts_with("it is not a JSON object (") && problem.contains(" at column "),
            "{line}: {problem}"
        );
    }
}

#[test]
fn a_time_is_text_or_a_number_of_milliseconds() {
    let time = |line: &str| {
        fields()
            .extract(line.as_bytes())
            .map(|extracted| extracted.timestamp_ms)
    };
    assert_eq!(
        time(r#"{"time":1357017420000}"#),
        Ok(Some(1_357_017_420_000))
    );
    assert_eq!(
        time(r#"{"time":"2013-01-01T00:17:00-05:00"}"#),
        Ok(Some(1_357_017_420_000))
    );
    for line in [
        r#"{"time":"noon"}"#,
        r#"{"time":true}"#,
        r#"{"time":"2013-13-01"}"#,
        r#"{"time":1e12}"#,
    ] {
        assert!(time(line).unwrap_err().contains("not a time"), "{line}");
    }
    for line in [r#"{"time":1.5}"#, r#"{"time":0}"#, r#"{"time":"20130101"}"#] {
        let time = time(line);
        let is_right = match &time {
            Ok(date) => *date == Some(1_356_998_400_000),
            Err(problem) => problem.contains("1990"),
        };
        assert!(is_right, "{line}: {time:?}");
    }
    assert_eq!(
        time(r#"{"time":"1357017420000"}"#),
        Ok(Some(1_357_017_420_000))
    );
}

#[test]
fn without_fields_any_line_will_do() {
    assert_eq!(
        Fields::default().extract(b"\xff not json"),
        Ok(Extracted::default())
    );
}
