//! Times and places as people write them; the only use of jiff.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::types::{Offset, Position};

/// Reads a time as milliseconds since 1970-01-01T00:00:00Z: RFC 3339, or a date and time without a
/// zone, taken as UTC.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => text
            .parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp(),
    };
    Some(timestamp.as_millisecond())
}

/// Reads where to start: `earliest`, `latest`, an offset or a time.
pub(super) fn parse_position(text: &str) -> Result<Position, String> {
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
        format!("{text:?} is neither earliest, latest, an offset, nor a time such as 2013-01-01T05:17:00Z")
    })
}

/// Writes milliseconds since 1970-01-01T00:00:00Z as RFC 3339 in UTC; as they are, where no year of
/// four digits has them.
pub(super) fn format_time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}
