//! Traces: what calls and appends took, and of what that consists, for a collector of
//! OpenTelemetry.
//!
//! A caller that traces a call says so in its header `traceparent`, and the broker does as the
//! caller does: a trace has no hole where the caller records it, and no part where it does not. Of
//! calls without the header a share begins traces of its own. A stream of appends goes on for as
//! long as its client: a share of its appends have spans of their own, below that of the stream if
//! it has one.
//!
//! Nothing waits here, and nothing is kept of a call that is not traced. What has ended goes into a
//! queue; what finds it full is lost, and counted. Who takes it from there is no matter of the
//! server's: nothing of OpenTelemetry is in it.
//!
//! Reading order: this page; `context.rs`, what callers say; `call.rs`, one call.

mod call;
mod context;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderMap;
use tokio::sync::mpsc;

pub(crate) use self::call::{Ended, Parent, Part, Period};
pub(super) use self::call::{Followed, OpenCall, Tracing};
use self::context::Context;
use crate::{
    budget::{Budget, Held, Name},
    env::{Clock, Random},
    metrics::Counter,
};

/// How many calls and appends wait to be sent at most.
const MOST_WAITING: usize = 2_048;

/// How many are sent at a time at most.
pub(crate) const SENT_TOGETHER: usize = 128;

/// More memory than what waits and what is sent takes: 2 KiB each, and 16 KiB while it is sent.
const BYTES: usize = (MOST_WAITING << 11) + (SENT_TOGETHER << 14);

/// How much of a name is kept: all of one that is valid.
const NAME_BYTES: usize = 255;

/// How far the wall clock may be from what it was before, until it has jumped: it is told in
/// milliseconds.
const JUMP_NS: i64 = 2_000_000;

/// A share, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u32);

impl Share {
    pub(crate) const ALL: Self = Self(1_000_000);
}

/// Traces of calls. Clones are the same.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The share of calls that begin traces.
    share: Share,
    /// How much the time since 1970 is ahead of the clock's, in nanoseconds; 0 before the first.
    ahead_ns: AtomicI64,
    ended: mpsc::Sender<Ended>,
    sent: Counter,
    lost: Counter,
}

/// The identity of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    trace: u128,
    span: u64,
    parent: Option<Parent>,
}

impl Traces {
    /// Traces, and the end at which what has ended is taken out.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        share: Share,
    ) -> (Self, mpsc::Receiver<Ended>) {
        let (ended, taken) = mpsc::channel(MOST_WAITING);
        let shared = Shared {
            clock,
            random,
            share,
            ahead_ns: AtomicI64::default(),
            ended,
            sent: Counter::default(),
            lost: Counter::default(),
        };
        (Self(Arc::new(shared)), taken)
    }

    /// What a call brings with it that has these headers.
    pub(super) fn begin(&self, headers: &HeaderMap, path: &str) -> Tracing {
        let context = Context::of(headers);
        let ids = match context {
            Some(context) if context.is_sampled => Some(self.below(
                context.trace,
                Parent {
                    span: context.span,
                    is_remote: true,
                },
            )),
            Some(_) => None,
            None => self.is_sampled().then(|| self.root()),
        };
        let name = path.trim_start_matches('/');
        Tracing {
            call: ids.map(|ids| Followed::begin(self, ids, name)),
            may_sample: context.is_none_or(|context| context.is_sampled),
            traces: self.clone(),
        }
    }

    /// So many have been sent.
    pub(crate) fn note_sent(&self, count: u64) {
        self.0.sent.add(count);
    }

    /// So many were not taken.
    pub(crate) fn note_lost(&self, count: u64) {
        self.0.lost.add(count);
    }

    /// How many calls and appends were sent, and how many were lost.
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.0.sent.get(), self.0.lost.get()]
    }

    /// Counts what they take at most.
    pub(super) fn count(&self, budget: &Budget) -> Held {
        budget.part(Name::Calls).holder().count(BYTES)
    }

    fn is_sampled(&self) -> bool {
        let all = u64::from(Share::ALL.0);
        self.0.random.next_u64() % all < u64::from(self.0.share.0)
    }

    fn root(&self) -> Ids {
        let [high, low] = [self.id(), self.id()];
        Ids {
            trace: (u128::from(high) << 64) | u128::from(low),
            span: self.id(),
            parent: None,
        }
    }

    fn below(&self, trace: u128, parent: Parent) -> Ids {
        Ids {
            trace,
            span: self.id(),
            parent: Some(parent),
        }
    }

    /// An id, which is not 0.
    fn id(&self) -> u64 {
        self.0.random.next_u64().max(1)
    }

    fn now(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// A moment of the clock, in nanoseconds since 1970.
    ///
    /// The wall clock is told in milliseconds, of which the last has begun at some moment before:
    /// the more often it is looked at, the closer is the most that it was ever ahead to what it is.
    fn since_1970(&self, moment: Duration) -> u64 {
        let now_ns = i64::try_from(self.now().as_nanos()).unwrap_or(i64::MAX);
        let wall_ns = self.0.clock.now_ms().saturating_mul(1_000_000);
        let ahead_ns = wall_ns.saturating_sub(now_ns);
        let known = self.0.ahead_ns.load(Relaxed);
        let ahead_ns = match known.saturating_sub(ahead_ns) {
            0..JUMP_NS => known,
            _ => {
                self.0.ahead_ns.store(ahead_ns, Relaxed);
                ahead_ns
            }
        };
        let moment_ns = i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX);
        u64::try_from(ahead_ns.saturating_add(moment_ns)).unwrap_or_default()
    }

    fn period(&self, begun: Duration, ended: Duration) -> Period {
        let start_ns = self.since_1970(begun);
        let took = ended.saturating_sub(begun).as_nanos();
        Period {
            start_ns,
            end_ns: start_ns.saturating_add(u64::try_from(took).unwrap_or_default()),
        }
    }

    fn end(&self, ended: Ended) {
        if self.0.ended.try_send(ended).is_err() {
            self.0.lost.add(1);
        }
    }
}

/// The beginning of a name, which a client may have chosen.
fn shortened(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}
