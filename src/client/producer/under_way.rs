//! The requests that are closed and not answered, in order.
//!
//! A request is in doubt once its outcome is unknown. From then on it may be stored, whatever is
//! learnt later, until it is answered itself.

use std::{collections::VecDeque, future::poll_fn, pin::Pin};

use super::{Done, filling::Filling, request::Request};
use crate::{
    client::{Appended, Appender, Error},
    proto,
};

/// A queue of requests.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    requests: VecDeque<Request>,
    /// How many requests were answered so far.
    answered: u64,
    /// Flushes, each with the number of answers that it waits for.
    flushes: Vec<(u64, Done)>,
}

impl UnderWay {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn is_any_in_doubt(&self) -> bool {
        self.requests.iter().any(|request| request.in_doubt)
    }

    pub(super) fn push(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Sends all requests that were not sent on this stream yet; fails if the stream has ended.
    pub(super) async fn send(
        &mut self,
        appender: &Appender,
        producer: proto::Producer,
        return_versions: bool,
    ) -> Result<(), Error> {
        for request in self
            .requests
            .iter_mut()
            .filter(|request| request.handle.is_none())
        {
            let append = request.append(producer);
            let append = if return_versions {
                append.return_versions()
            } else {
                append
            };
            request.handle = Some(appender.append(append).await?);
        }
        Ok(())
    }

    /// Waits for the answer to the first request. It may be dropped and called again.
    pub(super) async fn first_answer(&mut self) -> Result<Appended, Error> {
        let first = self
            .requests
            .front_mut()
            .and_then(|first| first.handle.as_mut());
        let answer = first.expect("what is under way has been sent");
        poll_fn(|context| Pin::new(&mut *answer).poll(context)).await
    }

    /// Notes that the first request is stored.
    pub(super) fn answered(&mut self, appended: &Appended) {
        if let Some(request) = self.requests.pop_front() {
            request.answer(appended);
        }
        self.answered += 1;
        self.tell_flushed();
    }

    /// Finds out why a stream has ended: by the first answer that is a failure, or else by the
    /// stream's own error. Handles all answers before that.
    pub(super) async fn why_it_ended(&mut self, appender: Appender) -> Error {
        while self
            .requests
            .front()
            .is_some_and(|first| first.handle.is_some())
        {
            match self.first_answer().await {
                Ok(appended) => self.answered(&appended),
                Err(error) => {
                    self.failed(&error).await;
                    return error;
                }
            }
        }
        let ended = appender.finish().await.err();
        ended.unwrap_or_else(|| Error::Unavailable {
            message: "the broker ended the stream".to_owned(),
        })
    }

    /// Handles a failure as the answer to the first request, which ended the stream: finds out
    /// which requests may have been stored.
    pub(super) async fn failed(&mut self, first: &Error) {
        for (at, request) in self.requests.iter_mut().enumerate() {
            let Some(handle) = request.handle.take() else {
                continue;
            };
            // The first request's handle has returned its answer already.
            let error = if at == 0 {
                Some(first.clone())
            } else {
                handle.await.err()
            };
            request.in_doubt |= matches!(error, Some(Error::OutcomeUnknown { .. }));
        }
    }

    /// Gives up a stream that does not answer.
    pub(super) fn abandon(&mut self, appender: Appender) -> Error {
        appender.abandon();
        for request in &mut self.requests {
            request.in_doubt |= request.handle.take().is_some();
        }
        Error::OutcomeUnknown {
            message: "the broker did not answer in time".to_owned(),
        }
    }

    /// Numbers all requests anew, for another producer.
    pub(super) fn renumber(&mut self, filling: &mut Filling) {
        filling.restart(&mut self.requests);
    }

    /// Answers `done` when all requests here are answered, and if `filling`, the next one too.
    pub(super) fn flush(&mut self, filling: bool, done: Done) {
        let last = self.answered + self.requests.len() as u64 + u64::from(filling);
        self.flushes.push((last, done));
        self.tell_flushed();
    }

    fn tell_flushed(&mut self) {
        let answered = self.answered;
        for (_, done) in self.flushes.extract_if(.., |(last, _)| *last <= answered) {
            drop(done.send(Ok(())));
        }
    }

    /// Gives up for now. Tells all waiting senders, as [`fail`](Self::fail) does, and whoever waits
    /// for everything `why`. Keeps the requests up to the last that is in doubt: their numbers may
    /// be taken. Returns all others.
    pub(super) fn give_up(&mut self, error: &Error, later: &Error, why: &Error) -> Vec<Request> {
        let last = self.requests.iter().rposition(|request| request.in_doubt);
        let kept = last.map_or(0, |last| last + 1);
        let mut forgotten: Vec<Request> = self.requests.drain(kept..).collect();
        let unknown = unknown(error);
        for request in &mut self.requests {
            request.handle = None;
            request.in_doubt = true;
            request.tell(&unknown);
        }
        for (at, request) in forgotten.iter_mut().enumerate() {
            request.tell(if at == 0 { error } else { later });
        }
        for (_, done) in self.flushes.drain(..) {
            drop(done.send(Err(why.clone())));
        }
        forgotten
    }

    /// Tells all waiting senders how the producer ended. `error` is for the first request that is
    /// not in doubt, `later` for those behind it.
    pub(super) fn fail(self, error: &Error, later: &Error) {
        let unknown = unknown(error);
        let mut first = Some(error);
        for mut request in self.requests {
            if request.in_doubt {
                request.tell(&unknown);
            } else {
                request.tell(first.take().unwrap_or(later));
            }
        }
        for (_, done) in self.flushes {
            drop(done.send(Err(error.clone())));
        }
    }
}

/// The error of a record that may be stored.
fn unknown(then: &Error) -> Error {
    Error::OutcomeUnknown {
        message: format!("it was sent and not answered; then: {then}"),
    }
}
