//! Counts what one principal uses.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Limits, Quota, rate::Rate};

/// The longest wait for a rate. A call that would have to wait longer is refused at once.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// When to try again if all places are taken.
const PLACES_RETRY: Duration = Duration::from_secs(1);

/// What a principal uses, and its quotas.
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
    /// The use of each quota that is a rate.
    rates: [Rate; Quota::ALL.len()],
}

/// The quota that a call would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Exceeded {
    pub(in crate::server) quota: Quota,
    pub(in crate::server) limit: NonZeroU64,
    /// When to try again, if waiting helps.
    pub(in crate::server) retry_after: Option<Duration>,
}

impl Meter {
    pub(super) fn bound_by(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Takes an amount of a rate, and returns how long the caller must wait before it uses it.
    /// Takes nothing and fails if that is too long.
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

    /// Takes an amount of a rate that only became known when it was used.
    pub(in crate::server) fn note(&self, quota: Quota, amount: u64, now: Duration) {
        let mut used = self.lock();
        if let Some(limit) = used.limits.get(quota) {
            used.rates[quota as usize].use_up(amount, limit, now);
        }
    }

    /// How long until a rate may be used again.
    pub(in crate::server) fn wait(&self, quota: Quota, now: Duration) -> Duration {
        let used = self.lock();
        match used.limits.get(quota) {
            Some(_) => used.rates[quota as usize].wait(now),
            None => Duration::ZERO,
        }
    }

    /// How many topics the principal may create, if that is limited.
    pub(in crate::server) fn topic_limit(&self) -> Option<NonZeroU64> {
        self.lock().limits.get(Quota::Topics)
    }

    /// Counts a topic that is about to be created, if one more is allowed.
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

    /// Takes a place for a stream.
    pub(in crate::server) fn stream(self: &Arc<Self>) -> Result<StreamPlace, Exceeded> {
        let open = self.streams.fetch_add(1, Relaxed);
        let place = StreamPlace(Arc::clone(self));
        self.place(Quota::Streams, open).map(|()| place)
    }

    /// Takes a place for a connection.
    pub(in crate::server) fn connection(self: &Arc<Self>) -> Result<ConnectionPlace, Exceeded> {
        let open = self.connections.fetch_add(1, Relaxed);
        let place = ConnectionPlace(Arc::clone(self));
        self.place(Quota::Connections, open).map(|()| place)
    }

    /// Whether there is a place beyond those taken.
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

    /// Whether the meter can be dropped without anybody noticing.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.lock().rates.iter().all(|rate| rate.is_full(now))
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an open stream.
#[derive(Debug)]
pub(in crate::server) struct StreamPlace(Arc<Meter>);

/// The place of an open connection.
#[derive(Debug)]
pub(in crate::server) struct ConnectionPlace(Arc<Meter>);

/// Counts a topic until its creation has succeeded or failed.
#[derive(Debug)]
pub(in crate::server) struct Creating(Arc<Meter>);

impl ConnectionPlace {
    /// Whether the place was counted by this meter.
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
