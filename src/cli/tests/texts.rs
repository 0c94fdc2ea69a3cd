//! Texts in and out.

use clap::CommandFactory;

use crate::cli::{failure::Failure, flags::Flags, output, time};
use crate::{
    client::{self, Error},
    types::{Offset, Position},
};

#[test]
fn the_flags_are_consistent() {
    Flags::command().debug_assert();
}

#[test]
fn a_time_is_read_with_a_zone_or_as_utc() {
    for (text, expected) in [
        ("2013-01-01T05:17:00Z", Some(1_357_017_420_000)),
        ("2013-01-01T05:17:00", Some(1_357_017_420_000)),
        ("2013-01-01T06:17:00+01:00", Some(1_357_017_420_000)),
        ("2013-01-01 05:17:00.25", Some(1_357_017_420_250)),
        ("1969-12-31T23:59:59Z", Some(-1000)),
        ("2013-01-01", Some(1_356_998_400_000)),
        ("yesterday", None),
        ("2013-13-01T00:00:00Z", None),
        ("", None),
    ] {
        assert_eq!(time::parse_time(text), expected, "{text}");
    }
}

#[test]
fn a_time_is_written_to_the_millisecond() {
    assert_eq!(
        time::format_time(1_357_017_420_250),
        "2013-01-01T05:17:00.250Z"
    );
    assert_eq!(time::format_time(i64::MAX), i64::MAX.to_string());
}

#[test]
fn a_place_is_an_edge_an_offset_or_a_time() {
    assert_eq!(time::parse_position("earliest"), Ok(Position::Earliest));
    assert_eq!(time::parse_position("latest"), Ok(Position::Latest));
    assert_eq!(time::parse_position("17"), Ok(Position::Offset(Offset(17))));
    assert_eq!(
        time::parse_position("1970-01-01T00:00:01Z"),
        Ok(Position::Timestamp(1000))
    );
    assert!(
        time::parse_position("-1")
            .unwrap_err()
            .contains("neither earliest")
    );
    assert!(
        time::parse_position("99999999999999999999")
            .unwrap_err()
            .contains("too large")
    );
}

#[test]
fn numbers_are_printed_for_people() {
    assert_eq!(output::count(0), "0");
    assert_eq!(output::count(999), "999");
    assert_eq!(output::count(53_402), "53,402");
    assert_eq!(output::count(1_000_000), "1,000,000");
    assert_eq!(output::counted(1, "record"), "1 record");
    assert_eq!(output::counted(2000, "record"), "2,000 records");
    assert_eq!(output::bytes(999), "999 B");
    assert_eq!(output::bytes(6_300_000), "6.3 MB");
}

#[test]
fn the_exit_code_says_what_is_true() {
    let unavailable = || Error::Unavailable {
        message: String::new(),
    };
    let refused = client::Refusal {
        code: String::new(),
        reason: String::new(),
        message: String::new(),
        metadata: Default::default(),
        retry_after: None,
    };
    assert_eq!(Failure::General(String::new()).code(), 1);
    assert_eq!(Failure::Usage(String::new()).code(), 2);
    assert_eq!(Failure::Call(Error::Refused(Box::new(refused))).code(), 4);
    let conflict = Error::Conflict {
        message: String::new(),
        failed: Vec::new(),
    };
    assert_eq!(Failure::Call(conflict).code(), 3);
    assert_eq!(Failure::Missing(String::new()).code(), 4);
    assert_eq!(Failure::Call(unavailable()).code(), 5);
    assert_eq!(
        Failure::CallIn {
            message: String::new(),
            source: unavailable()
        }
        .code(),
        5
    );
    assert_eq!(Failure::DataLoss(String::new()).code(), 6);
    assert_eq!(Failure::Storage(String::new()).code(), 74);
    assert_eq!(Failure::Unusable(String::new()).code(), 78);
}
