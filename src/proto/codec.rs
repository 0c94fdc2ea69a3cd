//! The encoding of messages as gRPC frames: prost's encoding, with buffers that suit messages of a
//! megabyte.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{self, BufferSettings, DecodeBuf, EncodeBuf},
};

use super::Received;

/// The initial size of a call's buffers. Every open call has two of them, so it is just enough for
/// a small message; a larger message makes its own room at once.
const BUFFER_BYTES: usize = 512;

/// Ready messages are gathered into one HTTP/2 write up to this.
const GATHER_BYTES: usize = 64 << 10;

/// The codec of every service: sends `T`, receives `U`.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Received + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Decoder<U> {
        Decoder(PhantomData)
    }
}

/// Encodes messages.
#[derive(Debug)]
pub struct Encoder<T>(PhantomData<T>);

impl<T: Message> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // A buffer that grows while slices of records are put into it would copy them again each
        // time.
        buf.reserve(message.encoded_len());
        message.encode_raw(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, GATHER_BYTES)
    }
}

/// Decodes messages.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Message + Received + Default> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // No copy: the bytes are already together.
        decode(buf.copy_to_bytes(buf.remaining())).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, GATHER_BYTES)
    }
}

/// A message that can be decoded.
pub(crate) trait Decoded: Message + Received + Default {}

impl<U: Message + Received + Default> Decoded for U {}

/// Decodes a message.
pub(crate) fn decode<U: Decoded>(encoded: Bytes) -> Result<U, Status> {
    // gRPC uses INTERNAL for a message that cannot be decoded; the server gives its clients a more
    // precise status.
    if let Some(fields) = U::FIELDS {
        fields
            .check(&encoded)
            .map_err(|refused| Status::internal(refused.to_string()))?;
    }
    U::decode(encoded).map_err(|error| Status::internal(error.to_string()))
}
