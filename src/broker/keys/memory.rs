//! The budget for the parts of key indexes that are in memory.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    broker::{Error, health::Health},
    budget::Part,
    types::limits::MANY_RECORDS,
};

/// Counts the memory of all key tables.
pub(in crate::broker) struct KeyMemory {
    part: Arc<Part>,
    freed: Notify,
    turns: Arc<Semaphore>,
}

/// The turn of an append of many records. Until it is dropped, other such appends wait.
pub(in crate::broker) struct Turn(#[expect(dead_code, reason = "dropped")] OwnedSemaphorePermit);

impl KeyMemory {
    pub(in crate::broker) fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            freed: Notify::new(),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// Takes note that what took `before` bytes takes `now`.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.part.add(now - before);
        } else {
            self.part.subtract(before - now);
            self.freed.notify_waiters();
        }
    }

    /// How much is used, in bytes.
    pub(super) fn used(&self) -> usize {
        self.part.used()
    }

    /// How much may be used, in bytes.
    pub(super) fn bound(&self) -> usize {
        self.part.bound()
    }

    /// Whether so much is used that tables should be written out: half.
    pub(in crate::broker) fn is_pressed(&self) -> bool {
        self.part.used() > self.part.bound() / 2
    }

    /// Whether an append may go on. One of many records leaves the rest to those of few as soon as
    /// tables are being written out.
    fn has_room(&self, has_many: bool) -> bool {
        match has_many {
            true => !self.is_pressed(),
            false => self.part.used() <= self.part.bound(),
        }
    }

    /// Waits for the turn of an append of many records.
    async fn turn(&self) -> Turn {
        let turns = Arc::clone(&self.turns);
        let permit = turns.acquire_owned().await;
        Turn(permit.expect("it is never closed"))
    }

    /// Lets go all who wait: storage has failed.
    pub(in crate::broker) fn close(&self) {
        self.freed.notify_waiters();
    }
}

impl KeyMemory {
    /// Waits until the key tables have room again for an append of so many records, and, where
    /// these are many, until it is its turn. What an append adds is counted when it is there: what
    /// is over the budget is at most what one of many records adds, and what others do that are
    /// admitted to [`Memory`](crate::broker::memory::Memory) at a time.
    pub(in crate::broker) async fn wait(
        &self,
        records: usize,
        health: &Health,
    ) -> Result<Option<Turn>, Error> {
        let has_many = records > MANY_RECORDS;
        let turn = match has_many {
            true => Some(self.turn().await),
            false => None,
        };
        while !self.has_room(has_many) {
            let freed = self.freed.notified();
            health.call_housekeeping();
            if health.has_failed() {
                return Err(Error::ShuttingDown);
            }
            if !self.has_room(has_many) {
                freed.await;
            }
        }
        Ok(turn)
    }
}
