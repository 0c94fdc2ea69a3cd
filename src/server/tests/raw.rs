//! A client that sends what no library would send, and reads when it likes.

use tokio::io::{self, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::flood::Incoming;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) struct Raw(DuplexStream);

pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) content: Vec<u8>,
}

impl Raw {
    /// A client whose socket holds this much while it reads nothing.
    pub(super) async fn open(incoming: &Incoming, socket_bytes: usize) -> Self {
        let (ours, theirs) = duplex(socket_bytes);
        incoming.send(Ok(theirs)).await.unwrap();
        let mut client = Self(ours);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        client.0.write_all(preface).await.unwrap();
        client.send(SETTINGS, 0, 0, &[]).await.unwrap();
        client
    }

    pub(super) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        content: &[u8],
    ) -> io::Result<()> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(content);
        self.0.write_all(&frame).await
    }

    /// Begins a call of this path, without a request.
    pub(super) async fn call(&mut self, stream: u32, path: &str, flags: u8) {
        // POST, http, the path, and an authority, encoded by HPACK.
        let mut headers = b"\x83\x86\x04".to_vec();
        headers.push(u8::try_from(path.len()).unwrap());
        headers.extend(path.as_bytes());
        headers.extend(b"\x01\x01b");
        let sent = self.send(HEADERS, END_HEADERS | flags, stream, &headers);
        sent.await.unwrap();
    }

    /// Sends a frame that needs no response and has no effect.
    pub(super) async fn send_priority(&mut self) -> io::Result<()> {
        self.send(PRIORITY, 0, 1, &[0; 5]).await
    }

    pub(super) async fn receive(&mut self) -> Frame {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.unwrap();
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut content = vec![0; length];
        self.0.read_exact(&mut content).await.unwrap();
        let stream = u32::from_be_bytes(stream);
        Frame {
            kind,
            flags,
            stream,
            content,
        }
    }

    /// Waits until the server has reacted to everything that was sent; returns the other frames
    /// that came meanwhile.
    pub(super) async fn settle(&mut self) -> Vec<Frame> {
        let mut others = Vec::new();
        for _ in 0..4 {
            self.send(PING, 0, 0, &[7; 8]).await.unwrap();
            loop {
                let frame = self.receive().await;
                if (frame.kind, frame.flags) == (PING, ACK) {
                    break;
                }
                others.push(frame);
            }
        }
        others
    }
}
