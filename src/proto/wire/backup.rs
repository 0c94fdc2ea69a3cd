//! Parts of files, whose bytes are sent as they were read.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{self, WireType},
};

use crate::proto::BackupPart;

/// The fields that have a part in a response, and the bytes in a part.
const PART: u32 = 2;
const DATA: u32 = 5;

/// The encoding of a response with this part, up to where so many bytes of it follow.
pub(crate) fn backup_part_head(part: &BackupPart, data: usize) -> Bytes {
    let mut behind = Vec::new();
    if data > 0 {
        encoding::encode_key(DATA, WireType::LengthDelimited, &mut behind);
        encoding::encode_varint(data as u64, &mut behind);
    }
    let len = part.encoded_len() + behind.len() + data;
    let mut head = Vec::with_capacity(16 + part.encoded_len() + behind.len());
    encoding::encode_key(PART, WireType::LengthDelimited, &mut head);
    encoding::encode_varint(len as u64, &mut head);
    part.encode_raw(&mut head);
    head.extend_from_slice(&behind);
    head.into()
}
