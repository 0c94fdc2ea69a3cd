//! The number of connections or calls there are, and the highest number so far.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::debug;

use super::traces::OpenCall;
use crate::{env::Clock, metrics::Counter};

#[derive(Debug, Default)]
pub(super) struct Tally {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Counts one until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    tally: Arc<Tally>,
    /// Of a call, what to log at its end; `None` if calls are not logged.
    pub(super) logged: Option<Box<LoggedCall>>,
    /// Of a call: its span, if it is traced.
    pub(super) traced: Option<OpenCall>,
}

impl Counted {
    /// Of a call: it is answered with this; of a stream, it begins with it.
    pub(super) fn answered(&mut self, code: Code) {
        if let Some(logged) = &mut self.logged {
            logged.code = Some(code);
        }
        if let Some(traced) = &mut self.traced {
            traced.answered(code);
        }
    }
}

/// A call that is logged at its end, with its status and its duration.
pub(super) struct LoggedCall {
    path: String,
    address: String,
    clock: Arc<dyn Clock>,
    started: Duration,
    /// The status code; `None` until it is answered.
    code: Option<Code>,
}

/// The numbers that the server counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    pub(super) connections: Arc<Tally>,
    pub(super) administrators: Arc<Tally>,
    pub(super) calls: Arc<Tally>,
    pub(super) answers: Arc<AnswersByCode>,
}

/// How many calls were answered with each gRPC code; of streams, the code that they began with
/// counts. Errors are also counted by reason (`google.rpc.ErrorInfo`).
#[derive(Debug, Default)]
pub(super) struct AnswersByCode {
    codes: [Counter; CODES.len()],
    reasons: Mutex<BTreeMap<String, u64>>,
}

/// More than there are reasons.
const MOST_REASONS: usize = 256;

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

/// The name of a code, as gRPC has it.
pub(super) fn name_of(code: Code) -> Option<&'static str> {
    CODES.get(code as usize).copied()
}

impl AnswersByCode {
    /// Counts a call with this code.
    pub(super) fn count(&self, code: Code) {
        if let Some(count) = self.codes.get(code as usize) {
            count.add(1);
        }
    }

    /// All codes, and the number of calls with each.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.into_iter().zip(self.codes.iter().map(Counter::get))
    }

    /// Counts the reason of this error.
    pub(super) fn refused(&self, status: &Status) {
        let Some(info) = status.get_details_error_info() else {
            return;
        };
        let mut reasons = self.reasons();
        if reasons.len() < MOST_REASONS || reasons.contains_key(&info.reason) {
            *reasons.entry(info.reason).or_default() += 1;
        }
    }

    /// All reasons that occurred, and how often.
    pub(super) fn reasons(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Counts one until the returned value is dropped.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        Counted {
            tally: Arc::clone(self),
            logged: None,
            traced: None,
        }
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }
}

impl LoggedCall {
    pub(super) fn begin(path: &str, address: String, clock: Arc<dyn Clock>) -> Box<Self> {
        Box::new(Self {
            path: path.to_owned(),
            address,
            started: clock.elapsed(),
            clock,
            code: None,
        })
    }
}

impl fmt::Debug for LoggedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoggedCall")
    }
}

impl Drop for LoggedCall {
    fn drop(&mut self) {
        let Self {
            path,
            address,
            clock,
            started,
            code,
        } = self;
        let code = code.and_then(name_of);
        let took = clock.elapsed().saturating_sub(*started);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let code = code.unwrap_or("none: it was given up before it was answered");
        debug!(%path, %address, code, microseconds, "a call has ended");
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tally.now.fetch_sub(1, Relaxed);
    }
}
