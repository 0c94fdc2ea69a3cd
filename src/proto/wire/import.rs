//! What an import sends, with the records left encoded.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use super::{RECORDS_FIELD, decode_up_to_records, encode_nonzero, merge_record, nonzero_len};
use crate::proto::{ImportBegin, ImportEnd};

/// `taffrail.v1.ImportRecordsRequest`, its records in their encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportRecordsRequest {
    /// Begins the import.
    pub begin: Option<ImportBegin>,
    /// Ends the import.
    pub end: Option<ImportEnd>,
    /// The partition of the records.
    pub partition: u32,
    /// The number that the client gives to the first of them.
    pub number: u64,
    /// The records, as in [`ReadResponse`](super::ReadResponse).
    pub records: Vec<Bytes>,
}

impl Message for ImportRecordsRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(begin) = &self.begin {
            encoding::message::encode(1, begin, buf);
        }
        if let Some(end) = &self.end {
            encoding::message::encode(2, end, buf);
        }
        encode_nonzero(3, u64::from(self.partition), buf);
        encode_nonzero(4, self.number, buf);
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
            1 => encoding::message::merge(wire_type, self.begin.get_or_insert_default(), buf, ctx),
            2 => encoding::message::merge(wire_type, self.end.get_or_insert_default(), buf, ctx),
            3 => encoding::uint32::merge(wire_type, &mut self.partition, buf, ctx),
            4 => encoding::uint64::merge(wire_type, &mut self.number, buf, ctx),
            RECORDS_FIELD => merge_record(wire_type, &mut self.records, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    /// Takes the run of records at the end of the message as one slice, without looking at them.
    fn decode(buf: impl Buf) -> Result<Self, DecodeError> {
        let mut request = Self::default();
        let run = decode_up_to_records(&mut request, buf)?;
        request.records.extend(run);
        Ok(request)
    }

    fn encoded_len(&self) -> usize {
        let of_begin = |begin: &ImportBegin| encoding::message::encoded_len(1, begin);
        let of_end = |end: &ImportEnd| encoding::message::encoded_len(2, end);
        self.begin.as_ref().map_or(0, of_begin)
            + self.end.as_ref().map_or(0, of_end)
            + nonzero_len(3, u64::from(self.partition))
            + nonzero_len(4, self.number)
            + self.records.iter().map(Bytes::len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
