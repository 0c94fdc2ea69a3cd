//! Answers that come when a request is durable.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::Error;

/// The answer to a queued request. Resolves when the request is durable and applied, or with
/// [`Error::OutcomeUnknown`] if storage failed before.
pub(crate) struct Pending<T> {
    answer: oneshot::Receiver<Result<T, Error>>,
    /// Makes the final answer, on the thread that waits for it. May read files.
    then: Option<Then<T>>,
    is_unsettled: bool,
}

/// The result of a request, from which the final answer is still to be made.
pub(crate) struct Unmade<T> {
    answer: Result<T, Error>,
    then: Option<Then<T>>,
}

impl<T> Unmade<T> {
    /// Whether making the answer reads files.
    pub(crate) fn reads_files(&self) -> bool {
        self.then.is_some()
    }

    pub(crate) fn make(self) -> Result<T, Error> {
        match self.then {
            Some(then) => then(self.answer),
            None => self.answer,
        }
    }
}

type Then<T> = Box<dyn FnOnce(Result<T, Error>) -> Result<T, Error> + Send>;

/// The other end of a [`Pending`]. If it is dropped without an answer, the outcome is unknown.
pub(super) struct Answer<T>(oneshot::Sender<Result<T, Error>>);

pub(super) fn pending<T>() -> (Answer<T>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    (
        Answer(sender),
        Pending {
            answer: receiver,
            then: None,
            is_unsettled: false,
        },
    )
}

impl<T> Answer<T> {
    pub(super) fn give(self, answer: Result<T, Error>) {
        // The caller may have gone away.
        drop(self.0.send(answer));
    }
}

impl<T> Pending<T> {
    /// Makes the final answer with `then`.
    pub(super) fn then(
        self,
        then: impl FnOnce(Result<T, Error>) -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Self {
            then: Some(Box::new(then)),
            is_unsettled: true,
            ..self
        }
    }

    /// Marks a request that is refused already: only its answer waits until what it tells is
    /// durable.
    pub(super) fn refused(self) -> Self {
        Self {
            is_unsettled: true,
            ..self
        }
    }

    /// Polls for the result without making the final answer.
    pub(crate) fn poll_unmade(&mut self, context: &mut Context<'_>) -> Poll<Unmade<T>> {
        let answer =
            ready!(Pin::new(&mut self.answer).poll(context)).unwrap_or(Err(Error::OutcomeUnknown));
        Poll::Ready(Unmade {
            answer,
            then: self.then.take(),
        })
    }

    /// Whether the request may still be refused although storage works. Until that is known, no
    /// request that depends on it should be accepted.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_unmade(context).map(Unmade::make)
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
