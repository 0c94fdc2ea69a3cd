//! Orders changes: a change of the catalog is planned and queued for the journal in one step.
//!
//! Whoever decides something holds the lock of the planned catalog from before the decision until
//! the change is queued. So the journal has changes in the order in which they were decided, and
//! the planned catalog is what will be applied, unless storage fails.

use std::sync::Arc;

use super::{
    Error, Pending,
    commit::{Commit, Queue, Room},
    groups::GroupMemory,
    lock,
    pending::pending,
};
use crate::{
    catalog::{Catalog, Change, Planned},
    env::{Alarm, Clock, OrderedGuard, OrderedMutex, rank},
    storage::format::entry::{self, Item},
};

/// Owns the planned and the applied catalog, and queues changes.
pub(super) struct Sequencer {
    clock: Arc<dyn Clock>,
    /// The catalog with all queued changes, which decides.
    planned: OrderedMutex<Planned, rank::Planned>,
    /// The catalog with durable changes only. No other lock is taken while it is locked.
    applied: OrderedMutex<Catalog, rank::Applied>,
    queue: Arc<Queue>,
    /// Told of deadlines that come with changes.
    alarm: Arc<Alarm>,
    group_memory: GroupMemory,
}

impl Sequencer {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        catalog: Catalog,
        queue: Arc<Queue>,
        alarm: Arc<Alarm>,
        group_memory: GroupMemory,
    ) -> Self {
        Self {
            clock,
            planned: OrderedMutex::new(Planned::of(&catalog)),
            applied: OrderedMutex::new(catalog),
            queue,
            alarm,
            group_memory,
        }
    }

    /// Locks the planned catalog. Queue the change that you decide on before unlocking it.
    pub(super) fn planned(&self) -> OrderedGuard<'_, Planned> {
        lock(&self.planned)
    }

    /// Locks the applied catalog.
    pub(super) fn applied(&self) -> OrderedGuard<'_, Catalog> {
        lock(&self.applied)
    }

    /// Locks the planned catalog and tells it the time.
    pub(super) fn planned_now(&self) -> OrderedGuard<'_, Planned> {
        let mut planned = self.planned();
        planned.producers_mut().tell_time(self.clock.elapsed());
        planned
    }

    /// Locks the applied catalog and tells it the time.
    pub(super) fn applied_now(&self) -> OrderedGuard<'_, Catalog> {
        let mut applied = self.applied();
        applied.producers.tell_time(self.clock.elapsed());
        applied
    }

    /// Plans from the recovered state, with nothing queued. Members of groups are waited for.
    pub(super) fn plan_anew(&self) {
        let mut planned = Planned::of(&self.applied());
        planned.groups_mut().wait_for_all(self.clock.elapsed());
        self.group_memory.bound(planned.groups_mut());
        *self.planned() = planned;
    }

    /// Reserves room for a commit: with it, the commit is refused only if the broker shuts down.
    pub(super) fn reserve(&self) -> Result<Room<'_>, Error> {
        self.queue.reserve()
    }

    /// Queues a commit in reserved room and plans its changes. `planned` may be `None` if it has
    /// none.
    pub(super) fn plan_reserved(
        &self,
        planned: Option<&mut Planned>,
        room: Room<'_>,
        commit: Commit,
    ) -> Result<(), Error> {
        let Some(planned) = planned else {
            return self.queue.push_reserved(room, commit);
        };
        let changes = commit.changes();
        self.queue.push_reserved(room, commit)?;
        if changes.is_empty() {
            return Ok(());
        }
        let now = self.clock.elapsed();
        for change in &changes {
            planned.plan(change, now);
        }
        if changes.iter().any(Change::is_of_group) {
            self.count_groups(planned);
        }
        Ok(())
    }

    /// Counts the memory of groups.
    pub(super) fn count_groups(&self, planned: &Planned) {
        self.group_memory.count(planned.groups());
    }

    /// Queues a change; answers when it is durable and applied. Changes that are queued later may
    /// rely on it.
    pub(super) fn plan<T: Send + 'static>(
        &self,
        planned: &mut Planned,
        change: Change,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        self.plan_together(planned, vec![change], answer)
    }

    /// Queues several changes as one journal entry; answers when it is durable and applied. Changes
    /// that are queued later may rely on them.
    pub(super) fn plan_together<T: Send + 'static>(
        &self,
        planned: &mut Planned,
        changes: Vec<Change>,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (commit, pending) = commit(changes, answer);
        self.plan_commit(planned, commit)?;
        Ok(pending)
    }

    /// Queues a change that may still be refused, if the journal has no room; answers when it is
    /// durable and applied. Only changes that are refused with it may rely on it.
    pub(super) fn plan_refusable<T: Send + 'static>(
        &self,
        planned: &mut Planned,
        change: Change,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (commit, pending) = refusable(change, answer);
        self.plan_commit(planned, commit)?;
        Ok(pending)
    }

    /// Queues a commit and plans its changes.
    pub(super) fn plan_commit(&self, planned: &mut Planned, commit: Commit) -> Result<(), Error> {
        let room = self.reserve()?;
        let brings_deadline = |item: &Item| match item {
            Item::Change(change) => !change.is_of_offsets(),
            Item::Frame(_) => false,
        };
        // Only changes that bring deadlines: it asks all groups and producers, and commits of
        // offsets are many.
        let brings_deadlines = commit.items.iter().any(brings_deadline);
        self.plan_reserved(Some(planned), room, commit)?;
        if brings_deadlines && let Some(next) = planned.next_deadline() {
            self.alarm.wake_by(next);
        }
        Ok(())
    }

    /// Refuses a request because of something that may not be durable yet: the refusal is sent once
    /// it is.
    pub(super) fn refuse_durably<T: Send + 'static>(
        &self,
        error: Error,
    ) -> Result<Pending<T>, Error> {
        // The change that the refusal is based on may itself be refused.
        let (mut commit, pending) = commit(Vec::new(), move || Err(error));
        commit.can_be_refused = true;
        self.queue(commit)?;
        Ok(pending.refused())
    }

    /// Answers when everything queued is durable and applied.
    pub(super) fn queue_barrier<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (commit, pending) = commit(Vec::new(), answer);
        self.queue(commit)?;
        Ok(pending)
    }

    /// Queues a commit without changes.
    pub(super) fn queue(&self, commit: Commit) -> Result<(), Error> {
        self.queue.push_reserved(self.reserve()?, commit)
    }

    /// Takes commits that can be refused out of the queue, and out of the planned catalog.
    pub(super) fn take_back_queued(&self) -> Vec<Commit> {
        // With this lock nobody can decide, and so queue a change, before planned catalog and queue
        // agree again.
        let mut planned = self.planned();
        let refused = self.queue.take_refusable();
        if refused.iter().any(|commit| !commit.items.is_empty()) {
            let now = self.clock.elapsed();
            planned.take_back(&self.applied(), &self.queue.of_queued(Commit::changes), now);
        }
        refused
    }
}

/// A commit of one change that can still be refused once it is queued.
pub(super) fn refusable<T: Send + 'static>(
    change: Change,
    answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> (Commit, Pending<T>) {
    let (mut commit, pending) = commit(vec![change], answer);
    commit.can_be_refused = true;
    (commit, pending)
}

/// A commit of changes, ready to be queued.
pub(super) fn commit<T: Send + 'static>(
    changes: Vec<Change>,
    answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> (Commit, Pending<T>) {
    let (giver, pending) = pending();
    let done = Box::new(move |done: Result<(), Error>| giver.give(done.and_then(|()| answer())));
    let items: Vec<Item> = changes.into_iter().map(Item::Change).collect();
    let commit = Commit {
        bytes: entry::encoded_len(&items),
        items,
        partitions: Vec::new(),
        sync: true,
        charge: None,
        under_way: None,
        done,
        can_be_refused: false,
        gathers: false,
        counted: None,
    };
    (commit, pending)
}
