//! What the caller of a call uses of its principal's quotas.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::{Access, Operation, Operations, access::Length, grants::Resource};
use crate::{
    broker::Broker,
    server::quotas::{ConnectionPlace, Creating, Exceeded, Meter, Quota, StreamPlace, exceeded},
};

/// How long a stream waits at most until it looks again whether it may go on: the rules may have
/// changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The place that a connection has among those of the principal that it was last used by.
pub(in crate::server) type ConnectionSlot = Mutex<Option<ConnectionPlace>>;

/// What a call has to do before it is carried out.
pub(super) struct Begun {
    pub(super) wait: Duration,
    /// Kept as long as it goes on, if it is a stream.
    pub(super) place: Option<StreamPlace>,
}

impl Access {
    /// Counts a call that begins, by a connection with this slot.
    pub(super) fn begin(&self, connection: Option<&ConnectionSlot>) -> Result<Begun, Status> {
        let Some(meter) = self.meter() else {
            return Ok(Begun {
                wait: Duration::ZERO,
                place: None,
            });
        };
        if let Some(slot) = connection {
            self.within(take_connection(&meter, slot))?;
        }
        let mut wait = self.use_up(&meter, Quota::Requests, 1)?;
        let place = match self.length() {
            Length::Short => None,
            Length::Stream | Length::Appends => Some(self.within(meter.stream())?),
        };
        if self.length() == Length::Stream {
            wait = wait.max(self.use_up(&meter, Quota::ReadBytes, 0)?);
        }
        Ok(Begun { wait, place })
    }

    /// Counts a `Watch` of the broker's health, by a connection with this slot.
    pub(super) fn begin_watch(
        &self,
        connection: Option<&ConnectionSlot>,
    ) -> Result<Option<StreamPlace>, Status> {
        let Some(meter) = self.meter() else {
            return Ok(None);
        };
        if let Some(slot) = connection {
            self.within(take_connection(&meter, slot))?;
        }
        self.within(meter.stream()).map(Some)
    }

    /// Waits until so many bytes may be appended, and counts them.
    pub(in crate::server) async fn append(&self, bytes: usize) -> Result<(), Status> {
        let Some(meter) = self.meter() else {
            return Ok(());
        };
        let mut wait = self.use_up(&meter, Quota::AppendBytes, bytes as u64)?;
        if self.length() == Length::Appends {
            wait = wait.max(self.use_up(&meter, Quota::Requests, 1)?);
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(())
    }

    /// Counts a commit within a member's stream; returns how long it waits.
    pub(in crate::server) fn commit(&self, bytes: usize) -> Result<Duration, Status> {
        let Some(meter) = self.meter() else {
            return Ok(Duration::ZERO);
        };
        let wait = self.use_up(&meter, Quota::AppendBytes, bytes as u64)?;
        Ok(wait.max(self.use_up(&meter, Quota::Requests, 1)?))
    }

    /// Counts a topic that is about to be created, as long as what is returned is kept.
    pub(in crate::server) fn create_topic(
        &self,
        broker: &Broker,
    ) -> Result<Option<Creating>, Status> {
        let Some(meter) = self.meter() else {
            return Ok(None);
        };
        let Some(limit) = meter.topic_limit() else {
            return Ok(None);
        };
        let most = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let operations = Operations::of(Operation::TopicAdmin);
        let rights = self.rights();
        let is_its = |name: &str| rights.allow(operations, &Resource::Topic(name.into()));
        let (existing, _) = broker.list_topics("", "", most, is_its);
        self.within(meter.create(limit, existing.len() as u64))
            .map(Some)
    }

    /// Uses so much of a rate; returns how long to wait before.
    fn use_up(&self, meter: &Meter, quota: Quota, amount: u64) -> Result<Duration, Status> {
        let wait = self.within(meter.admit(quota, amount, self.authority().clock.elapsed()))?;
        self.authority().auth.quotas.waits(quota, wait);
        Ok(wait)
    }

    /// Counts what is refused, and says it.
    fn within<T>(&self, admitted: Result<T, Exceeded>) -> Result<T, Status> {
        admitted.map_err(|exceeded_quota| {
            self.authority().auth.quotas.refused(exceeded_quota.quota);
            exceeded(self.principal(), exceeded_quota)
        })
    }
}

/// Has a connection count as one of the principal that uses it.
fn take_connection(meter: &Arc<Meter>, slot: &ConnectionSlot) -> Result<(), Exceeded> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if !slot.as_ref().is_some_and(|place| place.is_of(meter)) {
        *slot = None;
        *slot = Some(meter.connection()?);
    }
    Ok(())
}

/// Slows the answers of a call down to what its caller may read.
pub(in crate::server) struct Pace {
    access: Access,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            pause: None,
        }
    }

    /// Counts the bytes of an answer.
    pub(in crate::server) fn note(&self, bytes: usize) {
        if let Some(meter) = self.access.meter() {
            let now = self.access.authority().clock.elapsed();
            meter.note(Quota::ReadBytes, bytes as u64, now);
        }
    }

    /// Ready when there may be another answer.
    pub(in crate::server) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(meter) = self.access.meter() else {
                return Poll::Ready(());
            };
            let authority = self.access.authority();
            let wait = meter.wait(Quota::ReadBytes, authority.clock.elapsed());
            if wait.is_zero() {
                return Poll::Ready(());
            }
            let wait = wait.min(LOOK_EVERY);
            authority.auth.quotas.waits(Quota::ReadBytes, wait);
            self.pause = Some(Box::pin(sleep(wait)));
        }
    }
}
