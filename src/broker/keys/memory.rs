//! The budget for the parts of key indexes that are in memory.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    broker::{Error, Shared},
    budget::Part,
};

/// Counts the memory of all key tables.
pub(in crate::broker) struct KeyMemory {
    part: Arc<Part>,
    freed: Notify,
}

impl KeyMemory {
    pub(in crate::broker) fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            freed: Notify::new(),
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

    /// Whether so much is used that tables should be written out: half.
    pub(in crate::broker) fn is_pressed(&self) -> bool {
        self.part.used() > self.part.bound() / 2
    }

    fn is_full(&self) -> bool {
        self.part.used() > self.part.bound()
    }

    /// Lets go all who wait: storage has failed.
    pub(in crate::broker) fn close(&self) {
        self.freed.notify_waiters();
    }
}

impl Shared {
    /// Waits until the key tables have room again. What an append adds is counted when it is there:
    /// what is over the budget is at most what is admitted to
    /// [`Memory`](crate::broker::memory::Memory) at a time.
    pub(in crate::broker) async fn wait_for_key_memory(&self) -> Result<(), Error> {
        while self.key_memory.is_full() {
            let freed = self.key_memory.freed.notified();
            self.housekeeping.ring();
            if self.has_failed() {
                return Err(Error::ShuttingDown);
            }
            if self.key_memory.is_full() {
                freed.await;
            }
        }
        Ok(())
    }
}
