//! The first bytes of a connection: whoever does not speak HTTP/2 is told so where its protocol
//! allows it, before it costs more than a socket.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What every client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The preface, and the header of the SETTINGS that must follow.
const HEADER_END: usize = PREFACE.len() + 9;

/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// Longest SETTINGS that a client may begin with: what HTTP/2 allows a frame before anything else is
/// agreed on.
const MAX_SETTINGS_BYTES: usize = 16 << 10;

/// Room for what a usual client sends at once.
const READ_BYTES: usize = 128;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Http2,
    /// A request of an earlier HTTP.
    Http1,
    Tls,
    /// Of none of these.
    Unknown,
    /// It was closed before it said what it is.
    Closed,
}

/// What a connection's first bytes say; none if they do not say it yet.
pub(super) fn of(bytes: &[u8]) -> Option<Greeting> {
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return of_settings(bytes);
    }
    match bytes {
        [0x16] => None,
        // A handshake record of any version.
        [0x16, 0x03, ..] => Some(Greeting::Tls),
        [first, ..] if first.is_ascii_uppercase() => Some(Greeting::Http1),
        _ => Some(Greeting::Unknown),
    }
}

/// What an opening says that begins with the preface: HTTP/2 only when the client's SETTINGS are
/// complete, so that nobody has a place for having begun.
fn of_settings(bytes: &[u8]) -> Option<Greeting> {
    let &[high, middle, low, kind, ..] = bytes.get(PREFACE.len()..HEADER_END)? else {
        return None;
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if kind != SETTINGS || length > MAX_SETTINGS_BYTES {
        return Some(Greeting::Unknown);
    }
    (bytes.len() >= HEADER_END + length).then_some(Greeting::Http2)
}

/// Reads until it is clear how a connection begins, and returns what was read.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<(Greeting, Bytes)> {
    let mut opening = BytesMut::with_capacity(READ_BYTES);
    loop {
        if io.read_buf(&mut opening).await? == 0 {
            return Ok((Greeting::Closed, opening.freeze()));
        }
        if let Some(greeting) = of(&opening) {
            return Ok((greeting, opening.freeze()));
        }
    }
}

/// What a client of HTTP/1 is told. Whether it has come by TLS does not matter to it.
fn http1_answer(with_tls: bool) -> Vec<u8> {
    let with = if with_tls { "with" } else { "without" };
    let text = format!("This port speaks gRPC over HTTP/2, {with} TLS.\n");
    let length = text.len();
    format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// A record with a fatal alert, protocol_version.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

impl Greeting {
    /// Tells a client in its own protocol that this is not the one to speak here, and waits until it
    /// has closed the connection.
    pub(super) async fn refuse<IO>(self, mut io: IO, with_tls: bool) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = match self {
            Self::Http1 => http1_answer(with_tls),
            Self::Tls => TLS_ALERT.to_vec(),
            Self::Http2 | Self::Unknown | Self::Closed => return Ok(()),
        };
        io.write_all(&answer).await?;
        leave(io).await
    }
}

/// Closes a connection whose client is to see what was written last. Closing with bytes unread
/// would reset it, and the client might never see that.
pub(super) async fn leave<IO>(mut io: IO) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    io.shutdown().await?;
    let mut ignored = [0; 1024];
    while io.read(&mut ignored).await? > 0 {}
    Ok(())
}
