//! Checks the lengths of frames that a client announces, as their bytes pass.
//!
//! HTTP/2 lets frames be as large as the server allows, and h2 reserves room for one as soon as its
//! header has come. The content of a data frame is part of the client's window, if the client obeys
//! it. A client that announces more than it was ever granted is cut off.

use std::io;

use crate::server::limits::MAX_OTHER_FRAME_BYTES;

/// The length of what a client sends before its first frame.
const PREFACE_BYTES: usize = 24;

const HEADER_BYTES: usize = 9;

/// The type of a frame that counts against windows.
const DATA: u8 = 0;

/// A position between the headers of two frames.
#[derive(Debug)]
pub(in crate::server) struct Frames {
    /// The bytes of the next frame's header that have come.
    header: [u8; HEADER_BYTES],
    has: usize,
    /// The bytes to come before that header.
    left: usize,
}

impl Frames {
    /// The position at the beginning of a connection.
    pub(in crate::server) fn new() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            has: 0,
            left: PREFACE_BYTES,
        }
    }

    /// How many bytes must still come before the next frame's header.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Follows bytes from a client that was granted a window of `granted` bytes. Returns how many
    /// frames begin in them.
    pub(in crate::server) fn pass(
        &mut self,
        mut bytes: &[u8],
        granted: usize,
    ) -> io::Result<usize> {
        let mut begun = 0;
        loop {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = &bytes[passed..];
            if bytes.is_empty() {
                return Ok(begun);
            }
            let more = (HEADER_BYTES - self.has).min(bytes.len());
            self.header[self.has..self.has + more].copy_from_slice(&bytes[..more]);
            self.has += more;
            bytes = &bytes[more..];
            if self.has == HEADER_BYTES {
                self.has = 0;
                self.left = self.announced(granted)?;
                begun += 1;
            }
        }
    }

    /// The length of the frame whose header has come.
    fn announced(&self, granted: usize) -> io::Result<usize> {
        let [high, middle, low, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let most = match kind {
            DATA => granted,
            _ => MAX_OTHER_FRAME_BYTES,
        };
        if length > most {
            let reason = format!("a frame of type {kind} has {length} bytes, of {most} at most");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(length)
    }
}
