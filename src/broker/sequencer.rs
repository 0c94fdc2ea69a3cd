//! What comes in which order: changes of the catalog are queued for the journal and planned in one
//! step.
//!
//! Whoever decides holds what is planned from before the decision until the change is queued. So
//! the journal has changes in the order in which they were decided, and what is planned is what
//! will be applied, unless storage fails.

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

/// Owns the catalog, as it is planned and as it is applied, and the way into the queue.
pub(super) struct Sequencer {
    clock: Arc<dyn Clock>,
    /// The catalog with what is queued: it decides.
    planned: OrderedMutex<Planned, rank::Planned>,
    /// What of that is durable. Nothing else is locked under it.
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

    /// What is planned. Whoever decides on it queues what comes of that before letting go of it.
    pub(super) fn planned(&self) -> OrderedGuard<'_, Planned> {
        lock(&self.planned)
    }

    /// What is applied.
    pub(super) fn applied(&self) -> OrderedGuard<'_, Catalog> {
        lock(&self.applied)
    }

    /// What is planned, told what time it is.
    pub(super) fn planned_now(&self) -> OrderedGuard<'_, Planned> {
        let mut planned = self.planned();
        planned.producers_mut().tell_time(self.clock.elapsed());
        planned
    }

    /// What is applied, told what time it is.
    pub(super) fn applied_now(&self) -> OrderedGuard<'_, Catalog> {
        let mut applied = self.applied();
        applied.producers.tell_time(self.clock.elapsed());
        applied
    }

    /// Goes on from what has been recovered, of which nothing is queued. Members of groups are
    /// waited for.
    pub(super) fn plan_anew(&self) {
        let mut planned = Planned::of(&self.applied());
        planned.groups_mut().wait_for_all(self.clock.elapsed());
        self.group_memory.bound(planned.groups_mut());
        *self.planned() = planned;
    }

    /// Makes sure that there is room for a commit: with it, only a broker that goes down refuses
    /// the commit.
    pub(super) fn reserve(&self) -> Result<Room<'_>, Error> {
        self.queue.reserve()
    }

    /// Queues a commit where room was reserved for it, and plans the changes in it. Without changes
    /// nothing needs to be planned.
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

    /// Queues a change; answers when it is durable and applied. What is queued behind it may count
    /// on it.
    pub(super) fn plan<T: Send + 'static>(
        &self,
        planned: &mut Planned,
        change: Change,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        self.plan_together(planned, vec![change], answer)
    }

    /// The same of several changes, in one journal entry.
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

    /// The same of a change that is refused where the journal has no room for it: nothing that is
    /// queued behind it counts on it, but for others that are refused then.
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

    /// Queues a commit, and plans the changes in it.
    pub(super) fn plan_commit(&self, planned: &mut Planned, commit: Commit) -> Result<(), Error> {
        let room = self.reserve()?;
        let brings_deadline = |item: &Item| match item {
            Item::Change(change) => !change.is_of_offsets(),
            Item::Frame(_) => false,
        };
        // All groups and producers are asked for theirs, and commits of offsets are many.
        let brings_deadlines = commit.items.iter().any(brings_deadline);
        self.plan_reserved(Some(planned), room, commit)?;
        if brings_deadlines && let Some(next) = planned.next_deadline() {
            self.alarm.wake_by(next);
        }
        Ok(())
    }

    /// Refuses a request because of something that may not be durable yet: the refusal waits for
    /// it.
    pub(super) fn refuse_durably<T: Send + 'static>(
        &self,
        error: Error,
    ) -> Result<Pending<T>, Error> {
        // What it tells of may be refused itself.
        let (mut commit, pending) = commit(Vec::new(), move || Err(error));
        commit.can_be_refused = true;
        self.queue(commit)?;
        Ok(pending.refused())
    }

    /// Answers when all that is queued is durable and applied.
    pub(super) fn queue_barrier<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (commit, pending) = commit(Vec::new(), answer);
        self.queue(commit)?;
        Ok(pending)
    }

    fn queue(&self, commit: Commit) -> Result<(), Error> {
        self.queue.push_reserved(self.reserve()?, commit)
    }

    /// Takes what can be refused from the queue, and out of what is planned.
    pub(super) fn take_back_queued(&self) -> Vec<Commit> {
        // Nobody decides, and so nobody queues a change, before the two agree again.
        let mut planned = self.planned();
        let refused = self.queue.take_refusable();
        if refused.iter().any(|commit| !commit.items.is_empty()) {
            let now = self.clock.elapsed();
            planned.take_back(&self.applied(), &self.queue.changes(), now);
        }
        refused
    }
}

/// A commit of one change that can be refused when it is queued.
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
