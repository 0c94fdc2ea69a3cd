//! An encoded record, looked at in place.
//!
//! [`RecordView::parse`] is the one reader of a record's bytes: the broker checks an append with
//! it, filters and look-ups by time use it, and the client hands it to users. It walks the protobuf
//! fields once, borrows everything and allocates nothing. The encoding is
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! A record that comes from a broker may have fields that a later version has added: they are
//! passed over. One that is to be appended must not, since nobody here could say what they mean.

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
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED32: u32 = 5;

/// How many groups of an unknown field may lie in each other. New messages have none at all.
const MAX_GROUPS: u32 = 16;

/// What to do with fields that `Record` and `Header` do not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refuse,
    Skip,
}

impl<'a> RecordView<'a> {
    /// Reads a record as a client may send it: known fields within their bounds, and none that only
    /// the broker may set.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the record.
    pub fn parse_new(encoded: &'a [u8]) -> Result<Self, MalformedRecord> {
        let record = Self::parse_with(encoded, Unknown::Refuse)?;
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

    /// Reads a record, with or without the broker's fields. Fields of a later version are passed
    /// over.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the record.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, MalformedRecord> {
        Self::parse_with(encoded, Unknown::Skip)
    }

    fn parse_with(encoded: &'a [u8], unknown: Unknown) -> Result<Self, MalformedRecord> {
        let mut record = Self {
            encoded,
            ..Self::default()
        };
        let mut rest = encoded;
        while !rest.is_empty() {
            let (field, wire) = take_tag(&mut rest)?;
            record.take_field(field, wire, &mut rest, unknown)?;
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
        unknown: Unknown,
    ) -> Result<(), MalformedRecord> {
        let expected = match field {
            1..=4 | 6 | 15 => BYTES,
            5 => VARINT,
            12..=14 => FIXED64,
            _ if unknown == Unknown::Skip => return skip(rest, field, wire, MAX_GROUPS),
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
                split_header(take_bytes(rest)?, unknown)?;
                self.header_count += 1;
            }
            #[expect(
                clippy::cast_possible_wrap,
                reason = "protobuf encodes int64 as the same bits, unsigned"
            )]
            5 => self.timestamp_ms = Some(take_varint(rest)? as i64),
            6 => self.event_id = bounded(take_bytes(rest)?, "the event id", 0, MAX_EVENT_ID_BYTES)?,
            12 => self.offset = Some(u64::from_le_bytes(take_fixed(rest)?)),
            13 => self.version = Some(u64::from_le_bytes(take_fixed(rest)?)),
            14 => self.append_time_ms = Some(i64::from_le_bytes(take_fixed(rest)?)),
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
            if field == 4 {
                let header = take_bytes(&mut self.rest).ok()?;
                return split_header(header, Unknown::Skip).ok();
            }
            skip(&mut self.rest, field, wire, MAX_GROUPS).ok()?;
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
    may_have_more: bool,
}

impl<'a> Records<'a> {
    /// The records of `run`, each behind a `tag` byte.
    #[must_use]
    pub fn new(run: &'a [u8]) -> Self {
        Self {
            run,
            at: 0,
            may_have_more: false,
        }
    }

    /// The records of an encoded response, each behind a `tag` byte. Fields of a later version,
    /// between or behind the records, are passed over; those that are known come ahead of them.
    #[must_use]
    pub fn received(run: &'a [u8]) -> Self {
        Self {
            may_have_more: true,
            ..Self::new(run)
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(std::ops::Range<usize>, &'a [u8]), MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = &self.run[self.at..];
        if self.may_have_more && skip_later_fields(&mut rest).is_err() {
            self.at = self.run.len();
            return Some(Err(MalformedRecord::Encoding));
        }
        if rest.is_empty() {
            return None;
        }
        let start = self.run.len() - rest.len();
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

/// Records have the highest number of all fields around them.
const LAST_KNOWN_FIELD: u32 = 15;

/// Passes over fields of a response that come behind all that are known.
fn skip_later_fields(rest: &mut &[u8]) -> Result<(), MalformedRecord> {
    while rest.first().is_some_and(|tag| *tag != ELEMENT_TAG) {
        let (field, wire) = take_tag(rest)?;
        if field <= LAST_KNOWN_FIELD {
            return Err(MalformedRecord::Encoding);
        }
        skip(rest, field, wire, MAX_GROUPS)?;
    }
    Ok(())
}

fn take_element<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedRecord> {
    match rest.split_first() {
        Some((&ELEMENT_TAG, behind)) => {
            *rest = behind;
            take_bytes(rest)
        }
        _ => Err(MalformedRecord::Encoding),
    }
}

fn split_header(mut rest: &[u8], unknown: Unknown) -> Result<(&str, &[u8]), MalformedRecord> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !rest.is_empty() {
        let (field, wire) = take_tag(&mut rest)?;
        match (field, wire) {
            (1, BYTES) => name = take_bytes(&mut rest)?,
            (2, BYTES) => value = take_bytes(&mut rest)?,
            (1 | 2, _) => return Err(MalformedRecord::WireType(4)),
            _ if unknown == Unknown::Skip => skip(&mut rest, field, wire, MAX_GROUPS)?,
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
    let tag = u32::try_from(take_varint(rest)?).map_err(|_| MalformedRecord::Encoding)?;
    if tag >> 3 == 0 {
        return Err(MalformedRecord::Encoding);
    }
    Ok((tag >> 3, tag & 7))
}

/// Passes over the content of a field.
fn skip(rest: &mut &[u8], field: u32, wire: u32, groups: u32) -> Result<(), MalformedRecord> {
    match wire {
        VARINT => take_varint(rest).map(drop),
        FIXED64 => take_fixed::<8>(rest).map(drop),
        BYTES => take_bytes(rest).map(drop),
        FIXED32 => take_fixed::<4>(rest).map(drop),
        GROUP if groups > 0 => loop {
            let (inner, wire) = take_tag(rest)?;
            if (inner, wire) == (field, GROUP_END) {
                return Ok(());
            }
            skip(rest, inner, wire, groups - 1)?;
        },
        _ => Err(MalformedRecord::Encoding),
    }
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

fn take_fixed<const LEN: usize>(rest: &mut &[u8]) -> Result<[u8; LEN], MalformedRecord> {
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
