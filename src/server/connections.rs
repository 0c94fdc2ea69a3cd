//! Connections: how many there may be, and how they are cut when the time to drain is over.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpIncoming};
use tracing::{debug, warn};

use super::{
    limits::{ACCEPT_PAUSE, TURN_AWAY},
    stop::{Stopped, Stopping},
};

/// The connections of a TCP listener, without Nagle's delay.
pub(crate) fn tcp(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Lets in as many connections at a time as there may be, and tells the others to come back.
pub(super) struct Door<IO> {
    incoming: Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>,
    places: Arc<Semaphore>,
    turning_away: Arc<Semaphore>,
    cut: Stopping,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<IO> Door<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(super) fn new(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        max_connections: usize,
        cut: Stopping,
    ) -> Self {
        Self {
            incoming: Box::pin(incoming),
            places: Arc::new(Semaphore::new(max_connections)),
            turning_away: Arc::new(Semaphore::new(TURN_AWAY.1)),
            cut,
            pause: None,
        }
    }

    fn let_in(&self, io: IO) -> Option<Connection<IO>> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(Connection {
                io,
                cut: self.cut.stopped(),
                is_cut: false,
                _place: place,
            }),
            Err(_) => {
                self.turn_away(io);
                None
            }
        }
    }

    fn turn_away(&self, io: IO) {
        debug!("a connection was turned away: there are as many as there may be");
        if let Ok(permit) = Arc::clone(&self.turning_away).try_acquire_owned() {
            tokio::spawn(async move {
                timeout(TURN_AWAY.0, say_too_many(io)).await.ok();
                drop(permit);
            });
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // These are about the one connection, the rest about all: too many open files, say.
        if !matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted
        ) {
            warn!(%error, "cannot accept connections; trying again");
            self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
        }
    }
}

impl<IO> Stream for Door<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Item = io::Result<Connection<IO>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.incoming.as_mut().poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => self.accept_failed(&error),
                Some(Ok(io)) => {
                    if let Some(connection) = self.let_in(io) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
            }
        }
    }
}

/// The least that is a valid HTTP/2 answer: empty SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM and
/// a text.
const TOO_MANY_CONNECTIONS: &[u8] = b"\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x1c\x07\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\
    \x00\x00\x00\x0b\
    too many connections";

async fn say_too_many(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    io.write_all(TOO_MANY_CONNECTIONS).await?;
    io.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the client might never see the
    // answer.
    let mut ignored = [0; 1024];
    while io.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// A connection that has a place, and ends when it is told to.
pub(super) struct Connection<IO> {
    io: IO,
    cut: Stopped,
    is_cut: bool,
    _place: OwnedSemaphorePermit,
}

impl<IO> Connection<IO> {
    /// Whoever is blocked on the other direction is woken too: the connection is one task.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_cut || self.cut.as_mut().poll(cx).is_ready() {
            self.is_cut = true;
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the server has stopped",
            ));
        }
        Ok(())
    }
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
