//! Decides whether to try again when a stream of appends has ended, and when.

use std::{
    hash::{BuildHasher, RandomState},
    pin::Pin,
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::client::Error;

/// What an error means for a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Verdict {
    /// Send unanswered requests again, after this time if the broker said one.
    SendAgain(Option<Duration>),
    /// The broker does not know the producer any more.
    Forgotten,
    /// Trying again would not help.
    End,
}

pub(in crate::client) fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Unavailable { .. } | Error::OutcomeUnknown { .. } | Error::StreamEnded { .. } => {
            Verdict::SendAgain(None)
        }
        Error::Refused(refusal) => match &*refusal.reason {
            "OVERLOADED" | "DISK_FULL" | "PARTITION_FULL" | "RETENTION_HELD" => {
                Verdict::SendAgain(refusal.retry_after)
            }
            "UNKNOWN_PRODUCER" => Verdict::Forgotten,
            // It says when it will have passed, as a quota does.
            _ if refusal.retry_after.is_some() => Verdict::SendAgain(refusal.retry_after),
            _ => Verdict::End,
        },
        _ => Verdict::End,
    }
}

/// Pauses that double, to spare a broker in trouble, and that are random, so that its producers do
/// not all come back at once.
#[derive(Debug)]
pub(in crate::client) struct Backoff {
    longest: Duration,
}

/// The first pause is between half of this and this.
const FIRST: Duration = Duration::from_millis(20);

/// The longest pauses are between half of this and this.
const LAST: Duration = Duration::from_secs(5);

impl Backoff {
    pub(in crate::client) fn new() -> Self {
        Self { longest: FIRST }
    }

    /// The next pause, not shorter than the broker asked for.
    pub(in crate::client) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let (longest, half) = (self.longest, self.longest / 2);
        self.longest = (longest * 2).min(LAST);
        // Two hashers have different random seeds, which is random enough here.
        let chance = RandomState::new().hash_one(longest).to_be_bytes()[0];
        let pause = half + half * u32::from(chance) / u32::from(u8::MAX);
        pause.max(asked.unwrap_or_default())
    }

    /// Starts again with short pauses after something has worked.
    pub(in crate::client) fn reset(&mut self) {
        self.longest = FIRST;
    }
}

/// Watches for how long nothing was answered while requests were under way.
#[derive(Debug)]
pub(super) struct Patience {
    /// Fires when the stream should be given up.
    pub(super) stream: Pin<Box<Sleep>>,
    stream_time: Duration,
    /// Fires when the producer should give up.
    pub(super) all: Pin<Box<Sleep>>,
    all_time: Duration,
}

impl Patience {
    pub(super) fn new(stream_time: Duration, all_time: Duration) -> Self {
        Self {
            stream: Box::pin(sleep(stream_time)),
            stream_time,
            all: Box::pin(sleep(all_time)),
            all_time,
        }
    }

    /// Starts both times anew: something was answered, or nothing was under way.
    pub(super) fn restart(&mut self) {
        self.restart_stream();
        self.all.set(sleep(self.all_time));
    }

    /// Starts the stream's time anew, for another stream.
    pub(super) fn restart_stream(&mut self) {
        self.stream.set(sleep(self.stream_time));
    }
}
