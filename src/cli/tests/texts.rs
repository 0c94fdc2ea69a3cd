//! Texts are parsed and formatted.

use std::ffi::OsString;

use crate::cli::{
    connection::with_port,
    failure::Failure,
    flags, hints, output,
    question::Console,
    time::{self, TimeUnit},
};
use crate::{
    client::{self, Error},
    types::{Offset, PartitionId, Position},
};

#[test]
fn the_flags_are_consistent() {
    flags::command().debug_assert();
}

#[test]
fn every_command_says_which_codes_it_ends_with() {
    fn look(command: &mut clap::Command) {
        let (short, long) = (command.render_help(), command.render_long_help());
        for help in [short, long] {
            let help = help.to_string();
            let name = command.get_name();
            assert!(help.contains("Exit codes:\n  0   done"), "{name}: {help}");
        }
        for within in command.get_subcommands_mut() {
            // Clap adds the subcommand `help`, which is not one of ours.
            if within.get_name() != "help" {
                look(within);
            }
        }
    }
    let mut command = flags::command();
    look(&mut command);
    for (name, has, has_not) in [
        (
            "serve",
            &["  74  ", "  78  "][..],
            &["  3   ", "  5   "][..],
        ),
        (
            "clock",
            &["  4   ", "  5   "],
            &["  3   ", "  74  ", "  78  "],
        ),
        ("produce", &["  3   ", "  5   "], &["  6   ", "  74  "]),
        ("inspect", &["  6   ", "  78  "], &["  4   ", "  5   "]),
        ("version", &["  1   "], &["  4   ", "  6   "]),
    ] {
        let command = command.find_subcommand_mut(name).expect("there is one");
        let help = command.render_help().to_string();
        for code in has {
            assert!(help.contains(code), "{name}, {code}: {help}");
        }
        for code in has_not {
            assert!(!help.contains(code), "{name}, {code}: {help}");
        }
    }
    let mut create = command
        .find_subcommand("topic")
        .and_then(|topic| topic.find_subcommand("create"))
        .expect("there is one")
        .clone();
    let help = create.render_help().to_string();
    assert!(help.contains("retention.ms"), "{help}");
}

#[test]
fn a_slip_in_a_name_is_told_from_another_name() {
    let names = ["orders", "Prices", "t", "flights-2013", "orders-eu"];
    let nearest = |typed| hints::nearest(typed, names.iter().map(|name| (*name).to_owned()));
    for (typed, meant) in [
        ("ordres", "orders"),
        ("order", "orders"),
        ("ords", "orders"),
        ("prices", "Prices"),
        ("T", "t"),
        ("flight-2013", "flights-2013"),
        ("orders_eu", "orders-eu"),
    ] {
        assert_eq!(nearest(typed).as_deref(), Some(meant), "{typed}");
    }
    for typed in ["u", "shop", "flights", "ord", ""] {
        assert_eq!(nearest(typed), None, "{typed}");
    }
}

#[test]
fn what_would_steer_a_terminal_is_written_out() {
    for (text, shown) in [
        ("Zoë", "Zoë"),
        ("\u{1b}[2J", "\\u{1b}[2J"),
        ("left\u{202e}thgir", "left\\u{202e}thgir"),
        ("two\u{2028}lines", "two\\u{2028}lines"),
    ] {
        assert_eq!(output::printable(text), shown);
    }
}

#[test]
fn a_time_is_read_as_files_have_it() {
    for text in [
        "2013-01-01T05:17:00Z",
        "2013-01-01t05:17:00z",
        "2013-01-01T05:17:00",
        "2013-01-01 05:17:00",
        "2013-01-01 05:17",
        "2013-01-01T05:17Z",
        "2013-01-01 05:17:00Z",
        "2013-01-01 05:17:00 UTC",
        "2013-01-01 05:17:00.000 GMT",
        "2013-01-01 05:17:00.000 +0000 UTC",
        "2013-01-01T06:17:00+01:00",
        "2013-01-01T06:17:00+0100",
        "2013-01-01T06:17:00+01",
        "2013-01-01 06:17:00 +0100",
        "2013-01-01T00:17:00-05:00",
        "2013-01-01 00:17:00-05",
        "2013-01-01T10:47:00.000000+05:30",
        "2013-01-01T06:17:00+01:00[Europe/Paris]",
        "2013-01-01T05:17:00.0009Z",
        "2013-01-01T05:17:00,000Z",
        "2013-01-01T05:17:00.000000000Z",
        "20130101T051700Z",
        " 2013-01-01T05:17:00Z ",
    ] {
        assert_eq!(time::parse_time(text), Some(1_357_017_420_000), "{text}");
    }
    for (text, expected) in [
        ("2013-01-01 05:17:00.25", 1_357_017_420_250),
        ("2013-01-01T05:17:00.2509999+00:00", 1_357_017_420_250),
        ("1969-12-31T23:59:59Z", -1000),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2013-01-01", 1_356_998_400_000),
        ("2013-01-01Z", 1_356_998_400_000),
        ("2024-02-29", 1_709_164_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ] {
        assert_eq!(time::parse_time(text), Some(expected), "{text}");
    }
    for text in [
        "yesterday",
        "2013-13-01T00:00:00Z",
        "2023-02-29",
        "2013-01-01T25:00:00Z",
        "2013-01-01T05:17:00+25:00",
        "2013-01-01T05:17:00+1",
        "2013-01-01T05:17:00+01:00:00:00",
        "2013-01-01T05:17:00+\u{e9}1",
        "2013-01-01T05:17:00[Europe/Paris]",
        "2013-01-01T05:17:00 CET",
        "2013-01-01T05:17:00+01:00Z",
        "2013-01-01 05:17:00 +0100 UTC",
        "2013-01-01T05:17:00+01:00+00:00",
        "2013-01-01+01:00",
        "01/02/2013",
        "Z",
        "+",
        "",
    ] {
        assert_eq!(time::parse_time(text), None, "{text}");
    }
}

#[test]
fn a_time_is_written_to_the_millisecond() {
    assert_eq!(
        time::format_time(1_357_017_420_250),
        "2013-01-01T05:17:00.250Z"
    );
    assert_eq!(
        time::format_time(253_402_300_799_999),
        "9999-12-31T23:59:59.999Z"
    );
    assert_eq!(time::format_time(i64::MAX), i64::MAX.to_string());
    assert_eq!(time::format_time(i64::MIN), i64::MIN.to_string());
}

#[test]
fn a_place_is_an_edge_an_offset_a_time_or_so_long_ago() {
    let place = |text| time::parse_position(text, 10_000_000);
    assert_eq!(place("earliest"), Ok(Position::Earliest));
    assert_eq!(place("latest"), Ok(Position::Latest));
    assert_eq!(place("17"), Ok(Position::Offset(Offset(17))));
    for (text, ms) in [
        ("1970-01-01T00:00:01Z", 1_000),
        ("-1h", 6_400_000),
        ("-30s", 9_970_000),
        ("-0ms", 10_000_000),
        ("-7d", -594_800_000),
    ] {
        assert_eq!(place(text), Ok(Position::Timestamp(ms)), "{text}");
    }
    for (text, says) in [
        ("-1", "neither earliest"),
        ("-", "-12h"),
        ("--1h", "neither earliest"),
        ("-1w", "-7d"),
        ("-99999999999999999999d", "-7d"),
        ("99999999999999999999", "too large"),
    ] {
        let problem = place(text).unwrap_err();
        assert!(problem.contains(says), "{text}: {problem}");
    }
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
        count: 0,
        failed: Vec::new(),
    };
    assert_eq!(Failure::Call(conflict).code(), 3);
    assert_eq!(Failure::no_partition("t", PartitionId(7), 1).code(), 4);
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

#[test]
fn a_number_is_a_time_from_1990_to_2100() {
    let number = |text, unit| time::time_of_number(text, unit).unwrap();
    for (text, unit, expected) in [
        ("1767225600", TimeUnit::Seconds, 1_767_225_600_000),
        ("1767225600.12399", TimeUnit::Seconds, 1_767_225_600_123),
        ("631152000", TimeUnit::Seconds, 631_152_000_000),
        ("4102444800", TimeUnit::Seconds, 4_102_444_800_000),
        ("1767225600123", TimeUnit::Milliseconds, 1_767_225_600_123),
        ("1767225600123.9", TimeUnit::Milliseconds, 1_767_225_600_123),
        (
            "1767225600123999",
            TimeUnit::Microseconds,
            1_767_225_600_123,
        ),
        (
            "1767225600123999999",
            TimeUnit::Nanoseconds,
            1_767_225_600_123,
        ),
    ] {
        assert_eq!(number(text, unit), Ok(expected), "{text}");
    }
    for (text, unit, hint) in [
        ("1767225600", TimeUnit::Milliseconds, "--time-unit s"),
        ("1767225600123", TimeUnit::Seconds, "--time-unit ms"),
        ("1767225600123", TimeUnit::Nanoseconds, "--time-unit ms"),
        (
            "1767225600123000000",
            TimeUnit::Milliseconds,
            "--time-unit ns",
        ),
        ("631151999.999", TimeUnit::Seconds, "say which unit"),
        ("4133980800", TimeUnit::Seconds, "2101-01-01"),
        ("0", TimeUnit::Milliseconds, "1970-01-01"),
        ("-1767225600", TimeUnit::Seconds, "say which unit"),
        (
            "99999999999999999999999999999",
            TimeUnit::Nanoseconds,
            "no date",
        ),
    ] {
        let problem = number(text, unit).unwrap_err();
        assert!(
            problem.contains(hint) && problem.contains("1990"),
            "{text}: {problem}"
        );
    }
    for text in [
        "", "-", ".", "1.", ".5", "1e9", "0x10", "+1", "1_000", "--1", "\u{661}",
    ] {
        assert_eq!(
            time::time_of_number(text, TimeUnit::Seconds),
            None,
            "{text}"
        );
    }
}

/// The question that is printed, and whether the answer counted as yes.
fn ask(answer: &str, is_terminal: bool, is_seen: bool) -> (String, Result<(), u8>) {
    let mut output = Vec::new();
    let console = Console {
        input: answer.as_bytes(),
        is_terminal,
        output: &mut output,
        is_seen,
    };
    let asked = console.ask("delete topic orders", "It is gone then.");
    let asked = asked.map_err(|failure| failure.code());
    (String::from_utf8(output).unwrap(), asked)
}

#[test]
fn somebody_at_a_terminal_is_asked_and_a_script_is_not() {
    for answer in ["y\n", "Y\n", "yes\n", " Yes \n", "y"] {
        let (question, asked) = ask(answer, true, true);
        assert_eq!(asked, Ok(()), "{answer:?}");
        assert_eq!(question, "delete topic orders? It is gone then. [y/N] ");
    }
    for answer in ["", "\n", "n\n", "no\n", "yess\n", "orders\n"] {
        assert_eq!(ask(answer, true, true).1, Err(1), "{answer:?}");
    }
    for is_seen in [false, true] {
        assert_eq!(ask("n\n", false, is_seen), (String::new(), Ok(())));
    }
    // The question would not be seen.
    assert_eq!(ask("y\n", true, false), (String::new(), Err(2)));
}

#[test]
fn a_broker_without_a_port_is_at_the_port_of_brokers() {
    for (given, url) in [
        ("localhost", "http://localhost:9640"),
        ("http://localhost", "http://localhost:9640"),
        ("http://localhost/", "http://localhost:9640/"),
        ("http://localhost:", "http://localhost:9640"),
        ("10.0.0.1", "http://10.0.0.1:9640"),
        ("::1", "http://[::1]:9640"),
        ("[::1]", "http://[::1]:9640"),
        ("https://[::1]/", "https://[::1]:9640/"),
    ] {
        assert_eq!(with_port(given), (url.to_owned(), false), "{given}");
    }
    for (given, url) in [
        ("localhost:80", "http://localhost:80"),
        ("http://localhost:9640/", "http://localhost:9640/"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("https://broker:443", "https://broker:443"),
        ("unix:/var/lib/taffrail", "unix:/var/lib/taffrail"),
        ("unix:data", "unix:data"),
    ] {
        assert_eq!(with_port(given), (url.to_owned(), true), "{given}");
    }
}

#[test]
fn a_duration_is_shown_in_its_largest_unit() {
    for (seconds, shown) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (86_399, "23 h"),
        (8 * 86_400, "8 d"),
    ] {
        let duration = std::time::Duration::from_secs(seconds);
        assert_eq!(time::format_duration(duration), shown);
    }
}

#[test]
fn a_longest_time_is_never_shown_shorter_than_it_is() {
    for (millis, shown) in [
        (2_000, "2 s"),
        (2_500, "3 s"),
        (61_000, "1 min 1 s"),
        (3_599_500, "1 h"),
        (4_500_000, "1 h 15 min"),
        (4_500_001, "1 h 16 min"),
        (86_399_000, "1 d"),
        (37 * 86_400_000, "37 d"),
        (26 * 3_600_000 + 1, "1 d 3 h"),
    ] {
        let duration = std::time::Duration::from_millis(millis);
        assert_eq!(time::format_at_most(duration), shown);
    }
}

#[test]
fn the_keys_of_entity_latest_come_behind_its_flags_and_nothing_else_is_moved() {
    for (typed, expected) in [
        (
            "taffrail entity latest t -a b --json",
            "taffrail entity latest --json -- t -a b",
        ),
        (
            "taffrail entity --server u latest t --server=v -1 --json",
            "taffrail entity --server u latest --server=v --json -- t -1",
        ),
        (
            "taffrail entity latest t -- --json -- x",
            "taffrail entity latest -- t --json -- x",
        ),
        (
            "taffrail entity latest --help",
            "taffrail entity latest --help --",
        ),
        (
            "taffrail entity read latest k --max 3",
            "taffrail entity read latest k --max 3",
        ),
        (
            "taffrail entity --json read latest k",
            "taffrail entity --json read latest k",
        ),
        (
            "taffrail consume latest --max 3",
            "taffrail consume latest --max 3",
        ),
        (
            "taffrail --server u --json entity latest t -a",
            "taffrail --server u --json entity latest -- t -a",
        ),
        (
            "taffrail --server entity topic latest",
            "taffrail --server entity topic latest",
        ),
        ("taffrail", "taffrail"),
    ] {
        let words = flags::typed::arguments(typed.split(' ').map(OsString::from));
        let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
        assert_eq!(words, expected, "{typed}");
    }
}
