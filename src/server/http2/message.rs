//! One message on its way to a client, in pieces that are let go of one by one.
//!
//! The pieces are copies: a slice of a frame would keep all of it, 16 MiB for some bytes. What is
//! let go of before it was sent is made again later, and must be the same then: of each such part
//! its length and checksum are kept. That is enough, because what has been sent is never needed
//! again.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    budget::{Held, Holder},
    server::limits::PIECE_BYTES,
    storage::format::checksum::crc32,
};

/// gRPC's header of a message: not compressed, and its length.
const HEADER_BYTES: usize = 5;

/// A message, behind what has been sent of it.
pub(in crate::server) struct Message {
    /// All of it, with its header.
    len: usize,
    /// What is in memory, in order.
    pieces: VecDeque<Bytes>,
    /// What follows these and is not.
    absent: VecDeque<Extent>,
}

/// A part of a message that is not in memory.
struct Extent {
    from: usize,
    to: usize,
    checksum: u32,
}

/// A message that was made again is another one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Changed;

/// A piece, which is counted until h2 has written it.
struct Piece {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Message {
    /// Takes as much of a message into memory as there is room for.
    pub(in crate::server) fn new(slices: &[Bytes], holder: &Holder) -> Self {
        let len = HEADER_BYTES + slices.iter().map(Bytes::len).sum::<usize>();
        let mut message = Self {
            len,
            pieces: VecDeque::new(),
            absent: VecDeque::new(),
        };
        message.load(slices, 0, take(holder, len));
        message
    }

    /// Whether nothing is left to send.
    pub(in crate::server) fn is_sent(&self) -> bool {
        self.pieces.is_empty() && self.absent.is_empty()
    }

    /// How many bytes can be sent at once; none if the message must be made again first.
    pub(in crate::server) fn ready(&self) -> usize {
        self.pieces.front().map_or(0, Bytes::len)
    }

    /// The next bytes to send, at most so many; and whether they complete a piece.
    pub(in crate::server) fn next(&mut self, most: usize) -> (Bytes, bool) {
        match self.pieces.front_mut() {
            Some(piece) if piece.len() > most => (piece.split_to(most), false),
            Some(_) => (self.pieces.pop_front().unwrap_or_default(), true),
            None => (Bytes::new(), false),
        }
    }

    /// Lets go of all but the first pieces.
    pub(in crate::server) fn let_go(&mut self, keep: usize) {
        let mut to = self.absent.front().map_or(self.len, |extent| extent.from);
        while self.pieces.len() > keep {
            let Some(piece) = self.pieces.pop_back() else {
                break;
            };
            let from = to - piece.len();
            let checksum = crc32(&[&piece]);
            self.absent.push_front(Extent { from, to, checksum });
            to = from;
        }
    }

    /// Room for a part of what is not in memory; none if there is none at the moment.
    pub(in crate::server) fn room(&self, holder: &Holder) -> Option<Held> {
        let from = self.absent.front().map_or(self.len, |extent| extent.from);
        take(holder, self.len - from)
    }

    /// Takes into memory what there is room for of the message, which was made again.
    pub(in crate::server) fn restore(
        &mut self,
        slices: &[Bytes],
        room: Held,
    ) -> Result<(), Changed> {
        let len = HEADER_BYTES + slices.iter().map(Bytes::len).sum::<usize>();
        let is_same = |extent: &Extent| {
            let header = header(self.len);
            crc32(&part(&header, slices, extent.from, extent.to)) == extent.checksum
        };
        if len != self.len || !self.absent.iter().all(is_same) {
            return Err(Changed);
        }
        let from = self.absent.front().map_or(len, |extent| extent.from);
        self.absent.clear();
        self.load(slices, from, Some(room));
        Ok(())
    }

    fn load(&mut self, slices: &[Bytes], mut from: usize, room: Option<Held>) {
        let header = header(self.len);
        if let Some(mut room) = room {
            while from < self.len && room.bytes() > 0 {
                let to = self.len.min(from + room.bytes().min(PIECE_BYTES));
                let bytes = part(&header, slices, from, to).concat();
                let piece = Piece {
                    bytes,
                    _held: room.split(to - from),
                };
                self.pieces.push_back(Bytes::from_owner(piece));
                from = to;
            }
        }
        if from < self.len {
            let checksum = crc32(&part(&header, slices, from, self.len));
            self.absent.push_back(Extent {
                from,
                to: self.len,
                checksum,
            });
        }
    }
}

/// Room for so many bytes, or for a part of them. One piece is taken beyond a share too, or the
/// reads of a connection that has many would never go on; where others have left nothing, what the
/// connection always finds.
fn take(holder: &Holder, bytes: usize) -> Option<Held> {
    let taken = holder.take(bytes);
    let taken = taken.or_else(|_| holder.take(bytes.min(4 * PIECE_BYTES)));
    let taken = taken.or_else(|_| holder.take_beyond_share(bytes.min(PIECE_BYTES)));
    taken.or_else(|_| holder.take_basic(bytes)).ok()
}

fn header(len: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let len = u32::try_from(len - HEADER_BYTES).expect("a response is far below 4 GiB");
    header[1..].copy_from_slice(&len.to_be_bytes());
    header
}

/// A part of a message, as the slices that it lies in.
fn part<'a>(header: &'a [u8], slices: &'a [Bytes], from: usize, to: usize) -> Vec<&'a [u8]> {
    let mut at = 0;
    let mut found = Vec::new();
    let slices = slices.iter().map(|slice| &slice[..]);
    for slice in std::iter::once(header).chain(slices) {
        let (start, end) = (from.max(at), to.min(at + slice.len()));
        if start < end {
            found.push(&slice[start - at..end - at]);
        }
        at += slice.len();
    }
    found
}
