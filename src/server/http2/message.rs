//! A message on its way to a client, in pieces that are freed one by one.
//!
//! A client that has not shown that it reads gets small pieces, few of which are within h2 at a
//! time, because those cannot be freed.
//!
//! The pieces are copies: a slice of a frame would keep the whole frame, up to 16 MiB for a few
//! bytes. A piece that was freed before it was sent is made again later, as far as needed, and must
//! have the same content. For that, the length and checksum of each small part are kept, 12 bytes
//! for 32 KiB. Sent parts are never needed again.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::alive::{self, Alive};
use crate::{
    budget::Held,
    server::{
        limits::{FIRST_BYTES, PIECE_BYTES, SMALL_PIECES_BYTES},
        reads::Shares,
    },
    storage::format::checksum::crc32,
};

/// The size of the parts with a checksum each, when a message is not in memory. No less than such a
/// part is made again.
const EXTENT_BYTES: usize = SMALL_PIECES_BYTES;

/// gRPC's header of a message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// A message, without what was sent of it.
pub(in crate::server) struct Message {
    /// The length of the whole message with its header.
    len: usize,
    is_compressed: bool,
    /// The parts in memory, in order.
    pieces: VecDeque<Bytes>,
    /// The number of bytes in these pieces.
    loaded: usize,
    /// How much of the first piece has been sent.
    sent_of_first: usize,
    /// Memory for what is ready before the client has shown that it reads.
    ahead: Option<Held>,
    /// The parts behind the pieces, which are not in memory.
    absent: VecDeque<Extent>,
    alive: Alive,
}

/// Memory for a part of a message.
pub(in crate::server) struct Room {
    held: Held,
    ahead: Option<Held>,
    /// The largest piece to make in it.
    piece_bytes: usize,
}

/// A part of a message that is not in memory.
#[derive(Clone, Copy)]
struct Extent {
    from: u32,
    to: u32,
    checksum: u32,
}

/// The content of a message, or of a part of it.
struct Slices<'a> {
    header: [u8; HEADER_BYTES],
    /// The position of the slices behind the header.
    from: usize,
    slices: &'a [Bytes],
}

/// The error that a message made again differs from the original.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Changed;

/// A piece that is counted until h2 has written it.
struct Piece {
    bytes: Vec<u8>,
    _alive: alive::Counted,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Message {
    /// Takes as much of a message into memory as there is room for.
    pub(in crate::server) fn new(
        slices: &[Bytes],
        room: impl FnOnce(usize) -> Option<Room>,
        alive: &Alive,
    ) -> Self {
        Self::made_of(slices, false, room, alive)
    }

    /// Takes as much of a compressed message into memory as there is room for. It will be
    /// compressed again when it is made again.
    pub(in crate::server) fn compressed(
        compressed: Bytes,
        room: impl FnOnce(usize) -> Option<Room>,
        alive: &Alive,
    ) -> Self {
        Self::made_of(&[compressed], true, room, alive)
    }

    /// Whether it is compressed.
    pub(in crate::server) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    fn made_of(
        slices: &[Bytes],
        is_compressed: bool,
        room: impl FnOnce(usize) -> Option<Room>,
        alive: &Alive,
    ) -> Self {
        let len = HEADER_BYTES + slices.iter().map(Bytes::len).sum::<usize>();
        let mut message = Self {
            len,
            is_compressed,
            pieces: VecDeque::new(),
            loaded: 0,
            sent_of_first: 0,
            ahead: None,
            absent: VecDeque::new(),
            alive: alive.clone(),
        };
        let content = message.content(0, slices);
        let mut from = match room(len) {
            Some(mut room) => message.load(&content, 0..len, &mut room),
            None => 0,
        };
        while from < len {
            let to = len.min(from + EXTENT_BYTES);
            message.absent.push_back(content.extent(from, to));
            from = to;
        }
        message
    }

    fn content<'a>(&self, from: usize, slices: &'a [Bytes]) -> Slices<'a> {
        let header = header(self.len, self.is_compressed);
        Slices {
            header,
            from,
            slices,
        }
    }

    /// Whether nothing is left to send.
    pub(in crate::server) fn is_sent(&self) -> bool {
        self.pieces.is_empty() && self.absent.is_empty()
    }

    /// How many bytes can be sent at once; 0 if the message must be made again first.
    pub(in crate::server) fn ready(&self) -> usize {
        self.pieces.front().map_or(0, Bytes::len)
    }

    /// The size of the first piece, including what was sent of it.
    pub(in crate::server) fn first_piece(&self) -> usize {
        self.sent_of_first + self.ready()
    }

    /// The size of all pieces, including what was sent of the first.
    pub(in crate::server) fn in_pieces(&self) -> usize {
        self.sent_of_first + self.loaded
    }

    /// The next bytes to send, at most `most`; and whether they complete a piece.
    pub(in crate::server) fn next(&mut self, most: usize) -> (Bytes, bool) {
        let (bytes, completes) = match self.pieces.front_mut() {
            Some(piece) if piece.len() > most => (piece.split_to(most), false),
            Some(_) => (self.pieces.pop_front().unwrap_or_default(), true),
            None => (Bytes::new(), false),
        };
        self.sent_of_first = match completes {
            true => 0,
            false => self.sent_of_first + bytes.len(),
        };
        self.unload(bytes.len());
        (bytes, completes)
    }

    fn unload(&mut self, bytes: usize) {
        self.loaded -= bytes;
        if let Some(ahead) = &mut self.ahead {
            ahead.shrink_to(self.loaded);
        }
    }

    /// Frees all but the first pieces.
    pub(in crate::server) fn let_go(&mut self, keep: usize) {
        let mut to = self.absent_from();
        while self.pieces.len() > keep {
            let Some(piece) = self.pieces.pop_back() else {
                break;
            };
            let from = to - piece.len();
            self.unload(piece.len());
            for (nth, bytes) in piece.chunks(EXTENT_BYTES).enumerate().rev() {
                let from = from + nth * EXTENT_BYTES;
                let extent = Extent::new(from, from + bytes.len(), &[bytes]);
                self.absent.push_front(extent);
            }
            to = from;
        }
        if self.pieces.is_empty() {
            self.sent_of_first = 0;
        }
    }

    /// The memory for the lengths and checksums of parts that are not in memory.
    pub(in crate::server) fn extents_memory(&self) -> usize {
        self.absent.capacity() * size_of::<Extent>()
    }

    /// The number of bytes that are not in memory.
    pub(in crate::server) fn absent(&self) -> usize {
        self.len - self.absent_from()
    }

    /// The part of the message, without its header, that must be made again if there is room for
    /// this many bytes. It consists of whole extents, as these have the checksums.
    pub(in crate::server) fn needed(&self, room: usize) -> Range<usize> {
        let needed = self.needed_with_header(room);
        needed.start.saturating_sub(HEADER_BYTES)..needed.end.saturating_sub(HEADER_BYTES)
    }

    fn needed_with_header(&self, room: usize) -> Range<usize> {
        let from = self.absent_from();
        let mut to = from;
        for extent in &self.absent {
            let end = extent.to as usize;
            if to > from && end - from > room {
                break;
            }
            to = end;
        }
        from..to
    }

    fn absent_from(&self) -> usize {
        let first = self.absent.front();
        first.map_or(self.len, |extent| extent.from as usize)
    }

    /// Takes as much of the message that was made again into memory as there is room for.
    pub(in crate::server) fn restore(
        &mut self,
        slices: &[Bytes],
        room: &mut Room,
    ) -> Result<(), Changed> {
        let len = HEADER_BYTES + slices.iter().map(Bytes::len).sum::<usize>();
        match len == self.len {
            true => self.restore_part(0, slices, room),
            false => Err(Changed),
        }
    }

    /// Takes as much into memory as there is room for of a part that was made again. The part
    /// begins at `from`, counted behind the header, and contains at least what is
    /// [`needed`](Self::needed).
    pub(in crate::server) fn restore_part(
        &mut self,
        from: usize,
        slices: &[Bytes],
        room: &mut Room,
    ) -> Result<(), Changed> {
        let content = self.content(from, slices);
        let needed = self.needed_with_header(room.held.bytes());
        let is_needed = |extent: &&Extent| extent.to as usize <= needed.end;
        let mut extents = self.absent.iter().take_while(is_needed);
        if !extents.all(|extent| content.has(extent)) {
            return Err(Changed);
        }
        let loaded = self.load(&content, needed, room);
        while let Some(extent) = self.absent.front()
            && (extent.from as usize) < loaded
        {
            let to = extent.to as usize;
            self.absent.pop_front();
            if to > loaded {
                self.absent.push_front(content.extent(loaded, to));
            }
        }
        Ok(())
    }

    /// Takes content into memory up to the end of `part`, as far as there is room; returns how far
    /// that is.
    fn load(&mut self, content: &Slices<'_>, part: Range<usize>, room: &mut Room) -> usize {
        let mut from = part.start;
        while from < part.end && room.held.bytes() > 0 {
            let to = part.end.min(from + room.held.bytes().min(room.piece_bytes));
            let piece = Piece {
                bytes: content.bytes(from, to).concat(),
                _alive: self.alive.count(to - from),
                _held: room.held.split(to - from),
            };
            self.pieces.push_back(Bytes::from_owner(piece));
            self.loaded += to - from;
            from = to;
        }
        self.ahead = room.ahead.take();
        self.unload(0);
        from
    }
}

impl Extent {
    fn new(from: usize, to: usize, bytes: &[&[u8]]) -> Self {
        let short = |bytes| u32::try_from(bytes).expect("a response is far below 4 GiB");
        Self {
            from: short(from),
            to: short(to),
            checksum: crc32(bytes),
        }
    }
}

impl Slices<'_> {
    fn extent(&self, from: usize, to: usize) -> Extent {
        Extent::new(from, to, &self.bytes(from, to))
    }

    /// Whether the extent's length and checksum match the content.
    fn has(&self, extent: &Extent) -> bool {
        let (from, to) = (extent.from as usize, extent.to as usize);
        let bytes = self.bytes(from, to);
        let len = bytes.iter().map(|slice| slice.len()).sum::<usize>();
        len == to - from && crc32(&bytes) == extent.checksum
    }

    /// These bytes of the message, as the slices that hold them.
    fn bytes(&self, from: usize, to: usize) -> Vec<&[u8]> {
        let mut found = Vec::new();
        if from < HEADER_BYTES {
            found.push(&self.header[from..to.min(HEADER_BYTES)]);
        }
        let mut at = HEADER_BYTES + self.from;
        for slice in self.slices {
            let (start, end) = (from.max(at), to.min(at + slice.len()));
            if start < end {
                found.push(&slice[start - at..end - at]);
            }
            at += slice.len();
        }
        found
    }
}

impl Room {
    /// The size of the reserved memory in bytes.
    pub(in crate::server) fn bytes(&self) -> usize {
        self.held.bytes()
    }
}

/// Reserves memory for this many bytes or part of them. One piece is allowed beyond the
/// connection's share, or the reads of a connection with many of them would never continue. If
/// others have left nothing, the connection still has its minimum, of which only as much is used as
/// the client takes at once: its other reads need the rest.
pub(in crate::server) fn room(shares: &Shares, bytes: usize, at_once: usize) -> Option<Room> {
    let memory = &shares.pieces;
    let taken = memory.take(bytes);
    let taken = taken.or_else(|_| memory.take(bytes.min(4 * PIECE_BYTES)));
    let taken = taken.or_else(|_| memory.take_beyond_share(bytes.min(PIECE_BYTES)));
    let taken = taken.or_else(|_| memory.take_basic(bytes.min(at_once)));
    let taken = taken.ok()?;
    Some(Room {
        held: taken,
        ahead: None,
        piece_bytes: PIECE_BYTES,
    })
}

/// Reserves memory for this many bytes or part of them, as [`room`] does, for a client that has not
/// shown that it reads.
pub(in crate::server) fn first_room(shares: &Shares, bytes: usize, at_once: usize) -> Option<Room> {
    let memory = &shares.pieces;
    let room = |held, ahead| Room {
        held,
        ahead,
        piece_bytes: SMALL_PIECES_BYTES,
    };
    // Takes as much as there is room for, because each part needs another read of all of a large
    // record.
    let mut part = bytes;
    while part > FIRST_BYTES {
        if let Ok(ahead) = shares.ahead.take(part)
            && let Ok(held) = memory.take(part)
        {
            return Some(room(held, Some(ahead)));
        }
        part /= 2;
    }
    let taken = memory.take_beyond_share(bytes.min(FIRST_BYTES));
    let taken = taken.or_else(|_| memory.take_basic(bytes.min(at_once)));
    Some(room(taken.ok()?, None))
}

fn header(len: usize, is_compressed: bool) -> [u8; HEADER_BYTES] {
    let mut header = [u8::from(is_compressed); HEADER_BYTES];
    let len = u32::try_from(len - HEADER_BYTES).expect("a response is far below 4 GiB");
    header[1..].copy_from_slice(&len.to_be_bytes());
    header
}
