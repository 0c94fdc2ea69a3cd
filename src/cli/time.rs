//! Parses and formats times and places. The only use of jiff.

use std::time::Duration;

use clap::ValueEnum;
use jiff::{SignedDuration, civil::DateTime};

use super::Failure;
use crate::{
    client,
    types::{Offset, Position, parse_millis},
};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The range in which a number is accepted as a time: the years 1990 to 2100. A number in this
/// range for one unit is far outside for all others, so a wrong unit is noticed.
const PLAUSIBLE_MS: std::ops::Range<i128> = 631_152_000_000..4_133_980_800_000;

/// The unit of a number that counts since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeUnit {
    /// Seconds
    #[value(name = "s")]
    Seconds,
    /// Milliseconds
    #[default]
    #[value(name = "ms")]
    Milliseconds,
    /// Microseconds
    #[value(name = "us")]
    Microseconds,
    /// Nanoseconds
    #[value(name = "ns")]
    Nanoseconds,
}

impl TimeUnit {
    const ALL: [Self; 4] = [
        Self::Seconds,
        Self::Milliseconds,
        Self::Microseconds,
        Self::Nanoseconds,
    ];

    const fn nanoseconds(self) -> i128 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }

    /// The name on the command line, and the word in messages.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Seconds => ("s", "seconds"),
            Self::Milliseconds => ("ms", "milliseconds"),
            Self::Microseconds => ("us", "microseconds"),
            Self::Nanoseconds => ("ns", "nanoseconds"),
        }
    }

    /// Converts a decimal number in this unit to whole milliseconds.
    fn milliseconds(self, number: &str) -> Option<i128> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        let is_decimal =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_decimal(digits) || !is_decimal(fraction) {
            return None;
        }
        let billionths: i128 = format!("{fraction:0<9.9}").parse().ok()?;
        let fraction = billionths * self.nanoseconds() / 1_000_000_000;
        let fraction = if whole.starts_with('-') {
            -fraction
        } else {
            fraction
        };
        let whole = whole.parse::<i128>().ok()?;
        let nanoseconds = whole.checked_mul(self.nanoseconds())? + fraction;
        Some(nanoseconds.div_euclid(1_000_000))
    }
}

/// Converts a number in a unit to milliseconds; `None` if it is no decimal number.
///
/// # Errors
///
/// If the time would be before 1990 or after 2100, because then the unit is most likely wrong.
pub(super) fn time_of_number(number: &str, unit: TimeUnit) -> Option<Result<i64, String>> {
    let milliseconds = unit.milliseconds(number)?;
    if PLAUSIBLE_MS.contains(&milliseconds) {
        return Some(Ok(i64::try_from(milliseconds).expect("it is in range")));
    }
    let (_, words) = unit.names();
    let time = i64::try_from(milliseconds).map_or_else(|_| "no date".to_owned(), format_time);
    let hint = match plausible(number) {
        Some((unit, time)) => {
            let (name, words) = unit.names();
            format!("as {words} it would be {time}: say --time-unit {name}")
        }
        None => "say which unit it has with --time-unit s, ms, us or ns".to_owned(),
    };
    Some(Err(format!(
        "{number}, which as {words} is {time}; a number is taken for a time only from 1990 to \
         2100; {hint}"
    )))
}

/// The only unit in which a number is a time from 1990 to 2100, and that time.
fn plausible(number: &str) -> Option<(TimeUnit, String)> {
    for unit in TimeUnit::ALL {
        let milliseconds = unit.milliseconds(number)?;
        if PLAUSIBLE_MS.contains(&milliseconds) {
            let milliseconds = i64::try_from(milliseconds).expect("it is in range");
            return Some((unit, format_time(milliseconds)));
        }
    }
    None
}

/// Adds a hint to the error about an offset that does not exist, if the number could be a time.
pub(super) fn explain_offset(failure: Failure, offset: Offset) -> Failure {
    let Some(time) = as_time(&offset.to_string()) else {
        return failure;
    };
    match failure {
        Failure::Call(
            source @ (client::Error::Refused(_) | client::Error::OffsetOutOfRange { .. }),
        ) => Failure::CallIn {
            message: format!("{source}; {offset} is taken for an offset, not for a time: {time}"),
            source,
        },
        failure => failure,
    }
}

/// What a number would be as a time, if it could be one.
pub(super) fn as_time(number: &str) -> Option<String> {
    let (unit, time) = plausible(number)?;
    let (_, words) = unit.names();
    Some(format!("in {words} it would be {time}"))
}

/// Parses a time into milliseconds since 1970-01-01T00:00:00Z: RFC 3339, and common variations.
/// Date and time may be separated by `T` or a space; seconds, their fraction, the time and the zone
/// may be missing; the zone is `Z`, `UTC`, `GMT` or an offset, with or without colon and minutes.
/// Without a zone it is UTC.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let (civil, offset_seconds) = split_zone(text.trim())?;
    let civil: DateTime = civil.parse().ok()?;
    let since = civil.duration_since(EPOCH) - SignedDuration::from_secs(offset_seconds);
    i64::try_from(since.as_nanos().div_euclid(1_000_000)).ok()
}

/// Splits off the zone: returns the rest, and how many seconds the zone is ahead of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    // In `2013-01-01T06:17:00+01:00[Europe/Paris]` the offset counts.
    let (text, is_annotated) = match text.split_once('[') {
        Some((text, annotation)) if annotation.ends_with(']') => (text, true),
        Some(_) => return None,
        None => (text, false),
    };
    for utc in ["Z", "z", "UTC", "utc", "GMT"] {
        if let Some(civil) = text.strip_suffix(utc) {
            let (civil, offset) = split_offset(civil.trim_end())?;
            // Some programs write `+0000 UTC`. With another offset the zone would be ambiguous.
            return (offset.unwrap_or(0) == 0).then_some((civil, 0));
        }
    }
    match split_offset(text)? {
        (civil, Some(offset)) => Some((civil, offset)),
        (_, None) if is_annotated => None,
        (civil, None) => Some((civil, 0)),
    }
}

/// Splits off an offset behind the time, if there is one.
fn split_offset(text: &str) -> Option<(&str, Option<i64>)> {
    let time = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let Some(at) = text[time..].rfind(['+', '-']) else {
        return Some((text, None));
    };
    let (civil, offset) = text.split_at(time + at);
    // With two offsets it would be unclear which one counts.
    let is_only_one = !civil[time..].contains(['+', '-']);
    let offset = offset_seconds(offset).filter(|_| is_only_one)?;
    Some((civil.trim_end(), Some(offset)))
}

/// Parses an offset such as `+02`, `+0200`, `+02:00` or one with seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, digits) = text.split_at(1);
    let parts: Vec<&str> = match digits.len() {
        _ if !digits.is_ascii() => return None,
        _ if digits.contains(':') => digits.split(':').collect(),
        2 => vec![digits],
        4 => vec![&digits[..2], &digits[2..]],
        6 => vec![&digits[..2], &digits[2..4], &digits[4..]],
        _ => return None,
    };
    let (mut seconds, mut unit) = (0, 3600);
    for part in &parts {
        let is_two_digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = part.parse().ok().filter(|_| is_two_digits)?;
        let most = if unit == 3600 { 23 } else { 59 };
        if number > most || unit == 0 {
            return None;
        }
        seconds += number * unit;
        unit /= 60;
    }
    Some(if sign == "-" { -seconds } else { seconds })
}

/// Parses a place: `earliest`, `latest`, an offset, a time, or a duration before now, such as
/// `-1h`.
pub(super) fn parse_position(text: &str, now_ms: i64) -> Result<Position, String> {
    if let Some(ago) = text.strip_prefix('-').filter(|ago| !ago.starts_with('-')) {
        return before_now(text, ago, now_ms).map(Position::Timestamp);
    }
    match text {
        "earliest" => return Ok(Position::Earliest),
        "latest" => return Ok(Position::Latest),
        _ => {}
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let offset = text
            .parse()
            .map_err(|_| format!("{text} is too large for an offset"))?;
        return Ok(Position::Offset(Offset(offset)));
    }
    parse_time(text).map(Position::Timestamp).ok_or_else(|| {
        format!(
            "{text:?} is neither earliest, latest, an offset, a time such as 2013-01-01T05:17:00Z, \
             nor -1h for so long ago"
        )
    })
}

/// The time this long before now. A number without a unit is refused, because it could be a count.
fn before_now(text: &str, ago: &str, now_ms: i64) -> Result<i64, String> {
    let has_unit = ago.ends_with(|last: char| !last.is_ascii_digit());
    let millis = parse_millis(ago).ok().filter(|_| has_unit);
    let millis = millis.and_then(|millis| i64::try_from(millis).ok());
    millis
        .map(|millis| now_ms.saturating_sub(millis))
        .ok_or_else(|| {
            format!(
                "{text:?} is not a time before now such as -30s, -10m, -12h or -7d, and neither \
                 earliest nor latest"
            )
        })
}

/// Formats milliseconds since 1970-01-01T00:00:00Z as RFC 3339 in UTC; as a number if the year does
/// not have four digits.
pub(super) fn format_time(ms: i64) -> String {
    match EPOCH.checked_add(SignedDuration::from_millis(ms)) {
        Ok(time) if time.year() >= 0 => format!("{time:.3}Z"),
        _ => ms.to_string(),
    }
}

/// Formats a duration in its largest unit, rounded down: `3 h`.
pub(super) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats a duration in its largest unit and the one below, rounded up, for something that takes
/// no longer than that: `1 h 15 min`.
pub(super) fn format_at_most(duration: Duration) -> String {
    let seconds = duration.as_millis().div_ceil(1_000);
    let seconds = match seconds {
        0..3_600 => seconds,
        3_600..86_400 => seconds.next_multiple_of(60),
        _ => seconds.next_multiple_of(3_600),
    };
    let (large, small) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => ((60, "min"), (1, "s")),
        3_600..86_400 => ((3_600, "h"), (60, "min")),
        _ => ((86_400, "d"), (3_600, "h")),
    };
    let (whole, rest) = (seconds / large.0, seconds % large.0 / small.0);
    match rest {
        0 => format!("{whole} {}", large.1),
        _ => format!("{whole} {} {rest} {}", large.1, small.1),
    }
}
