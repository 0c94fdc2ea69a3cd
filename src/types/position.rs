//! Where a read starts.

use super::Offset;

/// A place in a partition's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// The first record that has not been trimmed.
    #[default]
    Earliest,
    /// The high watermark: behind the last record.
    Latest,
    /// The record at this offset.
    Offset(Offset),
    /// The first record whose timestamp, in milliseconds since 1970-01-01T00:00:00Z, is this or
    /// later.
    Timestamp(i64),
}
