//! A response body that is sent in pieces, so that its memory stays counted until the client has
//! taken nearly all of it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{budget::Held, server::limits::JOINED_BYTES};

#[derive(Debug)]
pub(super) struct Pieces {
    left: Bytes,
    _held: Option<Held>,
}

impl Pieces {
    /// A short text, whose memory is not counted.
    pub(super) fn uncounted(text: String) -> Self {
        Self {
            left: text.into(),
            _held: None,
        }
    }

    /// A text of any length, with its counted memory.
    pub(super) fn counted(text: String, held: Held) -> Self {
        Self {
            left: text.into(),
            _held: Some(held),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(JOINED_BYTES);
        // The piece is copied, because a slice would keep the whole text in memory for as long as
        // the connection holds it.
        let piece = Bytes::copy_from_slice(&self.left.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
