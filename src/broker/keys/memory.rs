//! The budget for key indexes in memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    broker::{Error, Load, health::Health},
    budget::Part,
    types::limits::MANY_RECORDS,
};

/// What a key costs in a table beside its bytes: an entry, and a slot in the hash table.
const ENTRY_BYTES: usize = 64;

/// Counts the memory of all key tables, and reserves room for keys on their way to them.
pub(in crate::broker) struct KeyMemory {
    part: Arc<Part>,
    /// Memory reserved for keys that are about to be added, in bytes.
    reserved: AtomicUsize,
    freed: Notify,
    turns: Arc<Semaphore>,
}

/// The turn of an append of many records. Other such appends wait until it is dropped.
pub(in crate::broker) struct Turn(#[expect(dead_code, reason = "dropped")] OwnedSemaphorePermit);

/// Room for the keys of an append. Dropped when they are in the tables, which are counted
/// themselves.
pub(in crate::broker) struct Room {
    memory: Arc<KeyMemory>,
    bytes: usize,
    turn: Option<Turn>,
}

impl Room {
    /// Whether it belongs to an append of many records.
    pub(in crate::broker) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

impl KeyMemory {
    pub(in crate::broker) fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            reserved: AtomicUsize::new(0),
            freed: Notify::new(),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// Notes that something that took `before` bytes takes `now`.
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

    /// Whether more than half is used, so that tables should be written out.
    pub(in crate::broker) fn is_pressed(&self) -> bool {
        self.part.used() > self.part.bound() / 2
    }

    /// How much is reserved for an append; its keys cannot take more. The largest price is three
    /// eighths: so much becomes free whenever tables are written out down to half.
    fn price(&self, load: Load) -> usize {
        let bytes = load.bytes + load.records * ENTRY_BYTES;
        bytes.min(self.part.bound() / 8 * 3)
    }

    /// The reserved total with this append, if it may be reserved. An eighth of the memory is left
    /// for tables that allocate ahead when they grow.
    fn with(&self, reserved: usize, load: Load) -> Option<usize> {
        let reserved = reserved + self.price(load);
        let bound = self.part.bound() - self.part.bound() / 8;
        // As soon as tables are being written out, the rest is left to appends of few records.
        let has_room = match has_many(load) {
            true => !self.is_pressed(),
            false => true,
        };
        (has_room && self.part.used() + reserved <= bound).then_some(reserved)
    }

    /// Whether there is room for an append.
    fn has_room(&self, load: Load) -> bool {
        let reserved = self.reserved.load(Ordering::Acquire);
        self.with(reserved, load).is_some()
    }

    fn try_reserve(self: &Arc<Self>, load: Load) -> Option<Room> {
        let reserved =
            self.reserved
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| {
                    self.with(reserved, load)
                });
        reserved.is_ok().then(|| Room {
            memory: Arc::clone(self),
            bytes: self.price(load),
            turn: None,
        })
    }

    /// Waits for the turn of an append of many records.
    async fn turn(&self) -> Turn {
        let turns = Arc::clone(&self.turns);
        let permit = turns.acquire_owned().await;
        Turn(permit.expect("it is never closed"))
    }

    /// Ends all waits, because storage has failed.
    pub(in crate::broker) fn close(&self) {
        self.freed.notify_waiters();
    }
}

fn has_many(load: Load) -> bool {
    load.records > MANY_RECORDS
}

impl KeyMemory {
    /// Waits until the key tables have room for an append, and if it has many records, until it is
    /// its turn. Nothing is reserved yet, because the append must wait for other things too.
    pub(in crate::broker) async fn wait(
        &self,
        load: Load,
        health: &Health,
    ) -> Result<Option<Turn>, Error> {
        let turn = match has_many(load) {
            true => Some(self.turn().await),
            false => None,
        };
        let has_room = || self.has_room(load).then_some(());
        self.until(has_room, health).await?;
        Ok(turn)
    }

    /// Waits until there is room for an append that waits for nothing else, and reserves it. The
    /// bound may be exceeded by the part of a single append above three eighths of it.
    pub(in crate::broker) async fn reserve(
        self: &Arc<Self>,
        load: Load,
        turn: Option<Turn>,
        health: &Health,
    ) -> Result<Room, Error> {
        let mut room = self.until(|| self.try_reserve(load), health).await?;
        room.turn = turn;
        Ok(room)
    }

    /// Waits until `ask` returns something; asks again whenever memory is freed.
    async fn until<T>(
        &self,
        mut ask: impl FnMut() -> Option<T>,
        health: &Health,
    ) -> Result<T, Error> {
        loop {
            if let Some(got) = ask() {
                return Ok(got);
            }
            let freed = self.freed.notified();
            health.call_housekeeping();
            if health.has_failed() {
                return Err(Error::ShuttingDown);
            }
            if let Some(got) = ask() {
                return Ok(got);
            }
            freed.await;
        }
    }
}
