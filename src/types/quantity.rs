//! Sizes and durations as people write them.

/// A text that is not a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct QuantityError {
    text: String,
    expected: &'static str,
}

/// Reads a number of bytes: `1048576`, `64KiB`, `1MiB`, `2GiB`, `1TiB`, also `KB`, `MB`, `GB`, `TB`
/// for powers of 1,000.
///
/// # Errors
///
/// If the text is anything else, or more than 2^64.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    parse(text, &UNITS, "a size such as 65536, 64KiB, 1MiB or 2GiB")
}

/// Reads a duration as milliseconds: `250` (milliseconds), `500ms`, `30s`, `10m`, `12h`, `7d`.
///
/// # Errors
///
/// If the text is anything else, or more than 2^64 milliseconds.
pub fn parse_millis(text: &str) -> Result<u64, QuantityError> {
    const UNITS: [(&str, u64); 6] = [
        ("", 1),
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    parse(
        text,
        &UNITS,
        "a duration such as 500ms, 30s, 10m, 12h or 7d",
    )
}

/// Reads a plain number.
///
/// # Errors
///
/// If the text is anything else, or more than 2^64.
pub(super) fn parse_count(text: &str) -> Result<u64, QuantityError> {
    parse(text, &[("", 1)], "a number such as 1 or 10")
}

fn parse(text: &str, units: &[(&str, u64)], expected: &'static str) -> Result<u64, QuantityError> {
    let error = || QuantityError {
        text: text.chars().take(64).collect(),
        expected,
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(error)?;
    number.checked_mul(*factor).ok_or_else(error)
}
