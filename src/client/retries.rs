//! Decides after each failure whether there is another try: pauses that double and differ from each
//! other, and a budget of time that recovers.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Error,
    producer::retry::{Backoff, Verdict, verdict},
};

#[derive(Debug)]
pub(super) struct Retries {
    /// For how long there may be nothing but failures.
    retry_for: Duration,
    backoff: Backoff,
    /// When the present failures began; `None` without one. The time since the last success does
    /// not count, because a program may take long over what it received.
    first_failure: Option<Instant>,
}

impl Retries {
    pub(super) fn new(retry_for: Duration) -> Self {
        Self {
            retry_for,
            backoff: Backoff::new(),
            first_failure: None,
        }
    }

    /// Notes a success: the whole time for failures is available again.
    pub(super) fn progress(&mut self) {
        self.backoff.reset();
        self.first_failure = None;
    }

    /// How long to wait before the next try; `None` if there is none, or not in time.
    pub(super) fn pause(&mut self, error: &Error, now: Instant) -> Option<Duration> {
        let Verdict::SendAgain(asked) = verdict(error) else {
            return None;
        };
        let first = *self.first_failure.get_or_insert(now);
        if now - first + asked.unwrap_or_default() >= self.retry_for {
            // The next call has the whole time again.
            self.progress();
            return None;
        }
        Some(self.backoff.next(asked))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client's time is that of its pauses"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
