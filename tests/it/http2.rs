//! HTTP/2 written by hand, for frames that no library would send.

use tokio::{io::AsyncReadExt, net::TcpStream};

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len())
        .expect("it is small")
        .to_be_bytes();
    let mut frame = [&length[..], &[kind, flags]].concat();
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A name or a value of a header, encoded as a literal.
pub(crate) fn literal(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("it is short");
    [&[len], text.as_bytes()].concat()
}

/// The headers of a call, as literals.
pub(crate) fn headers_of(path: &str) -> Vec<u8> {
    [
        vec![0x83, 0x86, 0x04],
        literal(path),
        vec![0x01],
        literal("broker"),
        vec![0x00],
        literal("content-type"),
        literal("application/grpc"),
        vec![0x00],
        literal("te"),
        literal("trailers"),
    ]
    .concat()
}

/// Reads frames up to the first of this kind with these flags; returns their kinds.
pub(crate) async fn frames_until(socket: &mut TcpStream, kind: u8, flags: u8) -> Vec<u8> {
    let mut kinds = Vec::new();
    loop {
        let mut header = [0; 9];
        socket
            .read_exact(&mut header)
            .await
            .unwrap_or_else(|error| panic!("after {kinds:?}: {error}"));
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        socket
            .read_exact(&mut payload)
            .await
            .expect("a whole frame");
        kinds.push(header[3]);
        if (header[3], header[4]) == (kind, flags) {
            return kinds;
        }
        assert_ne!(header[3], GOAWAY, "{}", String::from_utf8_lossy(&payload));
    }
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
