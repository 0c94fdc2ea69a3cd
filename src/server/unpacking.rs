//! Decompresses messages, one by one.

use bytes::Bytes;
use tonic::Status;

use super::{blocking::blocking, status};
use crate::{broker::Error, codec::Encoding};

/// Decompressing a message larger than this takes a turn.
pub(super) const LARGE_BYTES: usize = 64 << 10;

/// The most bytes that a message may have uncompressed.
pub(super) fn bound(encoding: Encoding, compressed: &[u8]) -> Result<usize, Status> {
    let bound = encoding.bound(compressed);
    bound.ok_or_else(|| malformed(encoding))
}

/// Decompresses a message that may have this many bytes.
pub(super) fn unpack(encoding: Encoding, compressed: &[u8], most: usize) -> Result<Bytes, Status> {
    let bound = bound(encoding, compressed)?;
    let within = bound.min(most);
    let unpacked = match within > LARGE_BYTES {
        true => blocking(|| encoding.decompress(compressed, within)),
        false => encoding.decompress(compressed, within),
    };
    match unpacked {
        Some(bytes) => Ok(bytes.into()),
        None if bound > most => Err(status::too_large(bound, most)),
        None => Err(malformed(encoding)),
    }
}

fn malformed(encoding: Encoding) -> Status {
    let reason = format!("a message is not what {} makes", encoding.name());
    Error::MalformedRequest { reason }.into()
}
