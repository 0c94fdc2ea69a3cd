//! Responses whose frames a test makes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use tonic::{Status, body::Body};

/// The next frame of a response.
pub(super) type Next = Poll<Option<Result<Frame<Bytes>, Status>>>;

struct Made<F>(F);

impl<F: FnMut() -> Next + Unpin> http_body::Body for Made<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Next {
        (self.0)()
    }
}

/// A response whose next frame this function makes.
pub(super) fn made_of(next: impl FnMut() -> Next + Send + Unpin + 'static) -> Body {
    Body::new(Made(next))
}

/// A response that repeats the same message for ever.
pub(super) fn repeating(message: Bytes) -> Body {
    made_of(move || Poll::Ready(Some(Ok(Frame::data(message.clone())))))
}
