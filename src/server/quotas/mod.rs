//! Limits what principals use: bytes appended and read, requests, connections, streams, topics.
//!
//! Use is counted for authenticated principals, and never for a name that a client chooses. For a
//! principal without a rule nothing is counted. A rate is a bucket that holds what may be used
//! within a second (`rate.rs`); a call that takes more waits, or is told when to try again. A call
//! that waits takes up nothing but a timer.

mod meter;
mod rate;
mod refusal;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) use self::{
    meter::{ConnectionPlace, Creating, Exceeded, Meter, StreamPlace},
    refusal::exceeded,
};
use super::auth::{NamePattern, Principal};
use crate::metrics::Counter;

/// The kinds of use that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Bytes of appends a second.
    AppendBytes,
    /// Bytes of records that are read a second.
    ReadBytes,
    /// Calls, and appends within streams, a second.
    Requests,
    /// Connections that are open at a time.
    Connections,
    /// Streams that are open at a time: reads, streams of appends, members of groups.
    Streams,
    /// Topics that exist, of those whose names the principal may create.
    Topics,
}

impl Quota {
    pub(crate) const ALL: [Self; 6] = [
        Self::AppendBytes,
        Self::ReadBytes,
        Self::Requests,
        Self::Connections,
        Self::Streams,
        Self::Topics,
    ];

    /// The word for it in rules, responses and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AppendBytes => "append_bytes",
            Self::ReadBytes => "read_bytes",
            Self::Requests => "requests",
            Self::Connections => "connections",
            Self::Streams => "streams",
            Self::Topics => "topics",
        }
    }

    /// Whether it is an amount a second.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::AppendBytes | Self::ReadBytes | Self::Requests)
    }

    pub(crate) fn is_of_bytes(self) -> bool {
        matches!(self, Self::AppendBytes | Self::ReadBytes)
    }
}

/// The limits of a principal, for each kind that is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits([Option<NonZeroU64>; Quota::ALL.len()]);

impl Limits {
    pub(crate) fn set(&mut self, quota: Quota, limit: NonZeroU64) {
        self.0[quota as usize] = Some(limit);
    }

    pub(crate) fn get(&self, quota: Quota) -> Option<NonZeroU64> {
        self.0[quota as usize]
    }

    /// Takes the lower of two limits for each kind.
    fn lower(&mut self, others: &Self) {
        for quota in Quota::ALL {
            let bounds = [self.get(quota), others.get(quota)];
            self.0[quota as usize] = bounds.into_iter().flatten().min();
        }
    }
}

/// Limits for some principals, for each of them separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) principals: Vec<NamePattern>,
    pub(crate) limits: Limits,
}

/// All rules of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(pub(crate) Vec<Rule>);

impl Rules {
    /// How many rules there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The limits of a principal with these roles; `None` if no rule is for it.
    fn limits(&self, principal: &Principal, roles: &[Principal]) -> Option<Limits> {
        let mut found: Option<Limits> = None;
        for rule in &self.0 {
            if rule
                .principals
                .iter()
                .any(|one| one.is_of(principal, roles))
            {
                found.get_or_insert_default().lower(&rule.limits);
            }
        }
        found
    }
}

/// How many principals have meters of their own at a time; those beyond share one. A meter takes up
/// to 1 KiB, with its principal's name.
const MOST_METERS: usize = 4_096;

/// How often idle meters are looked for, to drop them, while there are this many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The meters of all principals with limits.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    rules: Mutex<Arc<Rules>>,
    /// Grows with each change of the rules; 0 until there are any.
    generation: AtomicU64,
    meters: Mutex<Meters>,
    counts: [Counts; Quota::ALL.len()],
}

#[derive(Debug, Default)]
struct Meters {
    own: HashMap<Principal, Arc<Meter>>,
    /// The meter that principals beyond [`MOST_METERS`] share.
    shared: Option<Arc<Meter>>,
    /// When idle meters were looked for last.
    swept: Duration,
}

/// How often a quota has made calls wait or fail, for metrics.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Calls that were refused.
    pub(super) refusals: Counter,
    /// Calls that waited, and how long together.
    pub(super) waits: Counter,
    pub(super) waited_ms: Counter,
}

impl Quotas {
    pub(crate) fn new(rules: Rules) -> Self {
        let quotas = Self::default();
        quotas.replace(rules);
        quotas
    }

    /// Replaces all rules; false if they are the same as before.
    pub(crate) fn replace(&self, rules: Rules) -> bool {
        let mut current = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = **current != rules;
        if is_another {
            *current = Arc::new(rules);
            self.generation.fetch_add(1, Ordering::Release);
        }
        is_another
    }

    /// The number of the current rules; 0 until there are any.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The meter of a principal with these roles by the current rules; `None` if nothing limits it.
    pub(super) fn meter(
        &self,
        principal: &Principal,
        roles: &[Principal],
        now: Duration,
    ) -> Option<Arc<Meter>> {
        let rules = self.rules();
        let limits = match principal.is_local_admin() {
            true => None,
            false => rules.limits(principal, roles),
        };
        let mut meters = self.lock();
        let Some(limits) = limits else {
            // A meter that exists is from earlier rules.
            if let Some(meter) = meters.own.get(principal) {
                meter.bound_by(Limits::default());
            }
            return None;
        };
        let meter = meters.of(principal, now);
        meter.bound_by(limits);
        Some(meter)
    }

    /// How many principals have a meter.
    pub(super) fn principals(&self) -> usize {
        self.lock().own.len()
    }

    pub(super) fn counts(&self, quota: Quota) -> &Counts {
        &self.counts[quota as usize]
    }

    /// Counts that something waits this long.
    pub(super) fn waits(&self, quota: Quota, wait: Duration) {
        if !wait.is_zero() {
            let counts = &self.counts[quota as usize];
            counts.waits.add(1);
            let milliseconds = wait.as_micros().div_ceil(1_000);
            counts
                .waited_ms
                .add(u64::try_from(milliseconds).unwrap_or(u64::MAX));
        }
    }

    /// Counts that something was refused.
    pub(super) fn refused(&self, quota: Quota) {
        self.counts[quota as usize].refusals.add(1);
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meters {
    fn of(&mut self, principal: &Principal, now: Duration) -> Arc<Meter> {
        if let Some(meter) = self.own.get(principal) {
            return Arc::clone(meter);
        }
        if self.own.len() >= MOST_METERS && now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            self.own
                .retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_idle(now));
        }
        if self.own.len() >= MOST_METERS {
            let shared = self.shared.get_or_insert_with(Arc::default);
            return Arc::clone(shared);
        }
        let meter = Arc::new(Meter::default());
        self.own.insert(principal.clone(), Arc::clone(&meter));
        meter
    }
}
