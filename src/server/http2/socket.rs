//! A connection's bytes, which are read in turns of a bounded size and observed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use crate::{
    budget::Held,
    server::{
        limits::{FEW_BYTES, FIRST_WINDOW_BYTES, FRAMES_IN_TURN, SMALL_FRAMES_BYTES},
        notices::Notice,
    },
};

/// What has passed on a connection, for the task that serves it.
#[derive(Debug, Default)]
pub(in crate::server) struct Traffic {
    /// How many bytes may still be read in this turn, and how many frames may begin in them.
    left_in_turn: AtomicUsize,
    frames_left_in_turn: AtomicUsize,
    has_read: AtomicBool,
    read: AtomicUsize,
    written: AtomicUsize,
    has_progressed: AtomicBool,
    came: AtomicUsize,
    taken: AtomicU64,
    /// The window that the client was granted.
    granted: AtomicUsize,
    /// Memory of calls that have ended, kept until h2 has written their last frame to the socket.
    ended: Mutex<Vec<Arc<Held>>>,
    flood: Mutex<Option<Notice>>,
}

impl Traffic {
    pub(in crate::server) fn new() -> Self {
        let traffic = Self::default();
        traffic.grant(FIRST_WINDOW_BYTES);
        traffic
    }

    /// Sets the window that the client was granted.
    pub(super) fn grant(&self, bytes: usize) {
        self.granted.store(bytes, Relaxed);
    }

    /// Begins a turn in which this many bytes may be read, or fewer if they are many frames.
    pub(in crate::server) fn begin_turn(&self, bytes: usize) {
        self.left_in_turn.store(bytes, Relaxed);
        self.frames_left_in_turn.store(FRAMES_IN_TURN, Relaxed);
    }

    /// Whether anything was read since the last call.
    pub(super) fn has_read(&self) -> bool {
        self.has_read.swap(false, Relaxed)
    }

    /// Adds bytes of requests that have come in.
    pub(super) fn add_came(&self, bytes: usize) {
        self.came.fetch_add(bytes, Relaxed);
    }

    /// How many bytes of requests have come in since the last call.
    pub(super) fn came(&self) -> usize {
        self.came.swap(0, Relaxed)
    }

    /// Adds bytes of requests that calls have taken.
    pub(super) fn add_taken(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Relaxed);
    }

    /// How many bytes of their requests calls have taken in all.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Records that something has come in for a call.
    pub(super) fn progress(&self) {
        self.has_progressed.store(true, Relaxed);
    }

    /// Whether a call has made progress since the last call of this function: something has come in
    /// for one, or more was written than read. Bytes outside of calls, above all pings, are
    /// answered with at most as many bytes.
    pub(super) fn has_progressed(&self) -> bool {
        let (read, written) = (self.read.swap(0, Relaxed), self.written.swap(0, Relaxed));
        self.has_progressed.swap(false, Relaxed) || written > read
    }

    /// Keeps an ended call counted until everything is written that h2 has by now.
    pub(super) fn until_written(&self, call: Arc<Held>) {
        self.ended().push(call);
    }

    /// Whether there is an ended call whose end is not written yet.
    pub(super) fn has_unwritten_ends(&self) -> bool {
        !self.ended().is_empty()
    }

    /// The excess for which h2 has ended the connection, if it has.
    pub(super) fn flood(&self) -> Option<Notice> {
        *self.lock_flood()
    }

    fn lock_flood(&self) -> MutexGuard<'_, Option<Notice>> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Arc<Held>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything was read that may be read in this turn.
    pub(in crate::server) fn turn_is_over(&self) -> bool {
        self.left_in_turn() == 0
    }

    /// How many bytes may still be read in this turn.
    pub(super) fn left_in_turn(&self) -> usize {
        self.left_in_turn.load(Relaxed)
    }

    /// Counts bytes that were read, and the frames that begin in them.
    fn read(&self, bytes: usize, frames: usize) {
        let frames_left = self
            .frames_left_in_turn
            .load(Relaxed)
            .saturating_sub(frames);
        self.frames_left_in_turn.store(frames_left, Relaxed);
        let left = match frames_left {
            0 => 0,
            _ => self.left_in_turn().saturating_sub(bytes),
        };
        self.left_in_turn.store(left, Relaxed);
        self.has_read.store(true, Relaxed);
        self.read.fetch_add(bytes, Relaxed);
    }
}

/// What h2 tells a client when it ends a connection for an excess. h2 tells only the client: its
/// error is the same for all of these.
const FLOODS: [(&[u8], Notice); 4] = [
    (b"too_many_data_frames", Notice::FrameFlood),
    (b"header_list_way_too_large", Notice::HeaderFlood),
    (b"too_many_continuations", Notice::HeaderFlood),
    (b"too_many_internal_resets", Notice::MistakeFlood),
];

/// A connection whose first bytes were read already.
pub(in crate::server) struct Socket<IO> {
    io: IO,
    opening: Bytes,
    frames: Frames,
    traffic: Arc<Traffic>,
}

impl<IO> Socket<IO> {
    pub(in crate::server) fn new(io: IO, opening: Bytes, traffic: Arc<Traffic>) -> Self {
        Self {
            io,
            opening,
            frames: Frames::new(),
            traffic,
        }
    }

    /// Observes what was just read. Returns how many frames begin in it.
    fn read(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frames.pass(bytes, self.traffic.granted.load(Relaxed))
    }

    /// How much may be read at a time; 0 if the turn is over. In the middle of a frame it is the
    /// frame's rest, and little more, as small frames may follow.
    fn most_read(&self) -> usize {
        match self.traffic.left_in_turn() {
            few @ 0..=FEW_BYTES => few,
            _ => self.frames.left() + SMALL_FRAMES_BYTES,
        }
    }

    /// Observes what was just written, which ends with `end`.
    fn written(&self, written: Poll<io::Result<usize>>, end: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            let flood = FLOODS.iter().find(|(told, _)| end.ends_with(told));
            if let Some((_, notice)) = flood {
                *self.traffic.lock_flood() = Some(*notice);
            }
            self.traffic.written.fetch_add(bytes, Relaxed);
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.opening.has_remaining() {
            let len = self.opening.len().min(buf.remaining());
            let some = self.opening.split_to(len);
            buf.put_slice(&some);
            self.read(&some)?;
            return Poll::Ready(Ok(()));
        }
        let most = self.most_read();
        if most == 0 {
            // Whoever ended this turn begins the next one and polls again.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if buf.remaining() <= most {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let mut some = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut some))?;
            let bytes = some.filled().len();
            buf.advance(bytes);
        }
        let read = &buf.filled()[before..];
        let frames = self.read(read)?;
        self.traffic.read(read.len(), frames);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(written, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        let end = slices.last().map_or(&[][..], |last| last);
        self.written(written, end)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// h2 flushes when it has written all of its buffer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.traffic.ended().clear();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
