//! The first bytes of a connection. A client that does not speak HTTP/2 is told so, if its protocol
//! allows it, before the connection costs more than a socket.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The bytes that every client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The end of the preface and of the header of the SETTINGS frame that must follow.
const HEADER_END: usize = PREFACE.len() + 9;

/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// The longest SETTINGS frame with which a client may begin: HTTP/2's frame size before another one
/// is agreed on.
const MAX_SETTINGS_BYTES: usize = 16 << 10;

/// Room for what a usual client sends first.
const READ_BYTES: usize = 128;

/// What a connection's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Http2,
    /// A request of an earlier version of HTTP.
    Http1,
    Tls,
    /// None of these.
    Unknown,
    /// The connection was closed before that was clear.
    Closed,
}

/// What these first bytes are; `None` if more bytes are needed.
pub(super) fn of(bytes: &[u8]) -> Option<Greeting> {
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return of_settings(bytes);
    }
    match bytes {
        [0x16] => None,
        // A TLS handshake record of any version.
        [0x16, 0x03, ..] => Some(Greeting::Tls),
        [first, ..] if first.is_ascii_uppercase() => Some(Greeting::Http1),
        _ => Some(Greeting::Unknown),
    }
}

/// What a beginning with the preface is: HTTP/2 only once the client's SETTINGS are complete, so
/// that a client does not get a place by sending the preface alone.
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

/// Reads until it is clear what the first bytes are; returns them, too.
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

/// The response to a client of HTTP/1, with or without TLS.
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

/// A TLS record with the fatal alert protocol_version.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];

impl Greeting {
    /// Tells a client in its own protocol that another one is spoken here, and waits until it has
    /// closed the connection.
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

/// Closes a connection so that the client sees what was written last. Closing while unread bytes
/// are left would reset the connection, and the client might never see it.
pub(super) async fn leave<IO>(mut io: IO) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    io.shutdown().await?;
    let mut ignored = [0; 1024];
    while io.read(&mut ignored).await? > 0 {}
    Ok(())
}
