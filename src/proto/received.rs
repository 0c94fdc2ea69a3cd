//! A received `AppendBatch`, whose records are located but not decoded.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::wire::{RECORD_TAG, RECORDS_FIELD};

/// A received `taffrail.v1.AppendBatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedBatch {
    /// The topic's name, unchecked.
    pub topic: String,
    /// The partition to append to; `None` if the broker chooses.
    pub partition: Option<u32>,
    /// The batch's sequence number, which its producer counts for each topic and partition.
    pub sequence: Option<u64>,
    /// The id of the intended topic, unchecked; empty for whichever topic has the name.
    pub topic_id: String,
    /// The records: [`RECORD_TAG`], a varint length and that many bytes, for each record. It is a
    /// slice of the message if the records are adjacent, as every encoder writes them, or else a
    /// copy. The records themselves are unchecked.
    pub records: Bytes,
}

/// The records of an encoded `AppendBatch`, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedRecords {
    /// How many there are. If the batch cannot be decoded, how many there are before the error.
    pub count: usize,
    /// Where the first of them lie that are adjacent, so that nobody has to go through them again
    /// to know where they end.
    run: Range<usize>,
}

/// Why bytes are not an `AppendBatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedBatch {
    /// The bytes end within a field, or are not protobuf at all.
    #[error("a batch is not valid protobuf, or was cut off")]
    Encoding,
    /// A field has the wrong wire type.
    #[error("field {0} of a batch has the wrong wire type")]
    WireType(u32),
    /// A field is unknown to this broker. Ignoring it could append a batch without a condition that
    /// the client has set.
    #[error("field {0} of a batch is unknown to this broker; the client's .proto files are newer")]
    UnknownField(u32),
    /// The topic's name is not text.
    #[error("the topic's name of a batch is not UTF-8")]
    Topic,
    /// The topic's id is not text.
    #[error("the topic's id of a batch is not UTF-8")]
    TopicId,
    /// The partition's number has more than 32 bits.
    #[error("the partition of a batch is not a 32-bit number")]
    Partition,
}

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

impl ReceivedBatch {
    /// Decodes an `AppendBatch`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn decode(encoded: &Bytes) -> Result<Self, MalformedBatch> {
        Self::decode_counted(encoded, &CountedRecords::default())
    }

    /// Decodes an `AppendBatch` whose records have been counted.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn decode_counted(
        encoded: &Bytes,
        counted: &CountedRecords,
    ) -> Result<Self, MalformedBatch> {
        let mut batch = Self::default();
        let mut runs = Runs::default();
        let mut fields = Fields { encoded, at: 0 };
        while fields.at < encoded.len() {
            if encoded[fields.at] == RECORD_TAG {
                let start = fields.at;
                if start == counted.run.start {
                    fields.at = counted.run.end.max(start);
                }
                fields.skip_records()?;
                runs.push(encoded.slice(start..fields.at));
                continue;
            }
            match fields.tag()? {
                (1, LENGTH_DELIMITED) => {
                    let name =
                        std::str::from_utf8(fields.bytes()?).map_err(|_| MalformedBatch::Topic)?;
                    name.clone_into(&mut batch.topic);
                }
                (2, VARINT) => {
                    let partition = fields.varint()?;
                    batch.partition =
                        Some(u32::try_from(partition).map_err(|_| MalformedBatch::Partition)?);
                }
                (3, VARINT) => batch.sequence = Some(fields.varint()?),
                (4, LENGTH_DELIMITED) => {
                    let id = std::str::from_utf8(fields.bytes()?);
                    id.map_err(|_| MalformedBatch::TopicId)?
                        .clone_into(&mut batch.topic_id);
                }
                // A tag in more bytes than needed: valid protobuf, but not the form in which
                // records are stored.
                (RECORDS_FIELD, LENGTH_DELIMITED) => runs.push_framed(fields.bytes()?),
                (field @ (1..=4 | RECORDS_FIELD), _) => {
                    return Err(MalformedBatch::WireType(field));
                }
                (field, _) => return Err(MalformedBatch::UnknownField(field)),
            }
        }
        batch.records = runs.joined();
        Ok(batch)
    }

    /// Counts the records of an encoded `AppendBatch`. Stops soon after `most`.
    #[must_use]
    pub fn count_records(encoded: &[u8], most: usize) -> CountedRecords {
        let mut fields = Fields { encoded, at: 0 };
        let mut counted = CountedRecords::default();
        while fields.at < encoded.len() && counted.count <= most {
            let (start, has_plain_tag) = (fields.at, encoded[fields.at] == RECORD_TAG);
            let is_record = match fields.tag() {
                Ok((field, LENGTH_DELIMITED)) => fields.bytes().map(|_| field == RECORDS_FIELD),
                Ok((_, VARINT)) => fields.varint().map(|_| false),
                _ => return counted,
            };
            let Ok(is_record) = is_record else {
                return counted;
            };
            counted.count += usize::from(is_record);
            if has_plain_tag && counted.run.is_empty() {
                counted.run = start..fields.at;
            } else if has_plain_tag && counted.run.end == start {
                counted.run.end = fields.at;
            }
        }
        counted
    }
}

/// The adjacent runs of records in a message, nearly always one.
#[derive(Default)]
struct Runs {
    first: Bytes,
    joined: BytesMut,
}

impl Runs {
    fn push(&mut self, run: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = run;
        } else {
            self.join();
            self.joined.extend_from_slice(&run);
        }
    }

    fn push_framed(&mut self, record: &[u8]) {
        self.join();
        prost::encoding::encode_key(
            RECORDS_FIELD,
            prost::encoding::WireType::LengthDelimited,
            &mut self.joined,
        );
        prost::encoding::encode_varint(record.len() as u64, &mut self.joined);
        self.joined.extend_from_slice(record);
    }

    fn join(&mut self) {
        let first = std::mem::take(&mut self.first);
        self.joined.extend_from_slice(&first);
    }

    fn joined(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        }
    }
}

/// A place in an encoded message.
struct Fields<'a> {
    encoded: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Skips all records that follow each other from here on.
    fn skip_records(&mut self) -> Result<(), MalformedBatch> {
        while self.encoded.get(self.at) == Some(&RECORD_TAG) {
            self.at += 1;
            self.bytes()?;
        }
        Ok(())
    }

    /// Reads a field's number and wire type.
    fn tag(&mut self) -> Result<(u32, u8), MalformedBatch> {
        let tag = u32::try_from(self.varint()?).map_err(|_| MalformedBatch::Encoding)?;
        match tag >> 3 {
            0 => Err(MalformedBatch::Encoding),
            field => Ok((field, (tag & 7) as u8)),
        }
    }

    fn varint(&mut self) -> Result<u64, MalformedBatch> {
        let mut rest = &self.encoded[self.at..];
        let before = rest.len();
        let value =
            prost::encoding::decode_varint(&mut rest).map_err(|_| MalformedBatch::Encoding)?;
        self.at += before - rest.len();
        Ok(value)
    }

    fn bytes(&mut self) -> Result<&'a [u8], MalformedBatch> {
        let len = usize::try_from(self.varint()?).map_err(|_| MalformedBatch::Encoding)?;
        let end = self.at.checked_add(len).ok_or(MalformedBatch::Encoding)?;
        let bytes = self
            .encoded
            .get(self.at..end)
            .ok_or(MalformedBatch::Encoding)?;
        self.at = end;
        Ok(bytes)
    }
}
