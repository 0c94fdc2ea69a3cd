//! The client's connection over rustls' unbuffered interface: what comes is decrypted where it was
//! read to. With the buffered one it would be put together in a buffer of rustls before, from 4 KiB
//! at a time.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rustls::{
    ClientConfig, Error,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
        UnbufferedStatus, WriteTraffic,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::RECORD_BYTES;

/// The most encrypted bytes that are read at a time: a frame of HTTP/2 with 128 KiB, the largest
/// that the broker sends, in its records.
const READ_BYTES: usize = 136 << 10;

/// When so many bytes are encrypted, some are sent before more are encrypted.
const UNSENT_BYTES: usize = 128 << 10;

/// The most content of a record.
const CONTENT_BYTES: usize = 16 << 10;

/// More than a record takes beside its content.
const RECORD_OVERHEAD_BYTES: usize = RECORD_BYTES - CONTENT_BYTES;

/// The client's end of a connection.
pub(super) struct InPlace<IO> {
    io: IO,
    session: UnbufferedClientConnection,
    /// Encrypted bytes that were read and are not decrypted yet.
    received: Filled,
    /// Decrypted bytes that were not asked for yet.
    ahead: BytesMut,
    /// Encrypted bytes that are not sent yet.
    unsent: Filled,
    /// What went wrong, which was the end of the session.
    failed: Option<Error>,
    /// Whether the broker has said that nothing more comes, and whether this end has.
    is_closed: bool,
    has_closed: bool,
}

/// A buffer that is filled in the middle.
#[derive(Default)]
struct Filled {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What is to be encrypted as soon as the session can do that.
enum ToSend<'a> {
    Content(&'a [u8]),
    /// The notice that nothing more comes.
    Close,
}

/// What a session needs next.
#[derive(Clone, Copy)]
enum Next {
    /// To take another step.
    Step,
    /// More bytes, for the handshake.
    Handshake,
    /// More bytes. The handshake is made.
    Traffic,
    /// Nothing: nothing more comes.
    End,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> InPlace<IO> {
    /// Makes the handshake.
    pub(super) async fn connect(
        io: IO,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(failure)?;
        let mut stream = Self {
            io,
            session,
            received: Filled::default(),
            ahead: BytesMut::new(),
            unsent: Filled::default(),
            failed: None,
            is_closed: false,
            has_closed: false,
        };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.step(cx, &mut ReadBuf::new(&mut []), &mut None)? {
                Next::Step => {}
                Next::Handshake => {
                    ready!(self.poll_send(cx))?;
                    if ready!(self.poll_receive(cx))? == 0 {
                        let error = "it was closed during the handshake of TLS";
                        return Poll::Ready(Err(ended(error)));
                    }
                }
                Next::Traffic | Next::End => return self.poll_send(cx),
            }
        }
    }

    /// Lets the session take one step with what has come. What it decrypts goes to `buf`, and
    /// behind that is kept.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        to_send: &mut Option<ToSend<'_>>,
    ) -> io::Result<Next> {
        if let Some(error) = &self.failed {
            return Err(failure(error.clone()));
        }
        let received = self.received.bytes();
        let UnbufferedStatus { discard, state } = self.session.process_tls_records(received);
        let next = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                let Some(record) = traffic.next_record() else {
                    break Next::Step;
                };
                let content = record.map_err(failure)?.payload;
                let (now, later) = content.split_at(content.len().min(buf.remaining()));
                buf.put_slice(now);
                self.ahead.extend_from_slice(later);
            },
            Ok(ConnectionState::EncodeTlsData(message)) => {
                encode(message, &mut self.unsent)?;
                Next::Step
            }
            Ok(ConnectionState::TransmitTlsData(message)) => {
                // It is with the unsent bytes, and goes before all that come later.
                message.done();
                Next::Step
            }
            Ok(ConnectionState::PeerClosed) => {
                self.is_closed = true;
                Next::Step
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Handshake,
            Ok(ConnectionState::WriteTraffic(traffic)) => {
                if let Some(to_send) = to_send.take() {
                    encrypt(traffic, &to_send, &mut self.unsent)?;
                }
                match self.is_closed {
                    true => Next::End,
                    false => Next::Traffic,
                }
            }
            Ok(ConnectionState::Closed) => Next::End,
            Ok(other) => return Err(io::Error::other(format!("unexpected in TLS: {other:?}"))),
            Err(error) => {
                self.received.discard(discard);
                self.failed = Some(error.clone());
                self.tell(cx);
                return Err(failure(error));
            }
        };
        self.received.discard(discard);
        Ok(next)
    }

    /// Tells the broker why the connection ends, if that can be sent at once.
    fn tell(&mut self, cx: &mut Context<'_>) {
        // Only as long as there is something: then the session does not look at the rest of what
        // has come.
        while self.session.wants_write() {
            let state = self.session.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(alert)) = state else {
                break;
            };
            if encode(alert, &mut self.unsent).is_err() {
                break;
            }
        }
        // The failure is what the caller is told, and not that of telling it.
        drop(self.poll_send(cx));
    }

    /// Reads more; ready with 0 at the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.received.room(0, READ_BYTES);
        if room.is_empty() {
            let error = "the handshake of TLS is too large";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let bytes = room.filled().len();
        self.received.add(bytes);
        Poll::Ready(Ok(bytes))
    }

    /// Ready when everything is sent that was encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, self.unsent.bytes()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.discard(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts something. What comes meanwhile is kept.
    fn encrypt(&mut self, cx: &mut Context<'_>, to_send: ToSend<'_>) -> io::Result<()> {
        let mut to_send = Some(to_send);
        while to_send.is_some() {
            let next = self.step(cx, &mut ReadBuf::new(&mut []), &mut to_send)?;
            if to_send.is_some() && !matches!(next, Next::Step) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

fn encode(
    mut message: EncodeTlsData<'_, ClientConnectionData>,
    unsent: &mut Filled,
) -> io::Result<()> {
    put(unsent, 0, |room| match message.encode(room) {
        Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
        encoded => encoded.map_err(|_| None),
    })
}

fn encrypt(
    mut traffic: WriteTraffic<'_, ClientConnectionData>,
    to_send: &ToSend<'_>,
    unsent: &mut Filled,
) -> io::Result<()> {
    let expected = match to_send {
        ToSend::Content(content) => {
            let records = content.len().div_ceil(CONTENT_BYTES);
            content.len() + records * RECORD_OVERHEAD_BYTES
        }
        ToSend::Close => 0,
    };
    put(unsent, expected, |room| {
        let encrypted = match to_send {
            ToSend::Content(content) => traffic.encrypt(content, room),
            ToSend::Close => traffic.queue_close_notify(room),
        };
        match encrypted {
            Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
            encrypted => encrypted.map_err(|_| None),
        }
    })
}

/// Puts something behind the unsent bytes that says how much room it needs, if the expected is not
/// enough.
fn put(
    unsent: &mut Filled,
    expected: usize,
    mut into: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> io::Result<()> {
    let mut needed = expected;
    loop {
        match into(unsent.room(needed, UNSENT_BYTES)) {
            Ok(bytes) => {
                unsent.add(bytes);
                return Ok(());
            }
            Err(Some(size)) if size.required_size > needed => needed = size.required_size,
            Err(_) => return Err(io::Error::other("the keys of the connection are used up")),
        }
    }
}

impl Filled {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Removes bytes from the front.
    fn discard(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// The room behind the bytes: at least this much, in a buffer of at least this size.
    fn room(&mut self, room: usize, size: usize) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let size = size.max(self.end + room);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Adds what was put into the room.
    fn add(&mut self, bytes: usize) {
        self.end += bytes;
    }
}

fn failure(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The error that the connection was closed too early.
fn ended(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, how)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for InPlace<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = buf.filled().len();
        let ahead = stream.ahead.len().min(buf.remaining());
        buf.put_slice(&stream.ahead[..ahead]);
        stream.ahead.advance(ahead);
        while buf.remaining() > 0 {
            match stream.step(cx, buf, &mut None)? {
                Next::Step => {}
                Next::End => break,
                Next::Handshake | Next::Traffic if buf.filled().len() > before => break,
                Next::Handshake | Next::Traffic => {
                    // Such as the answer to a change of keys. If it has to wait, it is sent with
                    // what is written next.
                    if let Poll::Ready(sent) = stream.poll_send(cx) {
                        sent?;
                    }
                    if ready!(stream.poll_receive(cx))? == 0 {
                        let error = "it was closed without the notice of TLS";
                        return Poll::Ready(Err(ended(error)));
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for InPlace<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.has_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if stream.unsent.bytes().len() >= UNSENT_BYTES {
            ready!(stream.poll_send(cx))?;
        }
        let some = &buf[..buf.len().min(UNSENT_BYTES)];
        stream.encrypt(cx, ToSend::Content(some))?;
        Poll::Ready(Ok(some.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_send(cx))?;
        Pin::new(&mut stream.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if !stream.has_closed && stream.failed.is_none() {
            stream.encrypt(cx, ToSend::Close)?;
            stream.has_closed = true;
        }
        ready!(stream.poll_send(cx))?;
        match ready!(Pin::new(&mut stream.io).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}
