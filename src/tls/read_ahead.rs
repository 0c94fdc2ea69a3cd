//! Reads encrypted bytes in large pieces, because rustls asks for 4 KiB at a time, which would be
//! five system calls for each record.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most bytes read at a time.
pub(super) const BYTES: usize = 32 << 10;

/// A connection that is read in large pieces.
#[derive(Debug)]
pub(crate) struct ReadAhead<IO> {
    io: IO,
    /// Bytes that were read, and not asked for yet.
    ahead: BytesMut,
}

impl<IO> ReadAhead<IO> {
    /// A connection of which `opening` was read already.
    pub(super) fn new(io: IO, opening: &Bytes) -> Self {
        Self {
            io,
            ahead: BytesMut::from(&opening[..]),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, ahead } = self.get_mut();
        if ahead.is_empty() {
            ahead.reserve(BYTES);
            let read = pin!(io.read_buf(ahead)).poll(cx);
            match read {
                Poll::Ready(read) => drop(read?),
                Poll::Pending => {
                    // A waiting connection keeps no buffer.
                    *ahead = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        let len = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..len]);
        ahead.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
