//! How long a request that was refused for lack of memory waits for its answer.
//!
//! To refuse a request takes little, but a client that sends each refused request again at once is
//! refused as often as processors can do it, and everybody else waits for these. So on a connection
//! of which many more requests are refused than taken, each refusal is answered later. That takes
//! no more than an open call does, and one that does as its refusals say notices little of it.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// So many refusals more than are made up for are answered at once.
const AT_ONCE: u32 = 32;

/// After so many further ones, the time doubles.
const DOUBLES_AFTER: u32 = 16;

/// How often it doubles.
const MOST_DOUBLINGS: u32 = 5;

/// How many refusals a request makes up for that is taken.
const TAKEN: u32 = 4;

/// The shortest time, which becomes 0.64 s.
const SHORTEST: Duration = Duration::from_millis(20);

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// How many were refused that those which were taken do not make up for.
    excess: AtomicU32,
}

impl Refusals {
    /// Notes that a request was refused.
    pub(super) fn refused(&self) {
        let most = AT_ONCE + (MOST_DOUBLINGS + 1) * DOUBLES_AFTER;
        let more = |excess: u32| (excess < most).then_some(excess + 1);
        // It may be as much as it gets already.
        self.excess.fetch_update(Relaxed, Relaxed, more).ok();
    }

    /// Notes that a request was taken.
    pub(super) fn taken(&self) {
        if self.excess.load(Relaxed) > 0 {
            let less = |excess: u32| Some(excess.saturating_sub(TAKEN));
            self.excess.fetch_update(Relaxed, Relaxed, less).ok();
        }
    }

    /// How long the next refusal waits to be answered; `None` for not at all.
    pub(super) fn wait(&self) -> Option<Duration> {
        let late = self.excess.load(Relaxed).checked_sub(AT_ONCE + 1)?;
        let doublings = (late / DOUBLES_AFTER).min(MOST_DOUBLINGS);
        Some(SHORTEST * (1 << doublings))
    }
}
