//! Sizes and durations as people write them.

use proptest::prelude::*;

use crate::types::{parse_bytes, parse_millis};

#[test]
fn sizes_are_read_with_binary_and_decimal_units() {
    for (text, bytes) in [
        ("0", 0),
        ("65536", 65_536),
        ("1B", 1),
        ("64KiB", 65_536),
        ("1MiB", 1_048_576),
        ("2GiB", 2_147_483_648),
        ("2TiB", 2_199_023_255_552),
        ("5KB", 5_000),
        ("5MB", 5_000_000),
        ("5GB", 5_000_000_000),
        ("5TB", 5_000_000_000_000),
        ("1mib", 1_048_576),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
}

#[test]
fn durations_are_read_as_milliseconds() {
    for (text, millis) in [
        ("250", 250),
        ("500ms", 500),
        ("30s", 30_000),
        ("10m", 600_000),
        ("12h", 43_200_000),
        ("7d", 604_800_000),
    ] {
        assert_eq!(parse_millis(text), Ok(millis), "{text}");
    }
}

#[test]
fn anything_else_is_refused_with_an_example() {
    for text in [
        "", " ", "KiB", "-1", "+1", "1.5MiB", "1 MiB", "1MiB ", "1PiB", "0x10", "1e3", "١",
        "1KiBKiB", "10 m",
    ] {
        let error = parse_bytes(text).expect_err(text).to_string();
        assert_eq!(
            error,
            format!("{text:?} is not a size such as 65536, 64KiB, 1MiB or 2GiB")
        );
        let error = parse_millis(text).expect_err(text).to_string();
        assert_eq!(
            error,
            format!("{text:?} is not a duration such as 500ms, 30s, 10m, 12h or 7d")
        );
    }
}

#[test]
fn a_product_past_64_bits_is_refused_instead_of_wrapped() {
    for text in [
        "18446744073709551616",
        "18014398509481984KiB",
        "99999999999GiB",
    ] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
    assert!(parse_millis("999999999999999d").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = (parse_bytes(&text), parse_millis(&text));
    }

    #[test]
    fn a_plain_number_is_itself(number: u64) {
        prop_assert_eq!(parse_bytes(&number.to_string()), Ok(number));
        prop_assert_eq!(parse_millis(&number.to_string()), Ok(number));
    }
}
