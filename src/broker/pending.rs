//! Answers that come when something is durable.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::Error;

/// The answer to a request that has been queued. Resolves when the request is durable and applied,
/// or with [`Error::OutcomeUnknown`] if storage failed before.
pub(crate) struct Pending<T> {
    answer: oneshot::Receiver<Result<T, Error>>,
    /// Makes the answer of it, on the thread that waits for it. Reads files.
    then: Option<Then<T>>,
    is_unsettled: bool,
}

/// What an answer is made of, once it is known.
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

/// The other end of a [`Pending`]. Dropped without an answer, it leaves the outcome unknown.
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
        // A caller that has gone away does not want to know.
        drop(self.0.send(answer));
    }
}

impl<T> Pending<T> {
    /// Lets `then` make something else of the answer.
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

    /// The same, of a request that is refused already: only the answer waits, for what it tells to
    /// be durable.
    pub(super) fn refused(self) -> Self {
        Self {
            is_unsettled: true,
            ..self
        }
    }

    /// Polls for what the answer is made of.
    pub(crate) fn poll_unmade(&mut self, context: &mut Context<'_>) -> Poll<Unmade<T>> {
        let answer =
            ready!(Pin::new(&mut self.answer).poll(context)).unwrap_or(Err(Error::OutcomeUnknown));
        Poll::Ready(Unmade {
            answer,
            then: self.then.take(),
        })
    }

    /// Whether the answer may be a refusal although storage works: nothing that depends on the
    /// request should be taken before that is known.
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
