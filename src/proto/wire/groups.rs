//! The responses to a member of a group, with the records left encoded.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message, Oneof,
    encoding::{self, DecodeContext, WireType},
};

use super::{RECORDS_FIELD, decode_up_to_records, encode_nonzero, merge_record, nonzero_len};
use crate::proto::{
    Assigned, CaughtUp, Committed, Credit, ErasedEntity, GroupOffset, Heartbeat, Joined,
    PartitionFailed, Revoked,
};

/// The field number of `records` in `ConsumeResponse`.
const RECORDS_OF_RESPONSE: u32 = 4;

/// `taffrail.v1.ConsumeResponse`, its records in their encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumeResponse {
    /// The message; `None` if a newer broker sends one that this client does not know.
    pub message: Option<ConsumeMessage>,
}

/// A broker's message to a member.
#[derive(Clone, PartialEq, Oneof)]
pub enum ConsumeMessage {
    /// The member has joined.
    #[prost(message, tag = "1")]
    Joined(Joined),
    /// The member has these partitions from now on.
    #[prost(message, tag = "2")]
    Assigned(Assigned),
    /// The member must hand over these partitions.
    #[prost(message, tag = "3")]
    Revoked(Revoked),
    /// Records of one partition.
    #[prost(message, tag = "4")]
    Records(Records),
    /// The outcome of a commit.
    #[prost(message, tag = "5")]
    Committed(Committed),
    /// The member has been sent all records there are.
    #[prost(message, tag = "6")]
    CaughtUp(CaughtUp),
    /// The broker is alive.
    #[prost(message, tag = "7")]
    Heartbeat(Heartbeat),
    /// A partition cannot be read on.
    #[prost(message, tag = "8")]
    Failed(PartitionFailed),
}

/// `taffrail.v1.Records`, its records in their encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// The offset to commit once these records have been handled.
    pub next: Option<GroupOffset>,
    /// The credit that these records have used.
    pub cost: Option<Credit>,
    /// The partition's high watermark when this was sent.
    pub high_watermark: u64,
    /// Whether `next` has reached the high watermark.
    pub caught_up: bool,
    /// Below this offset records are replayed.
    pub replayed_below: u64,
    /// Entities that have been erased since the partition was assigned.
    pub erased: Vec<ErasedEntity>,
    /// The records, as in [`ReadResponse`](super::ReadResponse).
    pub records: Vec<Bytes>,
}

impl ConsumeResponse {
    /// Encodes everything but the records, of which `bytes` bytes follow.
    pub(crate) fn head_of(records: &Records, bytes: usize) -> Bytes {
        let len = records.encoded_len() + bytes;
        let mut head = Vec::with_capacity(16 + records.encoded_len());
        encoding::encode_key(RECORDS_OF_RESPONSE, WireType::LengthDelimited, &mut head);
        encoding::encode_varint(len as u64, &mut head);
        records.encode_raw(&mut head);
        head.into()
    }

    /// Returns the records of a message that has nothing else, without decoding them.
    fn only_records(mut encoded: Bytes) -> Option<Bytes> {
        let (tag, wire_type) = encoding::decode_key(&mut encoded).ok()?;
        let len = encoding::decode_varint(&mut encoded).ok()?;
        let is_all = len == encoded.remaining() as u64;
        let is_records = tag == RECORDS_OF_RESPONSE && wire_type == WireType::LengthDelimited;
        (is_records && is_all).then_some(encoded)
    }
}

impl From<ConsumeMessage> for ConsumeResponse {
    fn from(message: ConsumeMessage) -> Self {
        Self {
            message: Some(message),
        }
    }
}

impl Message for ConsumeResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(message) = &self.message {
            message.encode(buf);
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
            1..=8 => ConsumeMessage::merge(&mut self.message, tag, wire_type, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the message's records as one slice.
    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        let encoded = buf.copy_to_bytes(buf.remaining());
        if let Some(within) = Self::only_records(encoded.clone()) {
            return Ok(ConsumeMessage::Records(Records::decode(within)?).into());
        }
        let mut response = Self::default();
        response.merge(encoded)?;
        Ok(response)
    }

    fn encoded_len(&self) -> usize {
        self.message.as_ref().map_or(0, ConsumeMessage::encoded_len)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Records {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(next) = &self.next {
            encoding::message::encode(1, next, buf);
        }
        if let Some(cost) = &self.cost {
            encoding::message::encode(2, cost, buf);
        }
        encode_nonzero(3, self.high_watermark, buf);
        encode_nonzero(4, u64::from(self.caught_up), buf);
        encode_nonzero(5, self.replayed_below, buf);
        encoding::message::encode_repeated(6, &self.erased, buf);
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
            1 => encoding::message::merge(wire_type, self.next.get_or_insert_default(), buf, ctx),
            2 => encoding::message::merge(wire_type, self.cost.get_or_insert_default(), buf, ctx),
            3 => encoding::uint64::merge(wire_type, &mut self.high_watermark, buf, ctx),
            4 => encoding::bool::merge(wire_type, &mut self.caught_up, buf, ctx),
            5 => encoding::uint64::merge(wire_type, &mut self.replayed_below, buf, ctx),
            6 => encoding::message::merge_repeated(wire_type, &mut self.erased, buf, ctx),
            RECORDS_FIELD => merge_record(wire_type, &mut self.records, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the records at the end of the message as one slice, without decoding them.
    fn decode(buf: impl Buf) -> Result<Self, DecodeError> {
        let mut records = Self::default();
        let run = decode_up_to_records(&mut records, buf)?;
        records.records.extend(run);
        Ok(records)
    }

    fn encoded_len(&self) -> usize {
        let next = self.next.as_ref();
        let cost = self.cost.as_ref();
        next.map_or(0, |next| encoding::message::encoded_len(1, next))
            + cost.map_or(0, |cost| encoding::message::encoded_len(2, cost))
            + nonzero_len(3, self.high_watermark)
            + nonzero_len(4, u64::from(self.caught_up))
            + nonzero_len(5, self.replayed_below)
            + encoding::message::encoded_len_repeated(6, &self.erased)
            + self.records.iter().map(Bytes::len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
