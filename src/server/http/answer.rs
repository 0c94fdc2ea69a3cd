//! The body of a response over HTTP: all of it at once, or in pieces as they are made.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{pieces::Pieces, v1::UnderWay};

/// The response ends before it is complete: the connection is closed, so that the client notices.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer has ended before it was complete")]
pub(super) struct Broken;

pub(super) struct Answer {
    made: Made,
    /// The call that the response belongs to, if it belongs to one.
    _call: Option<Arc<UnderWay>>,
}

enum Made {
    Whole(Pieces),
    Following(mpsc::Receiver<Result<Bytes, Broken>>),
}

impl From<Pieces> for Answer {
    fn from(pieces: Pieces) -> Self {
        Self {
            made: Made::Whole(pieces),
            _call: None,
        }
    }
}

impl Answer {
    /// A body whose pieces are made while it is sent.
    pub(super) fn following(
        pieces: mpsc::Receiver<Result<Bytes, Broken>>,
        call: Arc<UnderWay>,
    ) -> Self {
        Self {
            made: Made::Following(pieces),
            _call: Some(call),
        }
    }

    /// This body, which keeps its call open until it is sent.
    pub(super) fn of(self, call: Arc<UnderWay>) -> Self {
        Self {
            _call: Some(call),
            ..self
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.made {
            Made::Whole(pieces) => {
                let frame = Pin::new(pieces).poll_frame(cx);
                frame.map_err(|never| match never {})
            }
            Made::Following(pieces) => {
                let piece = pieces.poll_recv(cx);
                piece.map(|piece| Some(piece?.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.made {
            Made::Whole(pieces) => pieces.is_end_stream(),
            Made::Following(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.made {
            Made::Whole(pieces) => pieces.size_hint(),
            Made::Following(_) => SizeHint::default(),
        }
    }
}
