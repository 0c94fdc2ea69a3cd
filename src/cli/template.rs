//! Formats records by a template: letters behind `%`, as in kcat, and escapes behind `\`.

use std::io::Write as _;

use crate::types::{PartitionId, RecordView};

/// The description of `--format` for `--help`.
pub(super) const LETTERS: &str = "\
value: each value and a newline, byte for byte; tombstones are left out
json: each record as a JSON object, one a line
a template: nothing is added to it, not even a newline; what a record does not have is empty

  %s  value             %S  its length in bytes, -1 without a value
  %k  key               %K  its length in bytes, -1 without a key
  %t  topic             %R  the value's length as 4 bytes, big endian
  %p  partition         %T  timestamp, in milliseconds since 1970
  %o  offset            %V  version
  %h  headers, as NAME=VALUE,NAME=VALUE
  %e  the event's type  %%  a percent sign
  \\n \\r \\t \\\\ \\xHH  newline, carriage return, tab, backslash, any byte

[default: value; with --json: json]";

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Value,
    ValueLength,
    ValueLengthBinary,
    Key,
    KeyLength,
    Partition,
    Offset,
    Timestamp,
    Headers,
    Version,
    EventType,
}

impl Template {
    /// Parses a template, for records of this topic.
    ///
    /// # Errors
    ///
    /// If a letter or an escape is unknown.
    pub(super) fn parse(text: &str, topic: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.as_bytes().iter();
        while let Some(&byte) = rest.next() {
            match byte {
                b'\\' => literal.push(escaped(&mut rest)?),
                b'%' => {
                    let letter = rest.next().copied();
                    match letter {
                        Some(b'%') => literal.push(b'%'),
                        Some(b't') => literal.extend_from_slice(topic.as_bytes()),
                        _ => {
                            if !literal.is_empty() {
                                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                            }
                            pieces.push(Piece::of(letter)?);
                        }
                    }
                }
                _ => literal.push(byte),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// Adds a record in the format of the template.
    pub(super) fn render(
        &self,
        out: &mut Vec<u8>,
        partition: PartitionId,
        record: &RecordView<'_>,
    ) {
        for piece in &self.0 {
            piece.render(out, partition, record);
        }
    }
}

impl Piece {
    fn of(letter: Option<u8>) -> Result<Self, String> {
        Ok(match letter {
            Some(b's') => Self::Value,
            Some(b'S') => Self::ValueLength,
            Some(b'R') => Self::ValueLengthBinary,
            Some(b'k') => Self::Key,
            Some(b'K') => Self::KeyLength,
            Some(b'p') => Self::Partition,
            Some(b'o') => Self::Offset,
            Some(b'T') => Self::Timestamp,
            Some(b'h') => Self::Headers,
            Some(b'V') => Self::Version,
            Some(b'e') => Self::EventType,
            Some(letter) => {
                let letter = char::from(letter).escape_default();
                return Err(format!(
                    "%{letter} stands for nothing; there are %s %S %R %k %K %t %p %o %T %h %V %e \
                     and %%"
                ));
            }
            None => return Err("a % at the end stands for nothing; write %%".to_owned()),
        })
    }

    fn render(&self, out: &mut Vec<u8>, partition: PartitionId, record: &RecordView<'_>) {
        match self {
            Self::Literal(bytes) => out.extend_from_slice(bytes),
            Self::Value => out.extend_from_slice(record.value.unwrap_or_default()),
            Self::ValueLength => number(out, length(record.value)),
            Self::ValueLengthBinary => {
                let length = i32::try_from(length(record.value)).unwrap_or(i32::MAX);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Self::Key => out.extend_from_slice(record.key.unwrap_or_default()),
            Self::KeyLength => number(out, length(record.key)),
            Self::Partition => number(out, partition.0),
            Self::Offset => number(out, record.offset.unwrap_or_default()),
            Self::Timestamp => number(out, timestamp_ms(record)),
            Self::Headers => headers(out, record),
            Self::Version => {
                if let Some(version) = record.version {
                    number(out, version);
                }
            }
            Self::EventType => out.extend_from_slice(record.event_type.as_bytes()),
        }
    }
}

/// The timestamp of a record; if it has none, the append time.
pub(super) fn timestamp_ms(record: &RecordView<'_>) -> i64 {
    let time = record.timestamp_ms.or(record.append_time_ms);
    time.unwrap_or_default()
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a vector takes everything");
}

fn length(bytes: Option<&[u8]>) -> i64 {
    match bytes {
        Some(bytes) => i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        None => -1,
    }
}

fn headers(out: &mut Vec<u8>, record: &RecordView<'_>) {
    for (at, (name, value)) in record.headers().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// The byte for an escape, whose backslash was read already.
fn escaped(rest: &mut std::slice::Iter<'_, u8>) -> Result<u8, String> {
    match rest.next() {
        Some(b'n') => Ok(b'\n'),
        Some(b'r') => Ok(b'\r'),
        Some(b't') => Ok(b'\t'),
        Some(b'\\') => Ok(b'\\'),
        Some(b'x') => {
            let digits = rest.as_slice().get(..2).unwrap_or_default();
            let text = std::str::from_utf8(digits).unwrap_or_default();
            let is_hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = u8::from_str_radix(text, 16).ok().filter(|_| is_hex);
            rest.nth(1);
            byte.ok_or_else(|| "\\x needs two hexadecimal digits, as in \\x1f".to_owned())
        }
        Some(other) => {
            let other = char::from(*other).escape_default();
            Err(format!(
                "\\{other} stands for nothing; there are \\n \\r \\t \\\\ and \\xHH"
            ))
        }
        None => Err("a \\ at the end stands for nothing; write \\\\".to_owned()),
    }
}
