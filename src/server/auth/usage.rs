//! Counts what a call uses of its principal's quotas.

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

/// How long a stream waits at most before it checks again whether it may go on, because the quotas
/// may have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The place of a connection among those of the principal that has last made a call over it.
pub(in crate::server) type ConnectionSlot = Mutex<Option<ConnectionPlace>>;

/// What a call must do before it is carried out.
pub(super) struct Begun {
    pub(super) wait: Duration,
    /// The call's place among its principal's streams, if it is one, kept until its end.
    pub(super) place: Option<StreamPlace>,
}

impl Access {
    /// Counts a call that begins, over the connection with this slot.
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

    /// Refuses an append whose body is still to come, if its caller has used up a quota: it would be
    /// refused with its body, too. Counts the connection with this slot; the append itself is counted
    /// when its call begins.
    pub(super) fn expect_append(&self, connection: &ConnectionSlot) -> Result<(), Status> {
        let Some(meter) = self.meter() else {
            return Ok(());
        };
        self.within(take_connection(&meter, connection))?;
        let now = self.authority().clock.elapsed();
        for quota in [Quota::Requests, Quota::AppendBytes] {
            self.within(meter.admit(quota, 0, now))?;
        }
        Ok(())
    }

    /// Counts a `Watch` of the broker's health, over the connection with this slot.
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

    /// Waits until the quota allows to append this many bytes, and counts them.
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

    /// Counts a commit in a member's stream; returns how long it must wait.
    pub(in crate::server) fn commit(&self, bytes: usize) -> Result<Duration, Status> {
        let Some(meter) = self.meter() else {
            return Ok(Duration::ZERO);
        };
        let wait = self.use_up(&meter, Quota::AppendBytes, bytes as u64)?;
        Ok(wait.max(self.use_up(&meter, Quota::Requests, 1)?))
    }

    /// Counts a topic that is about to be created, until the returned value is dropped.
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

    /// Takes an amount of a rate; returns how long to wait before it may be used.
    fn use_up(&self, meter: &Meter, quota: Quota, amount: u64) -> Result<Duration, Status> {
        let wait = self.within(meter.admit(quota, amount, self.authority().clock.elapsed()))?;
        self.authority().auth.quotas.waits(quota, wait);
        Ok(wait)
    }

    /// Counts a refusal, and makes its error.
    fn within<T>(&self, admitted: Result<T, Exceeded>) -> Result<T, Status> {
        admitted.map_err(|exceeded_quota| {
            self.authority().auth.quotas.refused(exceeded_quota.quota);
            exceeded(self.principal(), exceeded_quota)
        })
    }
}

/// Counts a connection for the principal that now uses it, and no longer for the one before.
fn take_connection(meter: &Arc<Meter>, slot: &ConnectionSlot) -> Result<(), Exceeded> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if !slot.as_ref().is_some_and(|place| place.is_of(meter)) {
        *slot = None;
        *slot = Some(meter.connection()?);
    }
    Ok(())
}

/// Slows a call's answers down to the rate that its principal may read at.
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

    /// Ready when the next answer may be sent.
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
