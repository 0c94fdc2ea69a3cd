//! TLS on the port for HTTP, if it is configured.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::client::Client;
use crate::{
    server::{
        greeting::{self, Greeting},
        link::Link,
        notices::{Notice, Notices},
    },
    tls::Acceptor,
};

/// The response to a client that does not speak TLS.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 43\r\nconnection: close\r\n\r\n\
    This port speaks TLS: use an https:// URL.\n";

/// Completes the handshake, if TLS is spoken. `None` if the client does not speak TLS; it has been
/// told so.
pub(super) async fn open<IO>(
    mut io: IO,
    tls: Option<&Acceptor>,
    client: &Client,
    notices: &Notices,
) -> io::Result<Option<Link<IO>>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Some(tls) = tls else {
        return Ok(Some(Link::Plain(io)));
    };
    let (greeting, opening) = greeting::read(&mut io).await?;
    match greeting {
        Greeting::Tls => {}
        Greeting::Http1 => {
            notices.happened(Notice::NoTls);
            io.write_all(NEEDS_TLS).await?;
            greeting::leave(io).await?;
            return Ok(None);
        }
        Greeting::Http2 | Greeting::Unknown | Greeting::Closed => return Ok(None),
    }
    match tls.accept_http1(io, &opening).await {
        Ok((stream, identity)) => {
            if let Some(identity) = identity {
                client.known_by(identity);
            }
            Ok(Some(Link::Tls(Box::new(stream))))
        }
        Err((error, io)) => {
            // An I/O error means that the client has gone; only invalid data is worth a notice.
            if error.kind() == io::ErrorKind::InvalidData {
                notices.happened_by(Notice::TlsFailed, &error);
                greeting::leave(io).await?;
            }
            Ok(None)
        }
    }
}
