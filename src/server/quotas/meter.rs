//! What one principal uses.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Limits, Quota, rate::Rate};

/// How long something waits at most until it is allowed. What would have to wait for longer is
/// refused at once.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// When to try again where places are taken.
const PLACES_RETRY: Duration = Duration::from_secs(1);

/// What a principal uses, and may use.
#[derive(Debug, Default)]
pub(in crate::server) struct Meter {
    used: Mutex<Used>,
    connections: AtomicU64,
    streams: AtomicU64,
    creating: AtomicU64,
}

#[derive(Debug, Default)]
struct Used {
    limits: Limits,
    /// By the quotas that are rates.
    rates: [Rate; Quota::ALL.len()],
}

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Exceeded {
    pub(in crate::server) quota: Quota,
    pub(in crate::server) limit: NonZeroU64,
    /// When to try again, where time alone changes something.
    pub(in crate::server) retry_after: Option<Duration>,
}

impl Meter {
    pub(super) fn bound_by(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Uses so much of a rate. Returns how long to wait before; nothing is used if that is too
    /// long.
    pub(in crate::server) fn admit(
        &self,
        quota: Quota,
        amount: u64,
        now: Duration,
    ) -> Result<Duration, Exceeded> {
        let mut used = self.lock();
        let Some(limit) = used.limits.get(quota) else {
            return Ok(Duration::ZERO);
        };
        let rate = &mut used.rates[quota as usize];
        let wait = rate.wait(now);
        if wait > MOST_WAIT {
            return Err(Exceeded {
                quota,
                limit,
                retry_after: Some(wait),
            });
        }
        rate.use_up(amount, limit, now);
        Ok(wait)
    }

    /// Uses so much of a rate that was not known before.
    pub(in crate::server) fn note(&self, quota: Quota, amount: u64, now: Duration) {
        let mut used = self.lock();
        if let Some(limit) = used.limits.get(quota) {
            used.rates[quota as usize].use_up(amount, limit, now);
        }
    }

    /// How long to wait before more of a rate is used.
    pub(in crate::server) fn wait(&self, quota: Quota, now: Duration) -> Duration {
        let used = self.lock();
        match used.limits.get(quota) {
            Some(_) => used.rates[quota as usize].wait(now),
            None => Duration::ZERO,
        }
    }

    /// Whether topics may be more than these.
    pub(in crate::server) fn topic_limit(&self) -> Option<NonZeroU64> {
        self.lock().limits.get(Quota::Topics)
    }

    /// Creates one more topic, if there are less than may be.
    pub(in crate::server) fn create(
        self: &Arc<Self>,
        limit: NonZeroU64,
        existing: u64,
    ) -> Result<Creating, Exceeded> {
        let creating = self.creating.fetch_add(1, Relaxed);
        let place = Creating(Arc::clone(self));
        match existing + creating < limit.get() {
            true => Ok(place),
            false => Err(Exceeded {
                quota: Quota::Topics,
                limit,
                retry_after: None,
            }),
        }
    }

    /// One more stream.
    pub(in crate::server) fn stream(self: &Arc<Self>) -> Result<StreamPlace, Exceeded> {
        let open = self.streams.fetch_add(1, Relaxed);
        let place = StreamPlace(Arc::clone(self));
        self.place(Quota::Streams, open).map(|()| place)
    }

    /// One more connection.
    pub(in crate::server) fn connection(self: &Arc<Self>) -> Result<ConnectionPlace, Exceeded> {
        let open = self.connections.fetch_add(1, Relaxed);
        let place = ConnectionPlace(Arc::clone(self));
        self.place(Quota::Connections, open).map(|()| place)
    }

    /// Whether there is a place beside so many that are taken.
    fn place(&self, quota: Quota, taken: u64) -> Result<(), Exceeded> {
        match self.lock().limits.get(quota) {
            Some(limit) if taken >= limit.get() => Err(Exceeded {
                quota,
                limit,
                retry_after: Some(PLACES_RETRY),
            }),
            _ => Ok(()),
        }
    }

    /// Whether nothing that it has counted matters any more.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.lock().rates.iter().all(|rate| rate.is_full(now))
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(in crate::server) struct StreamPlace(Arc<Meter>);

/// A connection that is open.
#[derive(Debug)]
pub(in crate::server) struct ConnectionPlace(Arc<Meter>);

/// A topic that is being created.
#[derive(Debug)]
pub(in crate::server) struct Creating(Arc<Meter>);

impl ConnectionPlace {
    /// Whether it is one of this principal's.
    pub(in crate::server) fn is_of(&self, meter: &Arc<Meter>) -> bool {
        Arc::ptr_eq(&self.0, meter)
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Drop for Creating {
    fn drop(&mut self) {
        self.0.creating.fetch_sub(1, Relaxed);
    }
}
