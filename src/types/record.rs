//! An encoded record, looked at in place.
//!
//! [`RecordView::parse`] is the one reader of a record's bytes: the broker checks an append with
//! it, filters and look-ups by time use it, and the client hands it to users. It walks the protobuf
//! fields once, borrows everything and allocates nothing. The encoding is
//! <https://protobuf.dev/programming-guides/encoding/>.

use super::limits::{MAX_EVENT_ID_BYTES, MAX_HEADERS, MAX_KEY_BYTES, MAX_NAME_BYTES};

/// The fields of one record, borrowed from its encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// What the record is about.
    pub key: Option<&'a [u8]>,
    /// The content; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The type of the event.
    pub event_type: &'a str,
    /// When it happened, in milliseconds since 1970-01-01T00:00:00Z. The broker sets it where the
    /// client did not.
    pub timestamp_ms: Option<i64>,
    /// The client's identity for the event; empty for none.
    pub event_id: &'a [u8],
    /// Set by the broker: the place in the partition.
    pub offset: Option<u64>,
    /// Set by the broker: the number among the entity's records, from 1.
    pub version: Option<u64>,
    /// Set by the broker: when it took the record, in milliseconds since 1970-01-01T00:00:00Z.
    pub append_time_ms: Option<i64>,
    /// Set by the broker if the record's entity was erased, and with it key, value, headers and
    /// event id: the token that stands for the key.
    pub erased: Option<&'a [u8]>,
    encoded: &'a [u8],
    header_count: usize,
}

/// Bytes that are not a record, or a record past its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecord {
    /// The encoding ends in the middle of a field, or is not protobuf.
    #[error("it is not a protobuf Record message")]
    Encoding,
    /// A field that `Record` does not have.
    #[error("it has field {0}, which Record does not have")]
    UnknownField(u32),
    /// A field with another wire type than it should have.
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    /// A field that only the broker may set.
    #[error("{0} is set by the broker; leave it out")]
    BrokerField(&'static str),
    /// A string that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A field that may be absent but not empty.
    #[error("{0} is empty; leave it out, or give it at least one byte")]
    Empty(&'static str),
    /// A field that is too long.
    #[error("{what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// How many bytes it has.
        len: usize,
        /// How many bytes it may have.
        max: usize,
    },
    /// More headers than a record may have.
    #[error("it has {count} headers; at most {MAX_HEADERS} are allowed")]
    TooManyHeaders {
        /// How many it has.
        count: usize,
    },
    /// A field of a header that `Header` does not have.
    #[error("one of its headers has field {0}, which Header does not have")]
    UnknownHeaderField(u32),
}

impl MalformedRecord {
    /// How much there is of something, and how much there may be, where it is too much.
    #[must_use]
    pub fn size(&self) -> Option<(usize, usize)> {
        match self {
            Self::TooLong { len, max, .. } => Some((*len, *max)),
            Self::TooManyHeaders { count } => Some((*count, MAX_HEADERS)),
            _ => None,
        }
    }
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

impl<'a> RecordView<'a> {
    /// Reads a record as a client may send it: known fields within their bounds, and none that only
    /// the broker may set.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the record.
    pub fn parse_new(encoded: &'a [u8]) -> Result<Self, MalformedRecord> {
        let record = Self::parse(encoded)?;
        if record.offset.is_some() {
            return Err(MalformedRecord::BrokerField("offset"));
        }
        if record.version.is_some() {
            return Err(MalformedRecord::BrokerField("version"));
        }
        if record.append_time_ms.is_some() {
            return Err(MalformedRecord::BrokerField("append_time_ms"));
        }
        if record.erased.is_some() {
            return Err(MalformedRecord::BrokerField("erased"));
        }
        Ok(record)
    }

    /// Reads a record, with or without the broker's fields.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the record.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, MalformedRecord> {
        let mut record = Self {
            encoded,
            ..Self::default()
        };
        let mut rest = encoded;
        while !rest.is_empty() {
            let (field, wire) = take_tag(&mut rest)?;
            record.take_field(field, wire, &mut rest)?;
        }
        match record.header_count {
            0..=MAX_HEADERS => Ok(record),
            count => Err(MalformedRecord::TooManyHeaders { count }),
        }
    }

    fn take_field(
        &mut self,
        field: u32,
        wire: u32,
        rest: &mut &'a [u8],
    ) -> Result<(), MalformedRecord> {
        let expected = match field {
            1..=4 | 6 | 15 => BYTES,
            5 => VARINT,
            12..=14 => FIXED64,
            _ => return Err(MalformedRecord::UnknownField(field)),
        };
        if wire != expected {
            return Err(MalformedRecord::WireType(field));
        }
        match field {
            1 => self.key = Some(bounded(take_bytes(rest)?, "the key", 1, MAX_KEY_BYTES)?),
            2 => self.value = Some(take_bytes(rest)?),
            3 => self.event_type = text(take_bytes(rest)?, "the type", 0)?,
            4 => {
                check_header(take_bytes(rest)?)?;
                self.header_count += 1;
            }
            #[expect(
                clippy::cast_possible_wrap,
                reason = "protobuf encodes int64 as the same bits, unsigned"
            )]
            5 => self.timestamp_ms = Some(take_varint(rest)? as i64),
            6 => self.event_id = bounded(take_bytes(rest)?, "the event id", 0, MAX_EVENT_ID_BYTES)?,
            12 => self.offset = Some(u64::from_le_bytes(take_fixed64(rest)?)),
            13 => self.version = Some(u64::from_le_bytes(take_fixed64(rest)?)),
            14 => self.append_time_ms = Some(i64::from_le_bytes(take_fixed64(rest)?)),
            _ => self.erased = Some(take_bytes(rest)?),
        }
        Ok(())
    }

    /// The headers, in order: name and value.
    #[must_use]
    pub fn headers(&self) -> HeaderIter<'a> {
        HeaderIter {
            rest: if self.header_count == 0 {
                &[]
            } else {
                self.encoded
            },
        }
    }

    /// The record's encoding, as it was parsed.
    #[must_use]
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }
}

/// The headers of a record; see [`RecordView::headers`].
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The record was parsed before, so nothing in here fails.
        while !self.rest.is_empty() {
            let (field, wire) = take_tag(&mut self.rest).ok()?;
            match wire {
                VARINT => drop(take_varint(&mut self.rest).ok()?),
                FIXED64 => drop(take_fixed64(&mut self.rest).ok()?),
                _ => {
                    let bytes = take_bytes(&mut self.rest).ok()?;
                    if field == 4 {
                        return split_header(bytes).ok();
                    }
                }
            }
        }
        None
    }
}

/// The records of a frame, or of a read response: a tag, a length and an encoded record, repeated.
///
/// Yields each record's encoding and the range that it takes in `run`, from its tag to its end.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    run: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The records of `run`, each behind a `tag` byte.
    #[must_use]
    pub fn new(run: &'a [u8]) -> Self {
        Self { run, at: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(std::ops::Range<usize>, &'a [u8]), MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = &self.run[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        Some(
            take_element(&mut rest)
                .map(|record| {
                    self.at = self.run.len() - rest.len();
                    (start..self.at, record)
                })
                .inspect_err(|_| self.at = self.run.len()),
        )
    }
}

/// The tag of each record in a run of records: field 15, length-delimited.
const ELEMENT_TAG: u8 = 15 << 3 | 2;

fn take_element<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    match rest.split_first() {
        Some((&ELEMENT_TAG, behind)) => {
            *rest = behind;
            take_bytes(rest)
        }
        _ => Err(MalformedRecord::Encoding),
    }
}

fn check_header(encoded: &[u8]) -> Result<(), MalformedRecord> {
    split_header(encoded).map(drop)
}

fn split_header(mut rest: &[u8]) -> Result<(&str, &[u8]), MalformedRecord> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !rest.is_empty() {
        let (field, wire) = take_tag(&mut rest)?;
        match (field, wire) {
            (1, BYTES) => name = take_bytes(&mut rest)?,
            (2, BYTES) => value = take_bytes(&mut rest)?,
            (1 | 2, _) => return Err(MalformedRecord::WireType(4)),
            _ => return Err(MalformedRecord::UnknownHeaderField(field)),
        }
    }
    Ok((text(name, "a header's name", 1)?, value))
}

fn text<'a>(bytes: &'a [u8], what: &'static str, min: usize) -> Result<&'a str, MalformedRecord> {
    std::str::from_utf8(bounded(bytes, what, min, MAX_NAME_BYTES)?)
        .map_err(|_| MalformedRecord::NotUtf8(what))
}

fn bounded<'a>(
    bytes: &'a [u8],
    what: &'static str,
    min: usize,
    max: usize,
) -> Result<&'a [u8], MalformedRecord> {
    match bytes.len() {
        len if len < min => Err(MalformedRecord::Empty(what)),
        len if len > max => Err(MalformedRecord::TooLong { what, len, max }),
        _ => Ok(bytes),
    }
}

fn take_tag(rest: &mut &[u8]) -> Result<(u32, u32), MalformedRecord> {
    let tag = take_varint(rest)?;
    let field = u32::try_from(tag >> 3).map_err(|_| MalformedRecord::Encoding)?;
    if field == 0 {
        return Err(MalformedRecord::Encoding);
    }
    Ok((field, (tag & 7) as u32))
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, MalformedRecord> {
    let mut value = 0u64;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // A 64-bit varint has one bit in its tenth byte.
            if i == 9 && byte > 1 {
                break;
            }
            *rest = &rest[i + 1..];
            return Ok(value);
        }
    }
    Err(MalformedRecord::Encoding)
}

fn take_fixed64(rest: &mut &[u8]) -> Result<[u8; 8], MalformedRecord> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(MalformedRecord::Encoding)?;
    *rest = behind;
    Ok(*bytes)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    let len = usize::try_from(take_varint(rest)?).map_err(|_| MalformedRecord::Encoding)?;
    let (bytes, behind) = rest
        .split_at_checked(len)
        .ok_or(MalformedRecord::Encoding)?;
    *rest = behind;
    Ok(bytes)
}
