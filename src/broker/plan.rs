//! Changes of the catalog on their way: queued for the journal and planned in one step.
//!
//! Whoever decides holds what is planned from before the decision until the change is queued. So
//! the journal has changes in the order in which they were decided, and what is planned is what
//! will be applied, unless storage fails.

use super::{Error, Pending, Shared, commit::Commit, pending::pending};
use crate::{
    catalog::{Change, Planned},
    storage::format::entry::Item,
};

impl Shared {
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
        let mut changes = Vec::with_capacity(commit.items.len());
        for item in &commit.items {
            if let Item::Change(change) = item {
                changes.push(change.clone());
            }
        }
        self.queue.push(commit)?;
        let now = self.env.clock.elapsed();
        for change in &changes {
            planned.plan(change, now);
        }
        if let Some(next) = planned.next_deadline().filter(|_| !changes.is_empty()) {
            self.alarm.wake_by(next);
        }
        if changes.iter().any(Change::moves_partitions) {
            self.wake_for_groups(planned);
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
        self.queue.push(commit)?;
        Ok(pending.refused())
    }

    /// Answers when all that is queued is durable and applied.
    pub(super) fn queue_barrier<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (commit, pending) = commit(Vec::new(), answer);
        self.queue.push(commit)?;
        Ok(pending)
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

fn commit<T: Send + 'static>(
    changes: Vec<Change>,
    answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> (Commit, Pending<T>) {
    let (giver, pending) = pending();
    let done = Box::new(move |done: Result<(), Error>| giver.give(done.and_then(|()| answer())));
    let commit = Commit {
        items: changes.into_iter().map(Item::Change).collect(),
        partitions: Vec::new(),
        sync: true,
        charge: None,
        under_way: None,
        done,
        can_be_refused: false,
        counted: None,
    };
    (commit, pending)
}
