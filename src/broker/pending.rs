//! Answers that come when something is durable.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::Error;

/// The answer to a request that has been queued. Resolves when the request is durable and applied, or with
/// [`Error::OutcomeUnknown`] if storage failed before.
#[derive(Debug)]
pub(crate) struct Pending<T>(oneshot::Receiver<Result<T, Error>>);

/// The other end of a [`Pending`]. Dropped without an answer, it leaves the outcome unknown.
pub(super) struct Answer<T>(oneshot::Sender<Result<T, Error>>);

pub(super) fn pending<T>() -> (Answer<T>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    (Answer(sender), Pending(receiver))
}

impl<T> Answer<T> {
    pub(super) fn give(self, answer: Result<T, Error>) {
        // A caller that has gone away does not want to know.
        drop(self.0.send(answer));
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::OutcomeUnknown)))
    }
}
