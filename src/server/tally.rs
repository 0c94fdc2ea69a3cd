//! The number of connections or calls there are, and the highest number so far.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tonic::Code;

use crate::metrics::Counter;

#[derive(Debug, Default)]
pub(super) struct Tally {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Counts one until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Tally>);

/// The numbers that the server counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    pub(super) connections: Arc<Tally>,
    pub(super) administrators: Arc<Tally>,
    pub(super) calls: Arc<Tally>,
    pub(super) answers: Arc<AnswersByCode>,
}

/// How many calls were answered with each code of gRPC; of a stream it is the one that it began
/// with.
#[derive(Debug, Default)]
pub(super) struct AnswersByCode([Counter; CODES.len()]);

/// The codes of gRPC, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl AnswersByCode {
    /// Counts a call with this code.
    pub(super) fn count(&self, code: Code) {
        if let Some(count) = self.0.get(code as usize) {
            count.add(1);
        }
    }

    /// Every code, and how many calls had it.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

impl Tallies {
    pub(super) fn new() -> Self {
        Self {
            connections: Arc::default(),
            administrators: Arc::default(),
            calls: Arc::default(),
            answers: Arc::default(),
        }
    }
}

impl Tally {
    /// Counts one more, until the result is dropped.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        Counted(Arc::clone(self))
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}
