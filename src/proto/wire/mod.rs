//! The messages around records, with the records left as they are encoded.
//!
//! `AppendRequest` and `AppendBatch` keep each batch, [`ReadResponse`] and [`ReadKeyResponse`]
//! their records, as one slice of the received message: taking apart a thousand records into a
//! thousand values would cost more than storing them.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use super::{Condition, ErasedEntity, Producer};
use crate::types::limits::{
    MAX_BATCHES_PER_APPEND, MAX_CONDITIONS_PER_APPEND, MAX_GROUPS_PER_APPEND,
};

mod backup;
mod groups;
mod import;

pub(crate) use backup::backup_part_head;
pub use groups::{ConsumeMessage, ConsumeResponse, Records};
pub use import::ImportRecordsRequest;

/// The field number of `records` wherever records are carried: in `AppendBatch`, in `ReadResponse`,
/// in stored frames.
pub const RECORDS_FIELD: u32 = 15;

/// The encoded tag of a `records` element: field 15, length-delimited.
pub const RECORD_TAG: u8 = (RECORDS_FIELD as u8) << 3 | 2;

/// `taffrail.v1.AppendRequest`, its batches undecoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendRequest {
    /// Each an encoded [`AppendBatch`]. A received request has at most one more than is allowed,
    /// however many it came with: 16 MiB have room for eight million empty ones.
    pub batches: Vec<Bytes>,
    /// What must hold for the append to happen; bounded as the batches are.
    pub conditions: Vec<Condition>,
    /// Who appends, for exactly-once.
    pub producer: Option<Producer>,
    /// Whether to answer with the version of every record.
    pub return_versions: bool,
    /// How far groups have come: each an encoded `GroupOffsets`; bounded as the batches are.
    pub group_offsets: Vec<Bytes>,
}

impl Message for AppendRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::bytes::encode_repeated(BATCHES_FIELD, &self.batches, buf);
        self.encode_rest(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let merged = match tag {
            1 => merge_bounded(
                wire_type,
                &mut self.batches,
                MAX_BATCHES_PER_APPEND,
                buf,
                |value, buf| encoding::bytes::merge(wire_type, value, buf, ctx),
            ),
            2 => merge_bounded(
                wire_type,
                &mut self.conditions,
                MAX_CONDITIONS_PER_APPEND,
                buf,
                |value, buf| encoding::message::merge(wire_type, value, buf, ctx),
            ),
            3 => {
                encoding::message::merge(wire_type, self.producer.get_or_insert_default(), buf, ctx)
            }
            4 => encoding::bool::merge(wire_type, &mut self.return_versions, buf, ctx),
            5 => merge_bounded(
                wire_type,
                &mut self.group_offsets,
                MAX_GROUPS_PER_APPEND,
                buf,
                |value, buf| encoding::bytes::merge(wire_type, value, buf, ctx),
            ),
            _ => return encoding::skip_field(wire_type, tag, buf, ctx),
        };
        merged.map_err(|mut error| {
            let field = match tag {
                1 => "batches",
                2 => "conditions",
                3 => "producer",
                4 => "return_versions",
                _ => "group_offsets",
            };
            error.push("AppendRequest", field);
            error
        })
    }

    fn encoded_len(&self) -> usize {
        encoding::bytes::encoded_len_repeated(1, &self.batches)
            + encoding::message::encoded_len_repeated(2, &self.conditions)
            + self
                .producer
                .as_ref()
                .map_or(0, |producer| encoding::message::encoded_len(3, producer))
            + nonzero_len(4, u64::from(self.return_versions))
            + encoding::bytes::encoded_len_repeated(5, &self.group_offsets)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The field number of the batches in an `AppendRequest`.
const BATCHES_FIELD: u32 = 1;

impl AppendRequest {
    /// Encodes the request as a gRPC message without copying its large batches: each becomes a
    /// part, behind a part with what `buffer` has and what comes before the batch. What comes
    /// behind the last large batch stays in the buffer.
    pub(crate) fn encode_in_parts(
        &self,
        buffer: &mut BytesMut,
        large_bytes: usize,
        parts: &mut VecDeque<Bytes>,
    ) {
        // No broker takes as much, and each refuses it by its header.
        let len = u32::try_from(self.encoded_len()).unwrap_or(u32::MAX);
        buffer.put_u8(0);
        buffer.put_u32(len);
        for batch in &self.batches {
            if batch.len() < large_bytes {
                encoding::bytes::encode(BATCHES_FIELD, batch, buffer);
                continue;
            }
            encoding::encode_key(BATCHES_FIELD, WireType::LengthDelimited, buffer);
            encoding::encode_varint(batch.len() as u64, buffer);
            parts.push_back(buffer.split().freeze());
            parts.push_back(batch.clone());
        }
        self.encode_rest(buffer);
    }

    /// Encodes everything but the batches.
    fn encode_rest(&self, buf: &mut impl BufMut) {
        encoding::message::encode_repeated(2, &self.conditions, buf);
        if let Some(producer) = &self.producer {
            encoding::message::encode(3, producer, buf);
        }
        encode_nonzero(4, u64::from(self.return_versions), buf);
        encoding::bytes::encode_repeated(5, &self.group_offsets, buf);
    }
}

/// Takes an element of a repeated field, and keeps it unless there is one more than allowed
/// already.
fn merge_bounded<T: Default, B: Buf>(
    wire_type: WireType,
    values: &mut Vec<T>,
    most: usize,
    buf: &mut B,
    merge: impl FnOnce(&mut T, &mut B) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
    let mut value = T::default();
    merge(&mut value, buf)?;
    if values.len() <= most {
        values.push(value);
    }
    Ok(())
}

/// `taffrail.v1.AppendBatch` as a client builds it, its records encoded one by one.
#[derive(Clone, PartialEq, Message)]
pub struct AppendBatch {
    /// The topic's name.
    #[prost(string, tag = "1")]
    pub topic: String,
    /// The partition to append to; none: the broker chooses.
    #[prost(uint32, optional, tag = "2")]
    pub partition: Option<u32>,
    /// The batch's number among its producer's for this topic and partition.
    #[prost(uint64, optional, tag = "3")]
    pub sequence: Option<u64>,
    /// The id of the topic that is meant; empty: whichever has the name.
    #[prost(string, tag = "4")]
    pub topic_id: String,
    /// Each an encoded `Record`.
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub records: Vec<Bytes>,
}

/// `taffrail.v1.ReadResponse`, its records in their encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadResponse {
    /// The partition.
    pub partition: u32,
    /// Where the partition's next response begins.
    pub next_offset: u64,
    /// The partition's high watermark when this was sent.
    pub high_watermark: u64,
    /// Whether `next_offset` has reached the high watermark.
    pub caught_up: bool,
    /// Entities that have been erased since the read began.
    pub erased: Vec<ErasedEntity>,
    /// The topic's id, which the offsets belong to.
    pub topic_id: String,
    /// The records: [`RECORD_TAG`], a varint length and that many bytes, again and again. A stored
    /// frame's payload and the end of an encoded `ReadResponse` both have this form, which is why
    /// neither side copies record by record.
    pub records: Vec<Bytes>,
}

impl Message for ReadResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_nonzero(1, u64::from(self.partition), buf);
        encode_nonzero(2, self.next_offset, buf);
        encode_nonzero(3, self.high_watermark, buf);
        encode_nonzero(4, u64::from(self.caught_up), buf);
        encoding::message::encode_repeated(5, &self.erased, buf);
        if !self.topic_id.is_empty() {
            encoding::string::encode(6, &self.topic_id, buf);
        }
        for slice in &self.records {
            buf.put_slice(slice);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::uint32::merge(wire_type, &mut self.partition, buf, ctx),
            2 => encoding::uint64::merge(wire_type, &mut self.next_offset, buf, ctx),
            3 => encoding::uint64::merge(wire_type, &mut self.high_watermark, buf, ctx),
            4 => encoding::bool::merge(wire_type, &mut self.caught_up, buf, ctx),
            5 => encoding::message::merge_repeated(wire_type, &mut self.erased, buf, ctx),
            6 => encoding::string::merge(wire_type, &mut self.topic_id, buf, ctx),
            RECORDS_FIELD => merge_record(wire_type, &mut self.records, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the run of records at the end of the message as one slice, without looking at them.
    fn decode(buf: impl Buf) -> Result<Self, DecodeError> {
        let mut response = Self::default();
        let run = decode_up_to_records(&mut response, buf)?;
        response.records.extend(run);
        Ok(response)
    }

    fn encoded_len(&self) -> usize {
        nonzero_len(1, u64::from(self.partition))
            + nonzero_len(2, self.next_offset)
            + nonzero_len(3, self.high_watermark)
            + nonzero_len(4, u64::from(self.caught_up))
            + encoding::message::encoded_len_repeated(5, &self.erased)
            + match self.topic_id.len() {
                0 => 0,
                _ => encoding::string::encoded_len(6, &self.topic_id),
            }
            + self.records.iter().map(Bytes::len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `taffrail.v1.ReadKeyResponse`, its records in their encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadKeyResponse {
    /// The entity's latest version when the read began.
    pub latest_version: u64,
    /// The partition that the entity's records are in.
    pub partition: u32,
    /// Where the entity starts.
    pub first_version: u64,
    /// The records, as in [`ReadResponse`].
    pub records: Vec<Bytes>,
}

impl Message for ReadKeyResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_nonzero(1, self.latest_version, buf);
        encode_nonzero(2, u64::from(self.partition), buf);
        encode_nonzero(3, self.first_version, buf);
        for slice in &self.records {
            buf.put_slice(slice);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::uint64::merge(wire_type, &mut self.latest_version, buf, ctx),
            2 => encoding::uint32::merge(wire_type, &mut self.partition, buf, ctx),
            3 => encoding::uint64::merge(wire_type, &mut self.first_version, buf, ctx),
            RECORDS_FIELD => merge_record(wire_type, &mut self.records, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the run of records at the end of the message as one slice, without looking at them.
    fn decode(buf: impl Buf) -> Result<Self, DecodeError> {
        let mut response = Self::default();
        let run = decode_up_to_records(&mut response, buf)?;
        response.records.extend(run);
        Ok(response)
    }

    fn encoded_len(&self) -> usize {
        nonzero_len(1, self.latest_version)
            + nonzero_len(3, self.first_version)
            + nonzero_len(2, u64::from(self.partition))
            + self.records.iter().map(Bytes::len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `taffrail.v1.LatestRecord`, its record in its encoded form.
#[derive(Clone, PartialEq, Message)]
pub struct LatestRecord {
    /// The version of the entity's latest record.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// The encoded record.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub record: Option<Bytes>,
    /// The partition that the entity's records are in, or would be.
    #[prost(uint32, tag = "3")]
    pub partition: u32,
}

/// A message's encoding.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// How many bytes a message's encoding has.
pub(crate) fn encoded_len(message: &impl Message) -> usize {
    message.encoded_len()
}

/// Puts a record behind those of a run.
pub(crate) fn push_record(run: &mut Vec<u8>, record: &impl Message) {
    encoding::message::encode(RECORDS_FIELD, record, run);
}

/// An encoded `AppendRequest` with one batch, in slices: the head of a batch, its run of records,
/// and all of the request but batches.
pub(crate) fn append_request(batch: &AppendBatch, run: Bytes, rest: &AppendRequest) -> [Bytes; 3] {
    let mut head = Vec::new();
    encoding::encode_key(1, WireType::LengthDelimited, &mut head);
    encoding::encode_varint((batch.encoded_len() + run.len()) as u64, &mut head);
    batch.encode_raw(&mut head);
    [head.into(), run, encode(rest)]
}

/// Takes one record, and puts it back into the form in which records lie side by side.
fn merge_record(
    wire_type: WireType,
    records: &mut Vec<Bytes>,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    let mut record = Bytes::new();
    encoding::bytes::merge(wire_type, &mut record, buf, ctx)?;
    let mut framed = Vec::with_capacity(record.len() + 6);
    encoding::bytes::encode(RECORDS_FIELD, &record, &mut framed);
    records.push(framed.into());
    Ok(())
}

/// Decodes the fields before a message's records; returns those as they lie, if there are any.
fn decode_up_to_records(
    message: &mut impl Message,
    mut buf: impl Buf,
) -> Result<Option<Bytes>, DecodeError> {
    let mut bytes = buf.copy_to_bytes(buf.remaining());
    while bytes.has_remaining() {
        if bytes[0] == RECORD_TAG {
            return Ok(Some(bytes));
        }
        let (tag, wire_type) = encoding::decode_key(&mut bytes)?;
        message.merge_field(tag, wire_type, &mut bytes, DecodeContext::default())?;
    }
    Ok(None)
}

fn encode_nonzero(tag: u32, value: u64, buf: &mut impl BufMut) {
    if value != 0 {
        encoding::uint64::encode(tag, &value, buf);
    }
}

fn nonzero_len(tag: u32, value: u64) -> usize {
    if value == 0 {
        0
    } else {
        encoding::uint64::encoded_len(tag, &value)
    }
}
