//! The messages around records, with the records left as they are encoded.
//!
//! `AppendRequest` and `AppendBatch` keep each batch, and [`ReadResponse`] its records, as one slice of the received
//! message: taking apart a thousand records into a thousand values would cost more than storing them.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use crate::types::limits::MAX_BATCHES_PER_APPEND;

/// The field number of `records` wherever records are carried: in `AppendBatch`, in `ReadResponse`, in stored frames.
pub const RECORDS_FIELD: u32 = 15;

/// The encoded tag of a `records` element: field 15, length-delimited.
pub const RECORD_TAG: u8 = (RECORDS_FIELD as u8) << 3 | 2;

/// `taffrail.v1.AppendRequest`, its batches undecoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendRequest {
    /// Each an encoded [`AppendBatch`]. A received request has at most one more than is allowed, however many it came
    /// with: 16 MiB have room for eight million empty ones.
    pub batches: Vec<Bytes>,
}

impl Message for AppendRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::bytes::encode_repeated(1, &self.batches, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != 1 {
            return Err(unknown_field(tag));
        }
        let mut batch = Bytes::new();
        encoding::bytes::merge(wire_type, &mut batch, buf, ctx).map_err(|mut error| {
            error.push("AppendRequest", "batches");
            error
        })?;
        if self.batches.len() <= MAX_BATCHES_PER_APPEND {
            self.batches.push(batch);
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        encoding::bytes::encoded_len_repeated(1, &self.batches)
    }

    fn clear(&mut self) {
        self.batches.clear();
    }
}

/// What a newer client asks for in a field that this broker does not know, such as a condition, must not be left out.
#[cold]
fn unknown_field(tag: u32) -> DecodeError {
    #[expect(deprecated, reason = "prost has no other way to say why a message is refused")]
    DecodeError::new(format!(
        "field {tag} of AppendRequest is unknown to this broker; the client's .proto files are newer"
    ))
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
    /// The records: [`RECORD_TAG`], a varint length and that many bytes, again and again. A stored frame's payload and
    /// the end of an encoded `ReadResponse` both have this form, which is why neither side copies record by record.
    pub records: Vec<Bytes>,
}

impl Message for ReadResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encode_nonzero(1, u64::from(self.partition), buf);
        encode_nonzero(2, self.next_offset, buf);
        encode_nonzero(3, self.high_watermark, buf);
        encode_nonzero(4, u64::from(self.caught_up), buf);
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
            RECORDS_FIELD => {
                let mut record = Bytes::new();
                encoding::bytes::merge(wire_type, &mut record, buf, ctx)?;
                let mut framed = Vec::with_capacity(record.len() + 6);
                encoding::bytes::encode(RECORDS_FIELD, &record, &mut framed);
                self.records.push(framed.into());
                Ok(())
            }
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the run of records at the end of the message as one slice, without looking at them.
    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        let mut bytes = buf.copy_to_bytes(buf.remaining());
        let mut response = Self::default();
        while bytes.has_remaining() {
            if bytes[0] == RECORD_TAG {
                response.records.push(bytes);
                break;
            }
            let (tag, wire_type) = encoding::decode_key(&mut bytes)?;
            response.merge_field(tag, wire_type, &mut bytes, DecodeContext::default())?;
        }
        Ok(response)
    }

    fn encoded_len(&self) -> usize {
        nonzero_len(1, u64::from(self.partition))
            + nonzero_len(2, self.next_offset)
            + nonzero_len(3, self.high_watermark)
            + nonzero_len(4, u64::from(self.caught_up))
            + self.records.iter().map(Bytes::len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn encode_nonzero(tag: u32, value: u64, buf: &mut impl BufMut) {
    if value != 0 {
        encoding::uint64::encode(tag, &value, buf);
    }
}

fn nonzero_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { encoding::uint64::encoded_len(tag, &value) }
}
