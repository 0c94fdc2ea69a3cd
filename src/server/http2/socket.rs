//! A connection's bytes: read in turns of a bounded size, and noticed.

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
    /// What calls count that have ended, and whose end h2 has and has not written.
    ended: Mutex<Vec<Arc<Held>>>,
    flood: Mutex<Option<Notice>>,
}

impl Traffic {
    pub(in crate::server) fn new() -> Self {
        let traffic = Self::default();
        traffic.grant(FIRST_WINDOW_BYTES);
        traffic
    }

    /// The client has a window of so many bytes.
    pub(super) fn grant(&self, bytes: usize) {
        self.granted.store(bytes, Relaxed);
    }

    /// Lets so many bytes be read in this turn, unless they are many frames.
    pub(in crate::server) fn begin_turn(&self, bytes: usize) {
        self.left_in_turn.store(bytes, Relaxed);
        self.frames_left_in_turn.store(FRAMES_IN_TURN, Relaxed);
    }

    /// Whether anything was read since this was last asked.
    pub(super) fn has_read(&self) -> bool {
        self.has_read.swap(false, Relaxed)
    }

    /// Bytes of requests have come in.
    pub(super) fn add_came(&self, bytes: usize) {
        self.came.fetch_add(bytes, Relaxed);
    }

    /// How many bytes of requests have come in since this was last asked.
    pub(super) fn came(&self) -> usize {
        self.came.swap(0, Relaxed)
    }

    /// Calls have taken bytes of their requests.
    pub(super) fn add_taken(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Relaxed);
    }

    /// How many bytes calls have taken of their requests.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Something has come in for a call.
    pub(super) fn progress(&self) {
        self.has_progressed.store(true, Relaxed);
    }

    /// Whether a call has moved on since this was last asked: something has come in for one, or
    /// more was written than read. What is no part of a call, pings above all, is answered with as
    /// many bytes as it has at most.
    pub(super) fn has_progressed(&self) -> bool {
        let (read, written) = (self.read.swap(0, Relaxed), self.written.swap(0, Relaxed));
        self.has_progressed.swap(false, Relaxed) || written > read
    }

    /// A call has ended, which counts until all is written that h2 has by now.
    pub(super) fn until_written(&self, call: Arc<Held>) {
        self.ended().push(call);
    }

    /// Whether a call has ended whose end was not written.
    pub(super) fn has_unwritten_ends(&self) -> bool {
        !self.ended().is_empty()
    }

    /// What the client was told that it did too much of, if it was.
    pub(super) fn flood(&self) -> Option<Notice> {
        *self.lock_flood()
    }

    fn lock_flood(&self) -> MutexGuard<'_, Option<Notice>> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Arc<Held>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all was read that this turn lets be read.
    pub(in crate::server) fn turn_is_over(&self) -> bool {
        self.left_in_turn() == 0
    }

    fn left_in_turn(&self) -> usize {
        self.left_in_turn.load(Relaxed)
    }

    /// So many bytes were read, in which so many frames begin.
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

/// What h2 tells a client at the end of a connection that has had too much of something. It keeps
/// it for the client: the error that comes of it is the same for all of these.
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

    /// Notices what was just read. Returns how many frames begin in it.
    fn read(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frames.pass(bytes, self.traffic.granted.load(Relaxed))
    }

    /// How much may be read at a time, if anything: in the middle of a frame its rest, and of what
    /// may be small frames not much.
    fn most_read(&self) -> usize {
        match self.traffic.left_in_turn() {
            few @ 0..=FEW_BYTES => few,
            _ => self.frames.left() + SMALL_FRAMES_BYTES,
        }
    }

    /// Notices what was just written, which ends with this.
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
            // The next turn begins when whoever has ended this one says so.
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

    /// h2 does this when it has written all of its buffer.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.traffic.ended().clear();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
