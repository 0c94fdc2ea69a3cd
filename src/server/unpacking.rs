//! Requests whose messages are compressed: they are put together, and taken apart one by one.
//!
//! A message is counted with the length that it has uncompressed before it is taken apart, and one
//! that would be larger than its call allows is refused.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tonic::Status;

use super::{blocking::blocking, intake::HEADER_BYTES, status};
use crate::{broker::Error, codec::Encoding};

/// Larger messages are taken apart while other tasks go on.
const LARGE_BYTES: usize = 64 << 10;

/// Takes compressed messages apart.
pub(super) struct Unpacker {
    encoding: Encoding,
    /// The most bytes of one message, uncompressed.
    most: usize,
    /// The message that comes in, with its header.
    message: BytesMut,
    ready: VecDeque<Bytes>,
}

impl Unpacker {
    pub(super) fn new(encoding: Encoding, most: usize) -> Self {
        Self {
            encoding,
            most,
            message: BytesMut::new(),
            ready: VecDeque::new(),
        }
    }

    /// What is ready to be passed on: a header, or what follows one.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Whether a message has begun, and is not complete.
    pub(super) fn is_in_message(&self) -> bool {
        !self.message.is_empty()
    }

    /// Takes the next bytes of the request. `count` makes room for so many bytes, all that is ready
    /// and will be.
    pub(super) fn take(
        &mut self,
        mut data: &[u8],
        count: impl Fn(usize) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let mut unpacked = 0;
        while !data.is_empty() {
            let missing = match self.message.first_chunk::<HEADER_BYTES>() {
                Some([_, len @ ..]) => {
                    HEADER_BYTES + u32::from_be_bytes(*len) as usize - self.message.len()
                }
                None => HEADER_BYTES - self.message.len(),
            };
            let step = data.len().min(missing);
            self.message.extend_from_slice(&data[..step]);
            data = &data[step..];
            if self.is_complete() {
                let message = self.message.split().freeze();
                let room = HEADER_BYTES + self.bound(&message)?.min(self.most);
                count(unpacked + room)?;
                unpacked += self.unpack(&message)?;
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let header = self.message.first_chunk::<HEADER_BYTES>();
        header.is_some_and(|[_, len @ ..]| {
            self.message.len() == HEADER_BYTES + u32::from_be_bytes(*len) as usize
        })
    }

    /// How many bytes a message has uncompressed, at most.
    fn bound(&self, message: &Bytes) -> Result<usize, Status> {
        match message[0] {
            0 => Ok(message.len() - HEADER_BYTES),
            _ => {
                let bound = self.encoding.bound(&message[HEADER_BYTES..]);
                bound.ok_or_else(|| self.malformed())
            }
        }
    }

    /// Adds a message to what is ready; how many bytes it has.
    fn unpack(&mut self, message: &Bytes) -> Result<usize, Status> {
        let (compressed, bound) = (&message[HEADER_BYTES..], self.bound(message)?);
        if message[0] == 0 {
            self.ready.push_back(message.clone());
            return Ok(message.len());
        }
        let (encoding, most) = (self.encoding, bound.min(self.most));
        let decompressed = match most > LARGE_BYTES {
            true => blocking(|| encoding.decompress(compressed, most)),
            false => encoding.decompress(compressed, most),
        };
        let Some(bytes) = decompressed else {
            return Err(match bound > self.most {
                true => status::too_large(bound, self.most),
                false => self.malformed(),
            });
        };
        let mut header = [0; HEADER_BYTES];
        let len = u32::try_from(bytes.len()).expect("no more than a call allows");
        header[1..].copy_from_slice(&len.to_be_bytes());
        self.ready.push_back(Bytes::copy_from_slice(&header));
        let len = HEADER_BYTES + bytes.len();
        if !bytes.is_empty() {
            self.ready.push_back(bytes.into());
        }
        Ok(len)
    }

    fn malformed(&self) -> Status {
        let reason = format!("a message is not what {} makes", self.encoding.name());
        Error::MalformedRequest { reason }.into()
    }
}
